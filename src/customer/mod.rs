//! Customers: the tables of the schema, a customer's row, the guard that applies the rules to it, and their
//! enforcement.

pub mod data_owner;
pub mod enforcement;
pub mod guard;
pub mod operation;
pub mod profile;
pub mod row;
pub mod schema;
