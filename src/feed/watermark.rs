//! The low-water mark: how a reader knows up to where the feed is complete.
//!
//! Positions are drawn before their transactions commit, and not in the order in which these commit.
//! So a transaction that is going to draw positions first takes a shared lock whose key is the last
//! position drawn so far, and holds it to its end. Whatever it draws lies above its key. A reader that
//! takes the last position H, then the lowest key M that is held, then a new snapshot, may read up to
//! the lower of both: a writer it did not see will draw above H, one it saw draws above M, and one that
//! is gone is visible in the snapshot.

use super::wake;
use crate::errors::{OrRefuse, Refusal};
use crate::raw;
use pgrx::prelude::*;
use std::cell::Cell;
use std::ffi::c_char;

/// Sets our locks apart from other extensions' among the user locks, which no SQL function can take.
const LOCK_CLASS: u16 = 0xC057;
/// A key is a position, of which so many bits are used: a million a second for nine years.
const KEY_BITS: u32 = 48;

thread_local! {
    /// The lock that the transaction at hand holds.
    static HELD: Cell<Option<pg_sys::LOCKTAG>> = const { Cell::new(None) };
}

/// Takes the lock, once for each transaction, before its first event draws a position from `sequence`. Gives
/// its key.
pub fn hold(sequence: pg_sys::Oid) -> i64 {
    if let Some(tag) = HELD.get() {
        return key_of(&tag);
    }
    let key = last_position(sequence);
    assert!(key >> KEY_BITS == 0, "the feed has no positions left");
    let tag = tag_of(key);
    // SAFETY: owned by the transaction and not by a savepoint, whose rollback would release it while
    // what follows goes on drawing positions. Should LockAcquire raise, the abort sets the owner anew.
    unsafe {
        let owner = pg_sys::CurrentResourceOwner;
        pg_sys::CurrentResourceOwner = pg_sys::TopTransactionResourceOwner;
        pg_sys::LockAcquire(&tag, pg_sys::ShareLock as i32, false, false);
        pg_sys::CurrentResourceOwner = owner;
    }
    HELD.set(Some(tag));
    key
}

/// Has [`at_end_of_transaction`] called.
pub fn watch_transactions() {
    // SAFETY: the callback lives as long as the library, which is never unloaded.
    unsafe { pg_sys::RegisterXactCallback(Some(at_end_of_transaction), std::ptr::null_mut()) }
}

/// Lets the lock go a moment before PostgreSQL would, then wakes the worker: it would find the lock still
/// held otherwise, and sleep on. By now the transaction is visible or gone.
#[pg_guard]
unsafe extern "C-unwind" fn at_end_of_transaction(
    event: pg_sys::XactEvent::Type,
    _argument: *mut std::ffi::c_void,
) {
    use pg_sys::XactEvent::{XACT_EVENT_ABORT, XACT_EVENT_COMMIT, XACT_EVENT_PREPARE};
    match event {
        XACT_EVENT_COMMIT | XACT_EVENT_ABORT => {
            let Some(tag) = HELD.take() else { return };
            // SAFETY: taken above with this owner, which is still there. Nothing in here can fail, which is
            // why it may run when a commit cannot be undone any more.
            unsafe {
                let owner = pg_sys::CurrentResourceOwner;
                pg_sys::CurrentResourceOwner = pg_sys::TopTransactionResourceOwner;
                pg_sys::LockRelease(&tag, pg_sys::ShareLock as i32, false);
                pg_sys::CurrentResourceOwner = owner;
            }
            wake::worker();
        }
        // The lock stays, with the prepared transaction.
        XACT_EVENT_PREPARE => HELD.set(None),
        _ => {}
    }
}

/// How far the feed goes.
pub struct Watermark {
    /// The last position drawn, by any transaction.
    pub last: i64,
    /// Up to here a snapshot that is newer than this sees every event there will ever be.
    pub complete_to: i64,
}

pub fn read(sequence: pg_sys::Oid) -> Watermark {
    // The order is the proof: first the sequence, then the locks, and the snapshot after both.
    let last = last_position(sequence);
    let complete_to = lowest_key().map_or(last, |key| last.min(key));
    Watermark { last, complete_to }
}

/// The lowest key that a transaction holds in this database.
fn lowest_key() -> Option<i64> {
    // SAFETY: PostgreSQL returns its list of locks as a copy of ours.
    let locks = unsafe {
        let data = &*pg_sys::GetLockStatusData();
        std::slice::from_raw_parts(data.locks, data.nelements as usize)
    };
    locks
        .iter()
        .filter(|lock| lock.holdMask != 0 && is_ours(&lock.locktag))
        .map(|lock| key_of(&lock.locktag))
        .min()
}

/// The tag of a lock with this key. It differs from process to process, or writers that begin together
/// would crowd around one entry of the lock table.
fn tag_of(key: i64) -> pg_sys::LOCKTAG {
    pg_sys::LOCKTAG {
        // SAFETY: plain reads.
        locktag_field1: unsafe { pg_sys::MyDatabaseId }.to_u32(),
        locktag_field2: u32::from(LOCK_CLASS) << 16 | (key >> 32) as u32,
        locktag_field3: key as u32,
        locktag_field4: unsafe { pg_sys::MyProcPid } as u16,
        locktag_type: pg_sys::LockTagType::LOCKTAG_USERLOCK as u8,
        locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
    }
}

fn is_ours(tag: &pg_sys::LOCKTAG) -> bool {
    let ours = tag_of(0);
    tag.locktag_type == ours.locktag_type
        && tag.locktag_lockmethodid == ours.locktag_lockmethodid
        && tag.locktag_field1 == ours.locktag_field1
        && tag.locktag_field2 >> 16 == ours.locktag_field2 >> 16
}

fn key_of(tag: &pg_sys::LOCKTAG) -> i64 {
    i64::from(tag.locktag_field2 & 0xFFFF) << 32 | i64::from(tag.locktag_field3)
}

/// The last position drawn, by any transaction; 0 before the first. Read where nextval() reads it, whoever
/// asks: who may write customers need not be allowed to look into the feed.
pub fn last_position(sequence: pg_sys::Oid) -> i64 {
    // SAFETY: the one row on the one page of a sequence, read under the lock that keeps it from changing.
    let state = unsafe {
        raw::guarded(|| {
            let open = raw::relation_open(sequence, pg_sys::RowExclusiveLock as pg_sys::LOCKMODE);
            if (*(*open).rd_rel).relkind != pg_sys::RELKIND_SEQUENCE as c_char {
                return None;
            }
            let buffer = raw::ReadBuffer(open, 0);
            raw::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as i32);
            let page = pg_sys::BufferGetPage(buffer);
            let item = (*page.cast::<pg_sys::PageHeaderData>()).pd_linp.as_ptr();
            let row = page.add((*item).lp_off() as usize);
            let header = (*row.cast::<pg_sys::HeapTupleHeaderData>()).t_hoff;
            let state = row.add(header.into()).cast::<pg_sys::FormData_pg_sequence_data>().read();
            raw::UnlockReleaseBuffer(buffer);
            raw::relation_close(open, pg_sys::NoLock as pg_sys::LOCKMODE);
            Some(state)
        })
    };
    let state = state.ok_or(Refusal::NotAttached).or_refuse();
    if state.is_called { state.last_value } else { 0 }
}
