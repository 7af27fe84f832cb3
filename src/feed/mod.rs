//! The feed: what changed, in an order that readers can trust, and the notifications that say so.

mod consumers;
mod event;
mod journal;
mod notify;
mod prune;
mod read;
pub mod record;
mod wake;
pub mod watermark;
pub mod worker;
