//! Hostile input, lack of memory, changes by the owner, and interference by other sessions.

mod adopting;
mod allocating;
mod broken_text;
mod foreign_errors;
mod lengths;
mod memory;
mod no_way_round;
mod refusals;
mod replicating;
mod swapping;
mod tampering;
mod threat_model;
