//! A datum together with its SQL type, so that safe code cannot pass or read it as a value of another type.

use super::jsonb::Jsonb;
use super::text::Text;
use super::timestamp::Timestamp;
use crate::refusal::Refusal;
use pgrx::pg_sys::{BuiltinOid, Oid};
use pgrx::{FromDatum, IntoDatum, Uuid, pg_sys};
use std::marker::PhantomData;

/// A value of a known SQL type, or NULL; valid for `'a`.
#[derive(Clone, Copy)]
pub struct TypedDatum<'a> {
    datum: Option<pg_sys::Datum>,
    r#type: Oid,
    lives: PhantomData<&'a ()>,
}

impl<'a> TypedDatum<'a> {
    /// # Safety
    /// The datum is of this type, and valid for `'a`.
    pub unsafe fn new(datum: Option<pg_sys::Datum>, r#type: Oid) -> Self {
        Self { datum, r#type, lives: PhantomData }
    }

    pub fn null(r#type: BuiltinOid) -> Self {
        Self { datum: None, r#type: r#type.value(), lives: PhantomData }
    }

    /// A value as it was received, without copying it.
    pub fn received<T: SqlType<'a> + Into<Self>>(value: Option<T>) -> Self {
        value.map_or(Self::null(T::TYPE), Into::into)
    }

    pub fn is_null(self) -> bool {
        self.datum.is_none()
    }

    /// The value as a Rust type; None for NULL. Refuses a value of another SQL type.
    #[track_caller]
    pub fn get<T: SqlType<'a>>(self) -> Option<T> {
        let datum = self.of_type(T::TYPE.value());
        // SAFETY: the type was compared; the datum is valid for 'a.
        datum.map(|datum| unsafe { T::from_datum(datum) })
    }

    /// The datum; None for NULL. Refuses a value of another SQL type.
    #[track_caller]
    pub fn of_type(self, r#type: Oid) -> Option<pg_sys::Datum> {
        if self.r#type != r#type {
            Refusal::OtherColumn.raise();
        }
        self.datum
    }
}

/// In the current memory context, to which values passed by reference are copied.
impl<T: IntoDatum> From<T> for TypedDatum<'_> {
    fn from(value: T) -> Self {
        Self { datum: value.into_datum(), r#type: T::type_oid(), lives: PhantomData }
    }
}

impl From<Timestamp> for TypedDatum<'_> {
    fn from(Timestamp(moment): Timestamp) -> Self {
        let r#type = BuiltinOid::TIMESTAMPTZOID.value();
        Self { datum: Some(moment.into()), r#type, lives: PhantomData }
    }
}

/// A Rust type that values of one SQL type are read as.
pub trait SqlType<'a>: Sized {
    const TYPE: BuiltinOid;
    /// # Safety
    /// The datum is of this type, not NULL, and valid for `'a`.
    unsafe fn from_datum(datum: pg_sys::Datum) -> Self;
}

macro_rules! sql_types {
    ($($type:ty = $oid:ident),+) => {$(
        impl SqlType<'_> for $type {
            const TYPE: BuiltinOid = BuiltinOid::$oid;
            unsafe fn from_datum(datum: pg_sys::Datum) -> Self {
                // SAFETY: the caller guarantees a datum of this type.
                unsafe { <$type as FromDatum>::from_datum(datum, false) }.expect("not NULL")
            }
        }
    )+};
}
sql_types!(bool = BOOLOID, i32 = INT4OID, i64 = INT8OID, Uuid = UUIDOID, Oid = OIDOID);

/// A copy, with U+FFFD in place of invalid UTF-8.
impl SqlType<'_> for String {
    const TYPE: BuiltinOid = BuiltinOid::TEXTOID;
    unsafe fn from_datum(datum: pg_sys::Datum) -> Self {
        // SAFETY: the caller guarantees a text that is valid while it is copied.
        unsafe { Text::new(datum) }.lossy().into_owned()
    }
}

impl SqlType<'_> for Timestamp {
    const TYPE: BuiltinOid = BuiltinOid::TIMESTAMPTZOID;
    unsafe fn from_datum(datum: pg_sys::Datum) -> Self {
        Self(datum.value() as pg_sys::TimestampTz)
    }
}

macro_rules! borrowed_sql_types {
    ($($type:ident = $oid:ident),+) => {$(
        impl<'a> SqlType<'a> for $type<'a> {
            const TYPE: BuiltinOid = BuiltinOid::$oid;
            unsafe fn from_datum(datum: pg_sys::Datum) -> Self {
                // SAFETY: the caller guarantees a datum of this type that is valid for 'a.
                unsafe { Self::new(datum) }
            }
        }

        impl<'a> From<$type<'a>> for TypedDatum<'a> {
            fn from(value: $type<'a>) -> Self {
                let r#type = BuiltinOid::$oid.value();
                Self { datum: Some(value.datum()), r#type, lives: PhantomData }
            }
        }
    )+};
}
borrowed_sql_types!(Text = TEXTOID, Jsonb = JSONBOID);
