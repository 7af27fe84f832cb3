//! The feed: what changed, in an order that readers can trust, and the notifications that say so.

mod event;
mod notify;
pub mod record;
mod watermark;
