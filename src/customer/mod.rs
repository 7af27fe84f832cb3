//! A customer's row: the tables of the schema, the rules that a row is held to, and the proof that they are.

pub mod data_owner;
pub mod enforcement;
pub mod guard;
pub mod operation;
pub mod profile;
pub mod row;
pub mod schema;
