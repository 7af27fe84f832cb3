//! jsonb, read and made in place: as text it would take longer, and hold numbers that other libraries
//! cannot read.

use crate::raw;
use pg_sys::JsonbIteratorToken::{
    WJB_BEGIN_ARRAY, WJB_BEGIN_OBJECT, WJB_ELEM, WJB_END_OBJECT, WJB_KEY, WJB_VALUE,
};
use pgrx::callconv::{Arg, ArgAbi, BoxRet, FcInfo};
use pgrx::datum::Datum;
use pgrx::nullable::Nullable;
use pgrx::{FromDatum, impl_sql_translatable, pg_sys};
use std::ptr;

/// A jsonb argument or result.
pub struct Jsonb(*mut pg_sys::Jsonb);

impl_sql_translatable!(Jsonb, "jsonb");

impl FromDatum for Jsonb {
    unsafe fn from_polymorphic_datum(
        datum: pg_sys::Datum,
        is_null: bool,
        _type: pg_sys::Oid,
    ) -> Option<Self> {
        // SAFETY: promised by the caller; what is detoasted lives as long as the call.
        (!is_null).then(|| Self(unsafe { pg_sys::pg_detoast_datum(datum.cast_mut_ptr()).cast() }))
    }
}

// SAFETY: the argument is declared as jsonb.
unsafe impl<'fcx> ArgAbi<'fcx> for Jsonb {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        unsafe { arg.unbox_arg_using_from_datum() }.expect("the argument is not NULL")
    }

    unsafe fn unbox_nullable_arg(arg: Arg<'_, 'fcx>) -> Nullable<Self> {
        unsafe { arg.unbox_arg_using_from_datum().into() }
    }
}

// SAFETY: the result is declared as jsonb.
unsafe impl BoxRet for Jsonb {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> Datum<'fcx> {
        unsafe { fcinfo.return_raw_datum(self.0.into()) }
    }
}

/// What a field holds, as far as anybody here wants to know.
pub enum Value<'a> {
    Null,
    Text(&'a str),
    Other,
}

/// The fields of an object, each once.
pub type Fields<'a> = Vec<(&'a str, Value<'a>)>;

impl Jsonb {
    /// The fields of an object; None where it is none.
    pub fn fields(&self) -> Option<Fields<'_>> {
        // SAFETY: the argument outlives what is read from it.
        unsafe { fields(&raw mut (*self.0).root) }
    }

    /// The elements of an array, each as the fields of an object, or None where it is none; None where the
    /// whole is no array.
    pub fn elements(&self) -> Option<Vec<Option<Fields<'_>>>> {
        let mut elements = Vec::new();
        let mut value = pg_sys::JsonbValue::default();
        // SAFETY: the iterator walks the argument, which outlives it; nested values are skipped, so one
        // element comes after the other until the array ends. A scalar is an array in disguise.
        unsafe {
            let mut iterator = pg_sys::JsonbIteratorInit(&raw mut (*self.0).root);
            let begin = pg_sys::JsonbIteratorNext(&mut iterator, &mut value, true);
            if begin != WJB_BEGIN_ARRAY || value.val.array.rawScalar {
                return None;
            }
            while pg_sys::JsonbIteratorNext(&mut iterator, &mut value, true) == WJB_ELEM {
                elements.push(match value.type_ {
                    pg_sys::jbvType::jbvBinary => fields(value.val.binary.data),
                    _ => None,
                });
            }
        }
        Some(elements)
    }
}

/// # Safety
/// The container is part of a jsonb that outlives the use of its fields.
unsafe fn fields<'a>(container: *mut pg_sys::JsonbContainer) -> Option<Fields<'a>> {
    let mut fields = Vec::new();
    let mut value = pg_sys::JsonbValue::default();
    // SAFETY: promised by the caller; nested values are skipped, so keys and values come in turn until the
    // object ends.
    unsafe {
        let mut iterator = pg_sys::JsonbIteratorInit(container);
        if pg_sys::JsonbIteratorNext(&mut iterator, &mut value, true) != WJB_BEGIN_OBJECT {
            return None;
        }
        while pg_sys::JsonbIteratorNext(&mut iterator, &mut value, true) == WJB_KEY {
            let key = text(&value);
            pg_sys::JsonbIteratorNext(&mut iterator, &mut value, true);
            let value = match value.type_ {
                pg_sys::jbvType::jbvNull => Value::Null,
                pg_sys::jbvType::jbvString => Value::Text(text(&value)),
                _ => Value::Other,
            };
            fields.push((key, value));
        }
    }
    Some(fields)
}

/// # Safety
/// The value is a string inside a jsonb that outlives its use.
unsafe fn text<'a>(value: &pg_sys::JsonbValue) -> &'a str {
    // SAFETY: promised by the caller; text in a database whose encoding is UTF8 is UTF-8.
    unsafe {
        let string = value.val.string;
        std::str::from_utf8_unchecked(std::slice::from_raw_parts(
            string.val.cast(),
            string.len as usize,
        ))
    }
}

/// An object of texts and nulls, in the memory context at hand.
pub fn object<'a>(fields: impl Iterator<Item = (&'static str, Option<&'a str>)>) -> pg_sys::Datum {
    let mut pairs: Vec<_> =
        fields.map(|(key, value)| (string(key), value.map_or_else(null, string))).collect();
    let mut state = ptr::null_mut();
    // SAFETY: keys and values come in turn, between begin and end, which gives the whole; the strings they
    // point to outlive the object, which JsonbValueToJsonb copies.
    unsafe {
        raw::guarded(|| {
            raw::pushJsonbValue(&mut state, WJB_BEGIN_OBJECT, ptr::null_mut());
            for (key, value) in &mut pairs {
                raw::pushJsonbValue(&mut state, WJB_KEY, key);
                raw::pushJsonbValue(&mut state, WJB_VALUE, value);
            }
            let object = raw::pushJsonbValue(&mut state, WJB_END_OBJECT, ptr::null_mut());
            raw::JsonbValueToJsonb(object)
        })
        .into()
    }
}

fn null() -> pg_sys::JsonbValue {
    pg_sys::JsonbValue { type_: pg_sys::jbvType::jbvNull, ..Default::default() }
}

fn string(text: &str) -> pg_sys::JsonbValue {
    let mut value = pg_sys::JsonbValue { type_: pg_sys::jbvType::jbvString, ..Default::default() };
    value.val.string.len = text.len() as i32;
    value.val.string.val = text.as_ptr().cast_mut().cast();
    value
}
