//! Positions: how they are drawn, and up to which one the feed is complete for a reader.
//!
//! Positions are drawn before their transactions commit, and transactions commit in another order. So
//! before a transaction draws its first position, it takes a shared lock whose key is the last position
//! drawn so far, and holds it to its end: all of its positions lie above its key. A reader takes the last
//! position H, then the lowest key M that is held, then a new snapshot, and may read up to the lower of the
//! two, the watermark. A writer whose lock it did not see will draw above H, one whose lock it saw draws
//! above M, and one that has ended is visible in the snapshot. `doc/watermark.md` has the full argument.

use super::epochs;
use super::worker::slot;
use crate::customer::schema::{EVENTS, POSITIONS};
use crate::postgres::error::OrRaise;
use crate::postgres::ffi;
use crate::postgres::relation::OpenRelation;
use crate::postgres::statement::Statement;
use crate::postgres::transaction::with_latest_snapshot;
use crate::refusal::Refusal;
use pgrx::prelude::*;
use std::cell::Cell;

/// Distinguishes these locks among the user locks, which no SQL function can take. 11 bits.
const LOCK_CLASS: u32 = 0x62D;
/// A position must be exact as a JSON number, so it has at most this many bits; so has a key, which is a position.
const POSITION_BITS: u32 = 53;
/// The number of bits of a key that do not fit into the third field of a lock's tag.
const HIGH_KEY_BITS: u32 = POSITION_BITS - 32;

thread_local! {
    /// The lock that the current transaction holds.
    static HELD: Cell<Option<pg_sys::LOCKTAG>> = const { Cell::new(None) };
    /// The sequence that this session has drawn from, the position that it had reached, and when it was last
    /// compared with the feed, in microseconds since 2000.
    static REACHED: Cell<(pg_sys::Oid, i64, i64)> = const { Cell::new((pg_sys::InvalidOid, -1, 0)) };
}

/// Draws positions for the events of one statement.
pub struct Positions {
    sequence: OpenRelation,
    /// Every position of the transaction must lie above it, or readers would miss events.
    key: i64,
}

impl Positions {
    /// Takes the transaction's lock, unless it is held already.
    pub fn open() -> Self {
        let sequence = open_sequence();
        let key = HELD.get().map_or_else(|| hold(&sequence), |tag| key_of(&tag));
        Self { sequence, key }
    }

    pub fn sequence(&self) -> pg_sys::Oid {
        self.sequence.oid()
    }

    pub fn draw(&self) -> i64 {
        // SAFETY: `self` keeps the sequence open, so the OID is that of a sequence.
        let position = unsafe { pg_sys::nextval_internal(self.sequence.oid(), false) };
        if position <= self.key {
            Refusal::PositionsRepeat.raise();
        }
        if position >> POSITION_BITS != 0 {
            Refusal::PositionsExhausted.raise();
        }
        let (_, _, compared_at) = REACHED.get();
        REACHED.set((self.sequence.oid(), position, compared_at));
        position
    }
}

fn open_sequence() -> OpenRelation {
    let sequence = POSITIONS.open(pg_sys::RowExclusiveLock);
    if sequence.is_sequence() { sequence } else { Refusal::NotAttached.raise() }
}

/// Takes the transaction's lock, and returns its key.
fn hold(sequence: &OpenRelation) -> i64 {
    let key = last_position(sequence);
    refuse_to_repeat(sequence.oid(), key);
    let tag = lock(key);
    // Between reading the key and taking the lock, others may have drawn positions, and readers may have
    // passed the key. Now that the lock is held, no reader passes its key, so a key that is read again lies
    // at or above every reader's position.
    let later = last_position(sequence);
    if later > key {
        let later_tag = lock(later);
        release(&tag);
        HELD.set(Some(later_tag));
        return later;
    }
    HELD.set(Some(tag));
    key
}

