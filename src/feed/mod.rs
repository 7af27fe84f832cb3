//! The feed: events in an order in which no reader misses one, and the notifications that announce them.

mod consumers;
mod document;
mod epochs;
pub mod event;
mod event_writer;
mod facts;
pub mod notification;
pub mod positions;
mod pruning;
mod reading;
pub mod recording;
pub mod worker;

pub use facts::{
    POSITION_LOCKS, complete_to, epoch_is_beginning, has_worker, history_here, last_readable,
    sent_by_worker,
};

use crate::customer::enforcement;
use crate::postgres::transaction::register_callbacks;
use pgrx::prelude::*;
use std::ffi::c_void;

/// To be called once, when the library is loaded.
pub fn register_transaction_callbacks() {
    register_callbacks(Some(at_end_of_transaction), Some(at_end_of_savepoint));
}

/// Must not fail: a commit cannot be undone any more.
#[pg_guard]
unsafe extern "C-unwind" fn at_end_of_transaction(
    event: pg_sys::XactEvent::Type,
    _argument: *mut c_void,
) {
    use pg_sys::XactEvent::{XACT_EVENT_ABORT, XACT_EVENT_COMMIT, XACT_EVENT_PREPARE};
    match event {
        XACT_EVENT_COMMIT | XACT_EVENT_ABORT => positions::end_transaction(),
        XACT_EVENT_PREPARE => positions::prepare_transaction(),
        _ => return,
    }
    notification::end_transaction();
    enforcement::end_transaction();
}

#[pg_guard]
unsafe extern "C-unwind" fn at_end_of_savepoint(
    event: pg_sys::SubXactEvent::Type,
    savepoint: pg_sys::SubTransactionId,
    parent: pg_sys::SubTransactionId,
    _argument: *mut c_void,
) {
    use pg_sys::SubXactEvent::{SUBXACT_EVENT_ABORT_SUB, SUBXACT_EVENT_COMMIT_SUB};
    match event {
        SUBXACT_EVENT_COMMIT_SUB => notification::end_savepoint(savepoint, Some(parent)),
        SUBXACT_EVENT_ABORT_SUB => notification::end_savepoint(savepoint, None),
        _ => {}
    }
}
