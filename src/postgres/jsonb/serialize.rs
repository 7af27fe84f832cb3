//! A serde serialiser that builds jsonb: structs of texts, integers and further structs.

use super::writer::{NULL, Writer, Written};
use super::{DocumentError, Jsonb};
use crate::refusal::Refusal;
use serde::Serialize;
use serde::ser::{Impossible, SerializeStruct, Serializer};

/// A struct as a jsonb object, in the current memory context.
pub fn to_jsonb(document: &impl Serialize) -> Jsonb<'static> {
    let mut writer = Writer::new();
    let root = document
        .serialize(ValueSerializer(&mut writer))
        .expect("a document of structs, texts and integers");
    writer.finish(root)
}

struct ValueSerializer<'w>(&'w mut Writer);

type Unsupported = Impossible<Written, DocumentError>;
const UNSUPPORTED: DocumentError = DocumentError(Refusal::Bug);

/// Methods for types that no document of this extension has.
macro_rules! unsupported {
    ($($name:ident($($type:ty),*) -> $result:ty;)+) => {$(
        fn $name(self, $(_: $type),*) -> Result<$result, DocumentError> {
            Err(UNSUPPORTED)
        }
    )+};
}

impl<'w> Serializer for ValueSerializer<'w> {
    type Ok = Written;
    type Error = DocumentError;
    type SerializeSeq = Unsupported;
    type SerializeTuple = Unsupported;
    type SerializeTupleStruct = Unsupported;
    type SerializeTupleVariant = Unsupported;
    type SerializeMap = Unsupported;
    type SerializeStruct = ObjectSerializer<'w>;
    type SerializeStructVariant = Unsupported;

    fn serialize_i64(self, value: i64) -> Result<Written, DocumentError> {
        Ok(self.0.number(value))
    }

    fn serialize_str(self, text: &str) -> Result<Written, DocumentError> {
        Ok(self.0.text(text))
    }

    fn serialize_none(self) -> Result<Written, DocumentError> {
        Ok(NULL)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Written, DocumentError> {
        value.serialize(self)
    }

    fn serialize_struct(
        self,
        _: &'static str,
        fields: usize,
    ) -> Result<ObjectSerializer<'w>, DocumentError> {
        Ok(ObjectSerializer { writer: self.0, fields: Vec::with_capacity(fields) })
    }

    fn is_human_readable(&self) -> bool {
        true
    }

    unsupported! {
        serialize_bool(bool) -> Written;
        serialize_i8(i8) -> Written;
        serialize_i16(i16) -> Written;
        serialize_i32(i32) -> Written;
        serialize_u8(u8) -> Written;
        serialize_u16(u16) -> Written;
        serialize_u32(u32) -> Written;
        serialize_u64(u64) -> Written;
        serialize_f32(f32) -> Written;
        serialize_f64(f64) -> Written;
        serialize_char(char) -> Written;
        serialize_bytes(&[u8]) -> Written;
        serialize_unit() -> Written;
        serialize_unit_struct(&'static str) -> Written;
        serialize_unit_variant(&'static str, u32, &'static str) -> Written;
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
    ) -> Result<Written, DocumentError> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<Written, DocumentError> {
        Err(UNSUPPORTED)
    }
}

/// Collects the fields of an object.
struct ObjectSerializer<'w> {
    writer: &'w mut Writer,
    fields: Vec<(&'static str, Written)>,
}

impl SerializeStruct for ObjectSerializer<'_> {
    type Ok = Written;
    type Error = DocumentError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), DocumentError> {
        self.fields.push((key, value.serialize(ValueSerializer(self.writer))?));
        Ok(())
    }

    fn end(self) -> Result<Written, DocumentError> {
        Ok(self.writer.object(self.fields))
    }
}
