//! Transactions: callbacks at the end, the current command, snapshots, flushing, interrupts.

use super::ffi;
use pgrx::pg_sys;
use std::time::Duration;

/// Registers callbacks for the end of each transaction and of each savepoint, for the life of the backend.
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

/// Whether a plain INSERT would be allowed and would fire its triggers: the transaction may write, and
/// session_replication_role is origin.
pub fn may_insert() -> bool {
    // SAFETY: variables of this process, which has one thread.
    unsafe {
        pg_sys::SessionReplicationRole == pg_sys::SESSION_REPLICATION_ROLE_ORIGIN as i32
            && !pg_sys::XactReadOnly
            && !ffi::IsInParallelMode()
    }
}

/// Whether the transaction must not write: it was begun so, or the server is a standby.
pub fn is_read_only() -> bool {
    // SAFETY: a variable of this process, which has one thread; RecoveryInProgress has no precondition.
    unsafe { pg_sys::XactReadOnly || pg_sys::RecoveryInProgress() }
}

/// Whether the transaction keeps its first snapshot: REPEATABLE READ and above.
pub fn is_snapshot_kept() -> bool {
    // SAFETY: a variable of this process, which has one thread.
    unsafe { pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as i32 }
}

/// The id of the command that writes the current row: while a statement runs, its snapshot is active, and
/// has the command id that the statement's rows get.
pub fn command_id() -> pg_sys::CommandId {
    // SAFETY: PostgreSQL fires triggers with an active snapshot, so the pointer is not null.
    unsafe { (*pg_sys::GetActiveSnapshot()).curcid }
}

/// Runs `work` with a new active snapshot, taken after everything that was read before.
pub fn with_latest_snapshot<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: pushed and popped in pairs; if the work raises, the abort pops it.
    unsafe {
        pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot());
        let done = work();
        pg_sys::PopActiveSnapshot();
        done
    }
}

/// Flushes WAL up to the last commit that this session can see: a commit with synchronous_commit = off is
/// visible before it is on disk.
pub fn flush_what_is_visible() {
    const PAGE: u64 = pg_sys::XLOG_BLCKSZ as u64;
    const SHORT_HEADER: u64 = size_of::<pg_sys::XLogPageHeaderData>().next_multiple_of(8) as u64;
    const LONG_HEADER: u64 = size_of::<pg_sys::XLogLongPageHeaderData>().next_multiple_of(8) as u64;
    // SAFETY: writes WAL, so not to be called in recovery, where callers refuse first. A visible
    // transaction has inserted its commit record, which ends at or before the insert position. Where that
    // position follows a page header, the header may not be written yet, and XLogFlush would fail: no
    // record ends inside it, so the flush stops before it.
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

/// Sleeps, and raises afterwards if the session was cancelled or terminated. For moments: PostgreSQL does not interrupt
/// it.
pub fn sleep(time: Duration) {
    // Goes on after a signal, where pg_usleep() would return early.
    std::thread::sleep(time);
    check_for_interrupts();
}

/// Raises if the session was cancelled or terminated. For long loops.
pub fn check_for_interrupts() {
    pg_sys::check_for_interrupts!();
}