/// Takes the lock with a key, for the transaction and not for a savepoint: a rollback to the savepoint
/// would release it, while the transaction goes on drawing positions.
fn lock(key: i64) -> pg_sys::LOCKTAG {
    if key >> POSITION_BITS != 0 {
        Refusal::PositionsExhausted.raise();
    }
    let tag = tag_of(key);
    // SAFETY: TopTransactionResourceOwner exists in a transaction. If LockAcquire raises, the abort sets
    // CurrentResourceOwner.
    unsafe {
        let owner = pg_sys::CurrentResourceOwner;
        pg_sys::CurrentResourceOwner = pg_sys::TopTransactionResourceOwner;
        pg_sys::LockAcquire(&tag, pg_sys::ShareLock as i32, false, false);
        pg_sys::CurrentResourceOwner = owner;
    }
    tag
}

/// Releases a lock that [`lock`] has taken.
fn release(tag: &pg_sys::LOCKTAG) {
    // SAFETY: the lock was taken with TopTransactionResourceOwner, which lives until the transaction's
    // locks are released.
    unsafe {
        let owner = pg_sys::CurrentResourceOwner;
        pg_sys::CurrentResourceOwner = pg_sys::TopTransactionResourceOwner;
        pg_sys::LockRelease(tag, pg_sys::ShareLock as i32, false);
        pg_sys::CurrentResourceOwner = owner;
    }
}

/// Refuses to draw from a sequence that was set back, by setval() or by a restore without its value: positions
/// would be drawn twice, or below a consumer's place. Compares it with the tables when a session begins, when it
/// has gone back behind where the session knows it to have been, and once a second while others draw as well.
fn refuse_to_repeat(sequence: pg_sys::Oid, last: i64) {
    const SECOND: i64 = 1_000_000;
    static FURTHEST_CONSUMER: Statement =
        Statement::new(c"SELECT max(position) FROM customers.consumers", &[]);
    let (of, reached, compared_at) = REACHED.get();
    let now = ffi::GetCurrentTransactionStartTimestamp();
    let is_recent = (0..SECOND).contains(&(now - compared_at));
    if of == sequence && (last == reached || last > reached && is_recent) {
        return;
    }
    let highest = with_latest_snapshot(|| {
        let consumer = FURTHEST_CONSUMER.read_value::<i64>(&[]);
        epochs::last_event().max(consumer).max(Some(epochs::pruned_to()))
    });
    if Some(last) < highest {
        Refusal::PositionsRepeat.raise();
    }
    REACHED.set((sequence, last, now));
}

/// Releases the lock slightly before PostgreSQL would, then wakes the worker, which would otherwise find
/// the lock still held and sleep again. By now the transaction is visible or aborted. Must not fail: a
/// commit cannot be undone any more.
pub fn end_transaction() {
    if let Some(tag) = HELD.take() {
        release(&tag);
        slot::wake_worker();
    }
}

/// Leaves the lock to the prepared transaction, which holds it until it is committed or rolled back.
pub fn prepare_transaction() {
    HELD.set(None);
}

/// Up to which position the feed is complete.
pub struct Watermark {
    /// The last position drawn by any transaction.
    pub last: i64,
    pub sequence: pg_sys::Oid,
    /// The lowest key that any transaction held after `last` was read.
    lowest_key: Option<i64>,
}

impl Watermark {
    /// Refuses on a standby, where the locks of the primary's writers cannot be seen.
    pub fn read() -> Self {
        refuse_standby().or_raise();
        let sequence = open_sequence();
        // The proof requires this order: first the sequence, then the locks, and the snapshot after both.
        let last = last_position(&sequence);
        Self { last, sequence: sequence.oid(), lowest_key: lowest_key() }
    }

    /// A snapshot taken after this was read sees every event that will ever exist up to here.
    pub fn complete_to(&self) -> i64 {
        self.lowest_key.map_or(self.last, |key| self.last.min(key))
    }
}

/// How far the feed goes for a reader.
pub struct Feed(Watermark);

