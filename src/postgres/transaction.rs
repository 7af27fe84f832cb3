//! What happens at the end of transactions and savepoints, and which command is at work.

use super::ffi;
use pgrx::pg_sys;

/// Has the callbacks called at the end of each transaction and savepoint, as long as the backend lives.
pub fn register_callbacks(
    at_end: pg_sys::XactCallback,
    at_end_of_savepoint: pg_sys::SubXactCallback,
) {
    // SAFETY: the callbacks live as long as the library, which is never unloaded.
    unsafe {
        pg_sys::RegisterXactCallback(at_end, std::ptr::null_mut());
        pg_sys::RegisterSubXactCallback(at_end_of_savepoint, std::ptr::null_mut());
    }
}

/// Whether the transaction may write, and triggers fire in it as they do for everybody.
pub fn may_insert() -> bool {
    // SAFETY: variables of this backend, which change only between statements.
    unsafe {
        pg_sys::SessionReplicationRole == pg_sys::SESSION_REPLICATION_ROLE_ORIGIN as i32
            && !pg_sys::XactReadOnly
            && !ffi::IsInParallelMode()
    }
}

/// The command that the row at hand is written by. While a statement runs, its snapshot is the active one, and
/// was taken with the command id that its rows get.
pub fn command_id() -> pg_sys::CommandId {
    // SAFETY: a trigger is called with an active snapshot.
    unsafe { (*pg_sys::GetActiveSnapshot()).curcid }
}

/// Runs `work` with a snapshot that is newer than everything that was looked at before, as the active one.
pub fn with_latest_snapshot<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: pushed and popped in pairs; should the work raise, the abort pops.
    unsafe {
        pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot());
        let done = work();
        pg_sys::PopActiveSnapshot();
        done
    }
}

/// Makes sure that what this session sees committed survives a crash: a commit with synchronous_commit = off is
/// visible before it is on disk.
pub fn flush_what_is_visible() {
    const PAGE: u64 = pg_sys::XLOG_BLCKSZ as u64;
    const SHORT_HEADER: u64 = size_of::<pg_sys::XLogPageHeaderData>().next_multiple_of(8) as u64;
    const LONG_HEADER: u64 = size_of::<pg_sys::XLogLongPageHeaderData>().next_multiple_of(8) as u64;
    // SAFETY: not in recovery, where there is nothing to flush. A transaction that is visible has written its
    // commit record before, so up to here. At the beginning of a page the place of the next record lies behind
    // the page's header, which is not written before that record is: no record ends there.
    unsafe {
        let next = pg_sys::GetXLogInsertRecPtr();
        let end = match (next % PAGE, next % pg_sys::wal_segment_size as u64) {
            (_, LONG_HEADER) => next - LONG_HEADER,
            (SHORT_HEADER, _) => next - SHORT_HEADER,
            _ => next,
        };
        pg_sys::XLogFlush(end);
    }
}

/// Waits for two milliseconds, and ends where the session was cancelled or terminated.
pub fn wait_a_little() {
    // SAFETY: needs nothing.
    unsafe { pg_sys::pg_usleep(2000) };
    check_for_interrupts();
}

/// Ends a long loop where the session was cancelled or terminated.
pub fn check_for_interrupts() {
    pg_sys::check_for_interrupts!();
}
