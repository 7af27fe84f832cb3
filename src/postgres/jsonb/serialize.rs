//! A serde serialiser that builds jsonb: structs of texts, integers and further structs. What it allocates from
//! PostgreSQL is freed with the current memory context.

use super::{DocumentError, null, string};
use crate::postgres::ffi;
use crate::refusal::Refusal;
use pg_sys::JsonbIteratorToken::{self, WJB_BEGIN_OBJECT, WJB_END_OBJECT, WJB_KEY, WJB_VALUE};
use pgrx::pg_sys;
use serde::Serialize;
use serde::ser::{Impossible, SerializeStruct, Serializer};
use std::ptr;

/// A struct as a jsonb object, in the current memory context.
pub fn to_jsonb(document: &impl Serialize) -> pg_sys::Datum {
    let mut builder = Builder { state: ptr::null_mut(), root: ptr::null_mut() };
    document.serialize(&mut builder).expect("a document of structs, texts and integers");
    // SAFETY: the root object is complete, so JsonbValueToJsonb can copy it.
    unsafe { ffi::with_error_boundary(|| ffi::JsonbValueToJsonb(builder.root)) }.into()
}

struct Builder {
    state: *mut pg_sys::JsonbParseState,
    /// The object that was completed last: in the end the root.
    root: *mut pg_sys::JsonbValue,
}

impl Builder {
    fn push(&mut self, token: JsonbIteratorToken::Type, value: Option<&mut pg_sys::JsonbValue>) {
        let value = value.map_or(ptr::null_mut(), ptr::from_mut);
        // SAFETY: SerializeStruct pushes keys and values in turn between WJB_BEGIN_OBJECT and WJB_END_OBJECT.
        // pushJsonbValue copies the value; the text it points to lives in the current memory context.
        self.root = unsafe {
            ffi::with_error_boundary(|| ffi::pushJsonbValue(&mut self.state, token, value))
        };
    }
}

type Unsupported = Impossible<(), DocumentError>;
const UNSUPPORTED: DocumentError = DocumentError(Refusal::Bug);

/// Methods for types that no document of this extension has.
macro_rules! unsupported {
    ($($name:ident($($type:ty),*) -> $result:ty;)+) => {$(
        fn $name(self, $(_: $type),*) -> Result<$result, DocumentError> {
            Err(UNSUPPORTED)
        }
    )+};
}

impl Serializer for &mut Builder {
    type Ok = ();
    type Error = DocumentError;
    type SerializeSeq = Unsupported;
    type SerializeTuple = Unsupported;
    type SerializeTupleStruct = Unsupported;
    type SerializeTupleVariant = Unsupported;
    type SerializeMap = Unsupported;
    type SerializeStruct = Self;
    type SerializeStructVariant = Unsupported;

    fn serialize_i64(self, value: i64) -> Result<(), DocumentError> {
        let mut number =
            pg_sys::JsonbValue { type_: pg_sys::jbvType::jbvNumeric, ..Default::default() };
        // SAFETY: int64_to_numeric allocates the number in the current memory context.
        number.val.numeric = unsafe { pg_sys::int64_to_numeric(value) };
        self.push(WJB_VALUE, Some(&mut number));
        Ok(())
    }

    fn serialize_str(self, text: &str) -> Result<(), DocumentError> {
        // SAFETY: the copy has the text's length, and lives in the current memory context.
        let text = unsafe {
            let copy = ffi::with_error_boundary(|| ffi::palloc(text.len()));
            ptr::copy_nonoverlapping(text.as_ptr(), copy.cast(), text.len());
            std::str::from_utf8_unchecked(std::slice::from_raw_parts(copy.cast(), text.len()))
        };
        self.push(WJB_VALUE, Some(&mut string(text)));
        Ok(())
    }

    fn serialize_none(self) -> Result<(), DocumentError> {
        self.push(WJB_VALUE, Some(&mut null()));
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), DocumentError> {
        value.serialize(self)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, DocumentError> {
        self.push(WJB_BEGIN_OBJECT, None);
        Ok(self)
    }

    fn is_human_readable(&self) -> bool {
        true
    }

    unsupported! {
        serialize_bool(bool) -> ();
        serialize_i8(i8) -> ();
        serialize_i16(i16) -> ();
        serialize_i32(i32) -> ();
        serialize_u8(u8) -> ();
        serialize_u16(u16) -> ();
        serialize_u32(u32) -> ();
        serialize_u64(u64) -> ();
        serialize_f32(f32) -> ();
        serialize_f64(f64) -> ();
        serialize_char(char) -> ();
        serialize_bytes(&[u8]) -> ();
        serialize_unit() -> ();
        serialize_unit_struct(&'static str) -> ();
        serialize_unit_variant(&'static str, u32, &'static str) -> ();
        serialize_seq(Option<usize>) -> Unsupported;
        serialize_tuple(usize) -> Unsupported;
        serialize_tuple_struct(&'static str, usize) -> Unsupported;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Unsupported;
        serialize_map(Option<usize>) -> Unsupported;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Unsupported;
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), DocumentError> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), DocumentError> {
        Err(UNSUPPORTED)
    }
}

impl SerializeStruct for &mut Builder {
    type Ok = ();
    type Error = DocumentError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), DocumentError> {
        self.push(WJB_KEY, Some(&mut string(key)));
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), DocumentError> {
        self.push(WJB_END_OBJECT, None);
        Ok(())
    }
}
