//! A serde serialiser that builds jsonb: structs of texts, integers and further structs.

use super::{DocumentError, Jsonb, null, string};
use crate::postgres::ffi;
use crate::refusal::Refusal;
use pg_sys::JsonbIteratorToken::{WJB_BEGIN_OBJECT, WJB_END_OBJECT, WJB_KEY, WJB_VALUE};
use pgrx::pg_sys;
use serde::Serialize;
use serde::ser::{Impossible, SerializeStruct, Serializer};
use std::ops::Range;
use std::ptr;

/// A struct as a jsonb object, in the current memory context.
pub fn to_jsonb(document: &impl Serialize) -> Jsonb<'static> {
    let mut builder = Builder { parts: Vec::with_capacity(32), texts: String::with_capacity(512) };
    document.serialize(&mut builder).expect("a document of structs, texts and integers");
    let Builder { parts, texts } = &builder;
    let mut state = ptr::null_mut();
    // SAFETY: SerializeStruct adds keys and values in turn between the beginning and the end of an object, as
    // pushJsonbValue requires. It copies each value; the texts live until JsonbValueToJsonb has copied them. Each
    // range was recorded between two lengths of `texts`, which only grows, so it lies within it.
    unsafe {
        let object = ffi::with_error_boundary(|| {
            let mut root = ptr::null_mut();
            for part in parts {
                let (token, mut value) = match part {
                    Part::Begin => (WJB_BEGIN_OBJECT, null()),
                    Part::End => (WJB_END_OBJECT, null()),
                    Part::Key(key) => (WJB_KEY, string(key)),
                    Part::Null => (WJB_VALUE, null()),
                    Part::Text(range) => (WJB_VALUE, string(texts.get_unchecked(range.clone()))),
                    Part::Number(number) => {
                        let mut value = null();
                        value.type_ = pg_sys::jbvType::jbvNumeric;
                        value.val.numeric = ffi::int64_to_numeric(*number);
                        (WJB_VALUE, value)
                    }
                };
                let has_value = matches!(token, WJB_KEY | WJB_VALUE);
                let value = if has_value { &raw mut value } else { ptr::null_mut() };
                root = ffi::pushJsonbValue(&mut state, token, value);
            }
            ffi::JsonbValueToJsonb(root)
        });
        Jsonb::new(object.into())
    }
}

/// Collects a document, so that one call into PostgreSQL builds it.
struct Builder {
    parts: Vec<Part>,
    texts: String,
}

enum Part {
    Begin,
    End,
    Key(&'static str),
    Null,
    /// A part of `texts`.
    Text(Range<usize>),
    Number(i64),
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
        self.parts.push(Part::Number(value));
        Ok(())
    }

    fn serialize_str(self, text: &str) -> Result<(), DocumentError> {
        let begin = self.texts.len();
        self.texts.push_str(text);
        self.parts.push(Part::Text(begin..self.texts.len()));
        Ok(())
    }

    fn serialize_none(self) -> Result<(), DocumentError> {
        self.parts.push(Part::Null);
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), DocumentError> {
        value.serialize(self)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, DocumentError> {
        self.parts.push(Part::Begin);
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
        self.parts.push(Part::Key(key));
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), DocumentError> {
        self.parts.push(Part::End);
        Ok(())
    }
}
