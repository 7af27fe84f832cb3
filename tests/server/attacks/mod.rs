//! What hostile input, a lack of memory, the owner and other sessions do: nothing.

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
