//! Positions: how they are drawn, and up to which one the feed is complete for a reader.
//!
//! Positions are drawn before their transactions commit, and transactions commit in another order. So
//! before a transaction draws its first position, it takes a shared lock whose key is the last position
//! drawn so far, and holds it to its end: all of its positions lie above its key. A reader takes the last
//! position H, then the lowest key M that is held, then a new snapshot, and may read up to the lower of the
//! two, the watermark. A writer whose lock it did not see will draw above H, one whose lock it saw draws
//! above M, and one that has ended is visible in the snapshot. `doc/watermark.md` has the full argument.

use super::epochs::{self, BeginOutcome, Epochs};
use super::worker::slot;
use crate::customer::schema::{EVENTS, POSITION_SEQUENCE};
use crate::postgres::error::OrRaise;
use crate::postgres::ffi;
use crate::postgres::sequence::Sequence;
use crate::postgres::transaction::{is_snapshot_kept, with_latest_snapshot};
use crate::postgres::user_lock::{Class, KEY_BITS, Mode, UserLock};
use crate::refusal::Refusal;
use pgrx::prelude::*;
use std::cell::{Cell, RefCell};

/// Distinguishes these locks among the user locks. 11 bits.
pub const LOCKS: Class = Class(0x62D);

thread_local! {
    /// The lock that the current transaction holds.
    static HELD: RefCell<Option<UserLock>> = const { RefCell::new(None) };
    /// What this session knows of the sequence.
    static KNOWN: Cell<SequenceState> = const {
        Cell::new(SequenceState { sequence: pg_sys::InvalidOid, begun: false, reached: -1, compared_at: 0 })
    };
}

#[derive(Clone, Copy)]
struct SequenceState {
    sequence: pg_sys::Oid,
    /// Whether an epoch of this server's history is known to be recorded.
    begun: bool,
    /// The position that the sequence had reached.
    reached: i64,
    /// When it was last compared with the tables, in microseconds since 2000.
    compared_at: i64,
}

/// Draws positions for the events of one statement.
pub struct Positions {
    sequence: Sequence,
    /// Every position of the transaction must lie above it, or readers would miss events.
    key: i64,
}

impl Positions {
    /// Takes the transaction's lock, unless it is held already.
    pub fn open() -> Self {
        let sequence = open_sequence();
        if let Some(key) = held_key().filter(|_| is_begun(&sequence)) {
            return Self { sequence, key };
        }
        let (last, begun) = compare_with_tables(&sequence);
        let key = hold(&sequence, last);
        if let Some(BeginOutcome::Begun(Some(events))) = begun {
            epochs::move_up(events);
        }
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
        if position >> KEY_BITS != 0 {
            Refusal::PositionsExhausted.raise();
        }
        KNOWN.set(SequenceState { reached: position, ..KNOWN.get() });
        position
    }
}

/// Where no epoch is recorded, records the first one, or begins the one that is due, as the next change would. Only the
/// latter holds the feed and other writers up until the transaction ends.
pub fn ensure_recorded() {
    if !with_bounds(Bounds::is_unrecorded) {
        return;
    }
    KNOWN.set(SequenceState { begun: false, ..KNOWN.get() });
    let sequence = open_sequence();
    if let BeginOutcome::Begun(events) = epochs::ensure_begun(&sequence) {
        hold(&sequence, sequence.last_value());
        if let Some(events) = events {
            epochs::move_up(events);
        }
    }
}

fn open_sequence() -> Sequence {
    Sequence::open(&POSITION_SEQUENCE, pg_sys::RowExclusiveLock)
        .ok_or(Refusal::NotAttached)
        .or_raise()
}

/// The key of the lock that the current transaction holds.
fn held_key() -> Option<i64> {
    HELD.with_borrow(|held| held.as_ref().map(UserLock::key))
}

/// Takes the transaction's lock, unless it is held already, with a key that the sequence has had or, if it has gone on,
/// a later one. Returns the key.
fn hold(sequence: &Sequence, key: i64) -> i64 {
    if let Some(held) = held_key() {
        return held;
    }
    let lock = lock(key);
    // Between reading the key and taking the lock, others may have drawn positions, and readers may have
    // passed the key. Now that the lock is held, no reader passes its key, so a key that is read again lies
    // at or above every reader's position.
    let later = sequence.last_value();
    let lock = if later > key {
        let later = self::lock(later);
        lock.release();
        later
    } else {
        lock
    };
    let key = lock.key();
    HELD.set(Some(lock));
    key
}

/// Takes the lock with a key. It also contains the process id: otherwise writers that begin at the same time
/// would contend for one entry of the lock table.
fn lock(key: i64) -> UserLock {
    if key >> KEY_BITS != 0 {
        Refusal::PositionsExhausted.raise();
    }
    // SAFETY: set once, when the backend starts.
    LOCKS.lock(key, unsafe { pg_sys::MyProcPid } as u16, Mode::Share)
}

/// Whether the session knows that an epoch of this server's history is recorded.
fn is_begun(sequence: &Sequence) -> bool {
    let known = KNOWN.get();
    known.sequence == sequence.oid() && known.begun
}

