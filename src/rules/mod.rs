//! What a customer profile may hold. Pure Rust: no server, no pgrx, the same answer in every database.

pub mod email;
pub mod mention;
pub mod name;
pub mod status;
mod text;
