//! The events as consumers get them: `customer-registered.schema.json`, `customer-updated.schema.json` and
//! `customer-erased.schema.json` of the contract.

use super::event::Type;
use crate::postgres::jsonb::{Jsonb, Value, to_jsonb};
use crate::postgres::text::lossy;
use crate::postgres::timestamp::Timestamp;
use serde::Serialize;
use std::borrow::Cow;
use uuid::Uuid;

/// What all events have.
pub struct Head {
    pub event_id: Uuid,
    pub occurred_at: Timestamp,
    pub version: i64,
    pub customer_id: Uuid,
}

// The fields are in the order in which jsonb keeps keys, by length and then by their octets: it need not sort them.

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CustomerRegistered<'a> {
    event_id: Uuid,
    version: i64,
    customer: Customer<'a>,
    occurred_at: Timestamp,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Customer<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Change<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Change<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Change<'a>,
    customer_id: Uuid,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CustomerUpdated<'a> {
    changes: Changes<'a>,
    event_id: Uuid,
    version: i64,
    customer_id: Uuid,
    occurred_at: Timestamp,
}

#[derive(Serialize, Default)]
struct Changes<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Change<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Change<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Change<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CustomerErased {
    event_id: Uuid,
    version: i64,
    customer_id: Uuid,
    occurred_at: Timestamp,
}

/// A field that an event sets: to a value, or to null. None if it does not.
type Change<'a> = Option<Option<Cow<'a, str>>>;

/// An event as JSON, in the current memory context. U+FFFD stands for stored octets that are not valid UTF-8, so that no
/// consumer is stuck on them. An event of a type that is not of this extension has no content, like an erasure.
pub fn document(r#type: Option<Type>, head: Head, changes: Jsonb) -> Jsonb<'static> {
    let Head { event_id, occurred_at, version, customer_id } = head;
    let read = || {
        let mut set = Changes::default();
        for (key, value) in changes.root().fields().unwrap_or_default() {
            let field = match key {
                b"email" => &mut set.email,
                b"name" => &mut set.name,
                b"status" => &mut set.status,
                _ => continue,
            };
            *field = match value {
                Value::String(octets) => Some(Some(lossy(octets))),
                Value::Null => Some(None),
                Value::Other => None,
            };
        }
        set
    };
    match r#type {
        Some(Type::Registered) => {
            let Changes { email, name, status } = read();
            let customer = Customer { customer_id, email, name, status };
            to_jsonb(&CustomerRegistered { event_id, occurred_at, version, customer })
        }
        Some(Type::Updated) => {
            let changes = read();
            to_jsonb(&CustomerUpdated { event_id, occurred_at, version, customer_id, changes })
        }
        Some(Type::Erased) | None => {
            to_jsonb(&CustomerErased { event_id, occurred_at, version, customer_id })
        }
    }
}