/// Compares the sequence with the tables when a session begins, when the sequence has gone back behind where the
/// session knows it to have been, and once a second. Returns its last value.
///
/// Begins an epoch after a failover or a restore. Within an epoch, refuses to draw from a sequence that was set
/// back: positions would be drawn twice, or below a consumer's position.
fn compare_with_tables(sequence: &Sequence) -> (i64, Option<BeginOutcome>) {
    const SECOND: i64 = 1_000_000;
    let known = KNOWN.get();
    let now = ffi::GetCurrentTransactionStartTimestamp();
    let is_recent = (0..SECOND).contains(&(now - known.compared_at));
    let last = sequence.last_value();
    if last >= known.reached && is_recent && is_begun(sequence) {
        return (last, None);
    }
    let begun = epochs::ensure_begun(sequence);
    // The proof requires this order: others draw positions and commit between the two.
    let highest = epochs::highest_known();
    let last = sequence.last_value();
    if last < highest {
        Refusal::PositionsRepeat.raise();
    }
    KNOWN.set(SequenceState {
        sequence: sequence.oid(),
        // A row that the transaction itself has written may yet be rolled back, with a savepoint even.
        begun: HELD.with_borrow(Option::is_none) && matches!(begun, BeginOutcome::AlreadyRecorded),
        reached: last,
        compared_at: now,
    });
    (last, Some(begun))
}

/// Releases the lock slightly before PostgreSQL would, then wakes the worker, which would otherwise find
/// the lock still held and sleep again. By now the transaction is visible or aborted. Must not fail: a
/// commit cannot be undone any more.
pub fn end_transaction() {
    if let Some(lock) = HELD.take() {
        lock.release();
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
        let last = sequence.last_value();
        Self { last, sequence: sequence.oid(), lowest_key: LOCKS.lowest_key() }
    }

    /// A snapshot taken after this was read sees every event that will ever exist up to here.
    pub fn complete_to(&self) -> i64 {
        self.lowest_key.map_or(self.last, |key| self.last.min(key))
    }
}

/// Reads the watermark, then takes a snapshot, and runs `work` with it as the active one and with the bounds that it
/// shows: what was pruned and what is left must be read with the same.
pub fn with_bounds<T>(work: impl FnOnce(&Bounds) -> T) -> T {
    EVENTS.refuse_inheritance();
    // Keeps its partitions from being detached until the transaction ends.
    drop(EVENTS.open(pg_sys::AccessShareLock));
    // Before the sequence: an event that is there now was drawn from it before.
    let last_event = with_latest_snapshot(epochs::last_event).unwrap_or_default();
    let watermark = Watermark::read();
    // Where the sequence was set back, nothing is drawn from it, so the feed ends with its last event, or before one
    // of a writer that has drawn and is still open.
    let watermark = Watermark { last: watermark.last.max(last_event), ..watermark };
    let read = epochs::stored_read();
    with_latest_snapshot(|| work(&Bounds::at(&watermark, last_event, read)))
}

/// From where to where the feed can be read.
pub struct Bounds {
    pub sequence: pg_sys::Oid,
    epochs: Epochs,
    /// No event at or below it is left.
    pub pruned_to: i64,
    /// A reader beyond it is refused.
    end: i64,
    /// As [`Watermark::complete_to`].
    pub complete_to: i64,
    /// The last event up to there.
    pub read_to: i64,
}

impl Bounds {
    /// As the active snapshot shows them; `last_event` was there before the watermark was read, `read` was stored before
    /// the snapshot was taken.
    fn at(watermark: &Watermark, last_event: i64, read: i64) -> Self {
        let epochs = Epochs::read(watermark.sequence);
        let (mut pruned_to, mut end) = (epochs.pruned_to(), watermark.last);
        if epochs.has_ended() {
            // A feed that was restored without its events counts as pruned to where its sequence stands.
            if epochs.is_of_other_server() && epochs::last_event().is_none() {
                pruned_to = pruned_to.max(watermark.last);
            }
            end = epochs::end_of_latest(&epochs, read);
        }
        let end = end.max(pruned_to);
        let complete_to = watermark.lowest_key.map_or(end, |key| end.min(key));
        let read_to = complete_to.min(last_event);
        Self { sequence: watermark.sequence, epochs, pruned_to, end, complete_to, read_to }
    }

    pub fn is_unrecorded(&self) -> bool {
        self.epochs.is_empty()
    }

    /// Refuses a position from which the feed cannot be continued.
    pub fn check_position(&self, position: i64) -> Result<(), Refusal> {
        if position < 0 {
            return Err(Refusal::NegativePosition);
        }
        if position < self.pruned_to {
            return Err(Refusal::Pruned { up_to: self.pruned_to });
        }
        self.refuse_lost(position)?;
        if position > self.end {
            return Err(Refusal::BeyondEnd { end: self.end });
        }
        Ok(())
    }

    /// Refuses a position that lies in what an epoch has lost.
    pub fn refuse_lost(&self, position: i64) -> Result<(), Refusal> {
        if self.epochs.has_ended() && position > self.end {
            return Err(Refusal::SetBack { epoch: self.epochs.latest(), end: self.end });
        }
        match self.epochs.ended_before(position) {
            // What was prepared before an epoch ended and committed afterwards lies beyond its end.
            Some((epoch, end)) if position > self.pruned_to && !epochs::has_event(position) => {
                Err(Refusal::SetBack { epoch, end })
            }
            _ => Ok(()),
        }
    }
}

/// Refuses where the watermark cannot be determined: on a standby, which does not see the writers' locks,
/// and with a snapshot that is kept for the transaction.
pub fn ensure_readable() -> Result<(), Refusal> {
    refuse_standby()?;
    if is_snapshot_kept() {
        return Err(Refusal::Isolation);
    }
    Ok(())
}

pub fn refuse_standby() -> Result<(), Refusal> {
    // SAFETY: has no precondition.
    if unsafe { pg_sys::RecoveryInProgress() } { Err(Refusal::Standby) } else { Ok(()) }
}