impl Feed {
    pub fn look() -> Self {
        EVENTS.refuse_inheritance();
        // Before the sequence: an event that is there now was drawn from it before.
        let last_event = with_latest_snapshot(epochs::last_event).unwrap_or_default();
        let mut watermark = Watermark::read();
        if watermark.last < last_event {
            // The sequence was set back. Nothing is drawn from it then, so the feed ends with its last event, or
            // before one of a writer that has drawn and is still open.
            watermark.last = last_event;
        }
        Self(watermark)
    }

    /// As [`Watermark::complete_to`].
    pub fn complete_to(&self) -> i64 {
        self.0.complete_to()
    }

    /// Refuses a position from which the feed cannot be continued, judged by the active snapshot.
    pub fn check_place(&self, place: i64) -> Result<(), Refusal> {
        let pruned_to = epochs::pruned_to();
        let end = self.0.last.max(pruned_to);
        if place < 0 {
            Err(Refusal::NegativePosition)
        } else if place < pruned_to {
            Err(Refusal::Pruned { up_to: pruned_to })
        } else if place > end {
            Err(Refusal::SetBack { end })
        } else {
            Ok(())
        }
    }
}

/// Refuses where the watermark cannot be determined: on a standby, which does not see the writers' locks,
/// and with a snapshot that is kept for the transaction.
pub fn ensure_readable() -> Result<(), Refusal> {
    refuse_standby()?;
    // SAFETY: a variable of this process, which has one thread.
    if unsafe { pg_sys::XactIsoLevel } >= pg_sys::XACT_REPEATABLE_READ as i32 {
        return Err(Refusal::Isolation);
    }
    Ok(())
}

fn refuse_standby() -> Result<(), Refusal> {
    // SAFETY: has no precondition.
    if unsafe { pg_sys::RecoveryInProgress() } { Err(Refusal::Standby) } else { Ok(()) }
}

/// The lowest key that any transaction holds in this database.
fn lowest_key() -> Option<i64> {
    // SAFETY: GetLockStatusData returns a palloc'ed copy of the lock table, with `nelements` entries.
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

/// The tag of a lock with this key. It also contains the process id: otherwise writers that begin at the
/// same time would contend for one entry of the lock table.
fn tag_of(key: i64) -> pg_sys::LOCKTAG {
    pg_sys::LOCKTAG {
        // SAFETY: set once, when the backend starts.
        locktag_field1: unsafe { pg_sys::MyDatabaseId }.to_u32(),
        locktag_field2: LOCK_CLASS << HIGH_KEY_BITS | (key >> 32) as u32,
        locktag_field3: key as u32,
        // SAFETY: set once, when the backend starts.
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
        && tag.locktag_field2 >> HIGH_KEY_BITS == LOCK_CLASS
}

fn key_of(tag: &pg_sys::LOCKTAG) -> i64 {
    let high = tag.locktag_field2 & ((1 << HIGH_KEY_BITS) - 1);
    i64::from(high) << 32 | i64::from(tag.locktag_field3)
}

/// The last position drawn by any transaction; 0 before the first. Reads the sequence's page as nextval()
/// does, without a privilege check: a role that may write customers need not have the right to read the
/// feed. A sequence that was restarted counts as drawn up to its next value.
fn last_position(sequence: &OpenRelation) -> i64 {
    // SAFETY: a sequence has one page with one row, which is copied under the buffer's share lock, so that
    // nobody changes it meanwhile. Follows read_seq_tuple of sequence.c.
    let state = unsafe {
        let relation = sequence.as_ptr();
        ffi::with_error_boundary(|| {
            let buffer = ffi::ReadBuffer(relation, 0);
            ffi::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as i32);
            let page = pg_sys::BufferGetPage(buffer);
            let item = (*page.cast::<pg_sys::PageHeaderData>()).pd_linp.as_ptr();
            let row = page.add((*item).lp_off() as usize);
            let header = (*row.cast::<pg_sys::HeapTupleHeaderData>()).t_hoff;
            let state = row.add(header.into()).cast::<pg_sys::FormData_pg_sequence_data>().read();
            ffi::UnlockReleaseBuffer(buffer);
            state
        })
    };
    if state.is_called { state.last_value } else { state.last_value - 1 }
}
