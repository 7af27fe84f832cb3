//! Access to PostgreSQL for an extension, with its preconditions expressed in types. Independent of customers.

pub mod allocation;
pub mod argument;
pub mod catalog_cache;
pub mod error;
pub mod ffi;
pub mod heap_insert;
pub mod jsonb;
pub mod partition;
pub mod random_uuid;
pub mod relation;
pub mod result_set;
pub mod sequence;
pub mod statement;
pub mod text;
pub mod timestamp;
pub mod transaction;
pub mod transition_table;
pub mod trigger;
pub mod typed_datum;
pub mod user_lock;
