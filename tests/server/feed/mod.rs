//! The feed: what it records, who reads it, and what announces it.

mod consumer_examples;
mod consumer_places;
mod consuming;
mod crashing;
mod durability;
mod epochs;
mod failover;
mod full_queue;
mod lower_end;
mod moving;
pub mod notifying;
mod out_of_sequence;
mod partitioning;
mod patroni;
mod pruning;
mod reading_events;
mod recording;
mod savepoints;
mod standby;
mod storm;
mod subscribing;
mod worker;
