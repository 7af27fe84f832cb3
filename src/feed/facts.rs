//! What verify() and metrics() are told of the feed.

use super::epochs;
use super::positions::{self, with_bounds};
use super::reading;
use super::worker::slot;
use pgrx::pg_sys::Oid;

/// The class of the user locks that hold the feed back.
pub const POSITION_LOCKS: u32 = positions::LOCKS.0;

/// The position up to which the feed is complete; None on a standby, where it cannot be determined.
pub fn complete_to() -> Option<i64> {
    positions::refuse_standby().ok().map(|()| with_bounds(|bounds| bounds.complete_to))
}

/// The position of the last event that a consumer can have read; None on a standby.
pub fn last_readable() -> Option<i64> {
    positions::refuse_standby().ok().map(|()| reading::find_end().0)
}

/// The history of this server, as an epoch records it; None on a standby.
pub fn history_here() -> Option<String> {
    positions::refuse_standby().ok().map(|()| epochs::history_here())
}

/// Whether a transaction that is still open records an epoch.
pub fn epoch_is_beginning() -> bool {
    epochs::is_beginning()
}

/// Whether a worker sends the notifications of this sequence's events.
pub fn has_worker(sequence: Oid) -> bool {
    slot::has_worker(sequence)
}

/// The position up to which the worker has sent notifications; None if none serves this database.
pub fn sent_by_worker(sequence: Oid) -> Option<i64> {
    slot::sent_by_worker(sequence)
}
