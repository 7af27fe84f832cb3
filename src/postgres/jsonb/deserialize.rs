//! A serde deserialiser that reads jsonb in place: objects whose values are texts and nulls. Its error is a
//! refusal, which holds no value.

use super::{Container, Fields, Value};
use crate::postgres::text::utf8;
use crate::refusal::Refusal;
use serde::de::value::BorrowedBytesDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde::forward_to_deserialize_any;
use std::fmt::{self, Display, Formatter};

const MAX_FIELDS: usize = 64;

#[derive(Debug)]
pub struct DocumentError(pub(super) Refusal);

impl From<DocumentError> for Refusal {
    fn from(DocumentError(refusal): DocumentError) -> Self {
        refusal
    }
}

impl Display for DocumentError {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        f.write_str(&self.0.facts().message)
    }
}

impl std::error::Error for DocumentError {}

impl serde::ser::Error for DocumentError {
    /// Not reached by the types that this crate derives Serialize for.
    fn custom<T: Display>(_message: T) -> Self {
        Self(Refusal::Bug)
    }
}

impl Error for DocumentError {
    /// Not reached by the types that this crate derives Deserialize for.
    fn custom<T: Display>(_message: T) -> Self {
        Self(Refusal::Bug)
    }

    fn unknown_field(field: &str, _expected: &'static [&'static str]) -> Self {
        Self(Refusal::unknown_field(field))
    }
}

/// Deserialises an object as a struct.
impl<'de> Deserializer<'de> for Container<'de> {
    type Error = DocumentError;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DocumentError> {
        // More fields than any document has are not even collected; one of them is unknown.
        if self.is_object() && self.len() > MAX_FIELDS {
            return Err(Error::unknown_field("", fields));
        }
        let object = self.fields().ok_or(DocumentError(Refusal::NotAnObject))?;
        visitor.visit_map(ObjectAccess { rest: object.into_iter(), fields, value: None })
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, DocumentError> {
        Err(DocumentError(Refusal::NotAnObject))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct ObjectAccess<'de> {
    rest: <Fields<'de> as IntoIterator>::IntoIter,
    fields: &'static [&'static str],
    /// The value that next_value_seed returns next, with its field's name; None for an unknown field.
    value: Option<(&'static str, Value<'de>)>,
}

impl<'de> MapAccess<'de> for ObjectAccess<'de> {
    type Error = DocumentError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, DocumentError> {
        let Some((key, value)) = self.rest.next() else { return Ok(None) };
        let field = self.fields.iter().find(|field| field.as_bytes() == key);
        self.value = field.map(|field| (*field, value));
        seed.deserialize(BorrowedBytesDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<S::Value, DocumentError> {
        let (field, value) = self.value.take().ok_or(DocumentError(Refusal::Bug))?;
        seed.deserialize(FieldValue { field, value })
    }
}

/// The value of a field: a text, or null if the field is an `Option`.
struct FieldValue<'de> {
    field: &'static str,
    value: Value<'de>,
}

impl<'de> Deserializer<'de> for FieldValue<'de> {
    type Error = DocumentError;

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DocumentError> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DocumentError> {
        let field = self.field;
        match self.value {
            Value::String(octets) => {
                visitor.visit_borrowed_str(utf8(octets, field).map_err(DocumentError)?)
            }
            Value::Null => Err(DocumentError(Refusal::NotClearable { field })),
            Value::Other => Err(DocumentError(Refusal::NotText { field })),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// For a field where null differs from absence: `#[serde(default, deserialize_with = "present")]`.
pub fn present<'de, D: Deserializer<'de>, T: serde::Deserialize<'de>>(
    value: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}
