//! Epochs: stretches of positions that one server history wrote. customers.feed_epochs has one row for each,
//! and the position up to which the feed was pruned.
//!
//! A failover, a recovery to a moment or a restored dump takes back events that readers may have seen. Whoever
//! is the first to draw a position afterwards begins a new epoch, far above every position of the one before,
//! and records where that ended: a reader beyond that end is refused, also after the feed has grown past it.

use super::positions::refuse_standby;
use crate::customer::operation::{self, Operation};
use crate::customer::schema::{EVENTS, POSITION_SEQUENCE, READ_SEQUENCE};
use crate::postgres::error::OrRaise;
use crate::postgres::ffi;
use crate::postgres::partition::first_lower_bound;
use crate::postgres::sequence::Sequence;
use crate::postgres::statement::{Statement, connected};
use crate::postgres::transaction::with_latest_snapshot;
use crate::postgres::user_lock::{Class, KEY_BITS, Mode};
use crate::refusal::Refusal;
use pgrx::pg_sys;
use pgrx::pg_sys::BuiltinOid::{INT4OID, INT8OID, OIDOID, TEXTOID};

/// Every epoch but the first begins at a multiple of this.
const STRIDE: i64 = 10_000_000_000;
/// An epoch begins at least this far above every position known here: further than a history that was lost
/// can have gone on.
const MARGIN: i64 = 1_000_000_000;

/// Distinguishes the locks of this module among the user locks. 11 bits.
const LOCKS: Class = Class(0x62E);
/// The key of the one lock, which the transaction that begins an epoch holds.
const BEGINNING: i64 = 0;

/// The highest first position of an epoch: STRIDE positions still fit below 2^53.
const MAX_FIRST_POSITION: i64 = (1 << KEY_BITS) - STRIDE;

/// How many of the last positions are searched for one that is missing.
const SEARCHED: i64 = 100_000;

/// What wrote a position: system identifier, database, sequence and timeline. It differs after a failover, a
/// recovery, a restored dump, a switch-over and an upgrade.
pub struct History {
    /// All but the timeline.
    server: String,
    timeline: pg_sys::TimeLineID,
}

impl History {
    /// That of this server; refuses on a standby, which has none of its own.
    fn of(sequence: pg_sys::Oid) -> Self {
        refuse_standby().or_raise();
        // SAFETY: the timeline is known, since recovery has ended.
        let (database, timeline) =
            unsafe { (pg_sys::MyDatabaseId, ffi::GetWALInsertionTimeLine()) };
        let system = ffi::GetSystemIdentifier();
        Self { server: format!("{system}/{database}/{sequence}/"), timeline }
    }

    fn text(&self) -> String {
        format!("{}{}", self.server, self.timeline)
    }
}

/// How the latest epoch relates to the history of this server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// Positions drawn here belong to it.
    ThisHistory,
    /// It was written before a failover or a recovery of the same files, whose WAL is complete up to some point.
    EarlierTimeline,
    /// It was written by another server, database or sequence: a restored dump, logical replication, pg_upgrade, a new sequence;
    /// or the owner has ended it.
    OtherServer,
    /// No epoch is recorded: nothing was written here yet, the first transaction is still open or was rolled back, or a
    /// restore has left the rows out.
    Unrecorded,
}

/// The history of this server, as an epoch records it.
pub fn history_here() -> String {
    History::of(POSITION_SEQUENCE.oid()).text()
}

struct Epoch {
    number: i32,
    first_position: i64,
    previous_end: i64,
    pruned_to: i64,
    history: String,
}

/// The epochs that a snapshot shows, in order.
pub struct Epochs {
    list: Vec<Epoch>,
    /// The history of this server.
    here: History,
    origin: Origin,
    /// The lower bound of the feed's first partition, if it is partitioned.
    first_bound: Option<i64>,
}

impl Epochs {
    /// As the active snapshot shows them.
    pub fn read(sequence: pg_sys::Oid) -> Self {
        static READ: Statement = Statement::new(
            c"SELECT epoch, first_position, previous_end, pruned_to, history
                FROM customers.feed_epochs ORDER BY epoch",
            &[],
        );
        let mut list = Vec::new();
        connected(|_| {
            READ.read(&[], |row| {
                list.push(Epoch {
                    number: row.get(1).unwrap_or_default(),
                    first_position: row.get(2).unwrap_or_default(),
                    previous_end: row.get(3).unwrap_or_default(),
                    pruned_to: row.get(4).unwrap_or_default(),
                    history: row.get(5).unwrap_or_default(),
                });
            });
        });
        let here = History::of(sequence);
        let origin = match list.last().map(|epoch: &Epoch| &epoch.history) {
            None => Origin::Unrecorded,
            Some(history) if *history == here.text() => Origin::ThisHistory,
            Some(history) if history.starts_with(&here.server) => Origin::EarlierTimeline,
            Some(_) => Origin::OtherServer,
        };
        Self { list, here, origin, first_bound: first_lower_bound(EVENTS.oid(), "position") }
    }

    /// Whether none is recorded.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether the latest epoch was written by another history than this server's.
    pub fn has_ended(&self) -> bool {
        matches!(self.origin, Origin::EarlierTimeline | Origin::OtherServer)
    }

    pub fn is_of_other_server(&self) -> bool {
        self.origin == Origin::OtherServer
    }

    /// The number of the latest epoch.
    pub fn latest(&self) -> i32 {
        self.list.last().map_or(1, |epoch| epoch.number)
    }

    /// The first position of the latest epoch.
    pub fn first_position(&self) -> i64 {
        self.list.last().map_or(1, |epoch| epoch.first_position)
    }

    /// The first position of the epoch after the latest: a multiple of STRIDE above every position known here.
    ///
    /// Each promotion since the latest epoch takes one multiple more: servers that were promoted from the same one,
    /// one after the other, to different timelines, begin different epochs.
    fn next_first_position(&self, known: i64, drawn: i64) -> i64 {
        let above = |position: i64| position.saturating_add(MARGIN + STRIDE - 1) / STRIDE;
        let next = above(known.max(self.first_position()));
        let Some(latest) = self.list.last().filter(|_| self.origin == Origin::EarlierTimeline)
        else {
            return next.max(above(drawn)).saturating_mul(STRIDE);
        };
        let timeline = latest.history.strip_prefix(&self.here.server).and_then(|t| t.parse().ok());
        let promotions = i64::from(self.here.timeline) - timeline.unwrap_or(0);
        let next = next.max(latest.first_position / STRIDE + 1).saturating_add(promotions - 1);
        // Only this timeline draws in the epoch. Where a transaction that had begun it was rolled back, before it drew even,
        // it goes on.
        let is_begun = (drawn + 1) / STRIDE == next;
        if is_begun {
            next.saturating_mul(STRIDE)
        } else {
            next.max(above(drawn).saturating_add(promotions - 1)).saturating_mul(STRIDE)
        }
    }

    /// The highest position that was pruned, or was in a partition that was detached; 0 where none was.
    pub fn pruned_to(&self) -> i64 {
        let detached_to = self.first_bound.map_or(0, |bound| self.last_below(bound));
        self.list.iter().map(|epoch| epoch.pruned_to).fold(detached_to, i64::max)
    }

    /// The highest position below `bound` that an event can have had.
    fn last_below(&self, bound: i64) -> i64 {
        let beyond = self.list.iter().filter(|epoch| epoch.first_position >= bound);
        beyond.map(|epoch| epoch.previous_end).fold(bound - 1, i64::min)
    }

    /// The epoch that ended before `position` and whose successor begins after it, and where it ended.
    pub fn ended_before(&self, position: i64) -> Option<(i32, i64)> {
        let index = self
            .list
            .iter()
            .position(|epoch| epoch.previous_end < position && position < epoch.first_position)?;
        let previous = index.checked_sub(1).and_then(|index| self.list.get(index));
        let number = previous.map_or(self.list[index].number.saturating_sub(1), |e| e.number);
        Some((number, self.list[index].previous_end))
    }
}

/// Whether the active snapshot shows an event at a position.
pub fn has_event(position: i64) -> bool {
    static EXISTS: Statement = Statement::new(
        c"SELECT EXISTS (SELECT FROM customers.events WHERE position = $1)",
        &[INT8OID],
    );
    EXISTS.read_value(&[position.into()]) == Some(true)
}

/// The position of the last event that the active snapshot shows; None if there is none.
pub fn last_event() -> Option<i64> {
    static LAST: Statement = Statement::new(c"SELECT max(position) FROM customers.events", &[]);
    LAST.read_value(&[])
}

/// Where the latest epoch ended, if this server's history did not write it: the position up to which no event of it
/// can be missing; as the active snapshot shows it. Readers get nothing beyond it until the next epoch begins.
///
/// An event may be missing though later ones are there, if its transaction drew its position before theirs and
/// committed after the last WAL that arrived, or after a dump's snapshot. A reader of the lost history may have
/// read it. Up to the position that readers keep in WAL, none can have been lost, so the epoch ends before the
/// first position missing beyond that one. Logical replication does not carry that position: its last event is
/// taken for the end. `read` is that position, from before the snapshot: readers of an epoch that has begun since keep
/// one beyond everything that the snapshot shows.
pub fn end_of_latest(epochs: &Epochs, read: i64) -> i64 {
    static BEFORE_THE_FIRST_GAP: Statement = Statement::new(
        c"SELECT before
            FROM (SELECT position, lag(position, 1, $1) OVER (ORDER BY position) AS before
                    FROM customers.events
                   WHERE position > $1 AND position <= $2) AS events
           WHERE position > before + 1
           ORDER BY position
           LIMIT 1",
        &[INT8OID, INT8OID],
    );
    let pruned_to = epochs.pruned_to();
    let last = last_event().unwrap_or_default().max(pruned_to);
    if epochs.origin != Origin::EarlierTimeline && read < 0 {
        return last;
    }
    let searched_from =
        [pruned_to, epochs.first_position() - 1, last - SEARCHED].into_iter().fold(read, i64::max);
    let before = BEFORE_THE_FIRST_GAP.read_value::<i64>(&[searched_from.into(), last.into()]);
    before.unwrap_or(last)
}

/// What a transaction found before it drew positions.
pub enum BeginOutcome {
    /// The epoch is recorded by an earlier transaction, so the session need not look again.
    AlreadyRecorded,
    /// The transaction is among the first of an installation.
    First,
    /// The transaction has recorded the epoch, and is to move these events into it once it holds its lock.
    Begun(Option<EventsBeyond>),
}

/// Events of an epoch beyond its end.
pub struct EventsBeyond {
    end: i64,
    last: i64,
}

/// Makes sure that what is drawn from the sequence belongs to an epoch of this server's history, and begins one if
/// none is recorded. Waits for another transaction that begins one: what is drawn meanwhile would be in no epoch if
/// that transaction were rolled back.
pub fn ensure_begun(sequence: &Sequence) -> BeginOutcome {
    let read = || with_latest_snapshot(|| Epochs::read(sequence.oid()));
    let mut epochs = read();
    if epochs.is_empty() && is_new(sequence) {
        // Nobody waits for the first transaction of an installation; its rollback leaves the row to the next one.
        let Some(lock) = LOCKS.try_lock(BEGINNING, 0, Mode::Exclusive) else {
            return BeginOutcome::First;
        };
        epochs = read();
        if epochs.is_empty() {
            store_pruned_to(0, sequence.oid());
            return BeginOutcome::First;
        }
        lock.release();
    }
    if epochs.origin != Origin::ThisHistory {
        let lock = LOCKS.lock(BEGINNING, 0, Mode::Exclusive);
        epochs = read();
        if epochs.origin == Origin::ThisHistory {
            // Recorded by the transaction that was waited for; others need not wait for this one.
            lock.release();
        }
    }
    if epochs.origin == Origin::ThisHistory {
        return BeginOutcome::AlreadyRecorded;
    }
    BeginOutcome::Begun(begin(sequence, &epochs))
}

/// Whether a feed without a recorded epoch is in its first one. It is not if its sequence is behind what is known, as in a
/// restore without the sequence's value, or was moved by a transaction that began an epoch and was rolled back.
fn is_new(sequence: &Sequence) -> bool {
    // The tables first, as in positions::compare_with_tables.
    let highest = highest_known();
    let drawn = sequence.last_value();
    highest <= drawn && (highest == 0 || drawn < STRIDE - 1)
}

/// The highest position that was recorded, acknowledged, pruned or left out by an epoch.
pub fn highest_known() -> i64 {
    static HIGHEST: Statement = Statement::new(
        c"SELECT greatest(0, (SELECT max(position) FROM customers.events),
                             (SELECT max(position) FROM customers.consumers),
                             (SELECT max(greatest(pruned_to, first_position - 1)) FROM customers.feed_epochs))",
        &[],
    );
    with_latest_snapshot(|| HIGHEST.read_value(&[])).unwrap_or_default()
}

fn begin(sequence: &Sequence, epochs: &Epochs) -> Option<EventsBeyond> {
    let drawn = sequence.last_value();
    let read = stored_read();
    let first = epochs.next_first_position(highest_known().max(read), drawn);
    if first > MAX_FIRST_POSITION {
        Refusal::PositionsExhausted.raise();
    }
    if drawn < first {
        set_last_value(sequence, first - 1);
    }
    // Others may have pruned since the epochs were read.
    let (epochs, last, end) = with_latest_snapshot(|| {
        let epochs = Epochs::read(sequence.oid());
        let end = end_of_latest(&epochs, read);
        (epochs, last_event(), end)
    });
    // A dump may leave the events out. What was drawn before counts as pruned then.
    let left_out = last.is_none() && epochs.origin != Origin::EarlierTimeline && drawn < first;
    let pruned_to = if left_out { epochs.pruned_to().max(drawn) } else { epochs.pruned_to() };
    record((first / STRIDE) as i32 + 1, first, end.max(pruned_to), pruned_to, &epochs.here);
    last.filter(|last| *last > end).map(|last| EventsBeyond { end, last })
}

fn set_last_value(sequence: &Sequence, value: i64) {
    static SETVAL: Statement =
        Statement::new(c"SELECT pg_catalog.setval($1::regclass, $2)", &[OIDOID, INT8OID]);
    connected(|_| SETVAL.run(&[sequence.oid().into(), value.into()], |_| {}));
}

fn record(number: i32, first: i64, previous_end: i64, pruned_to: i64, here: &History) {
    static RECORD: Statement = Statement::new(
        c"INSERT INTO customers.feed_epochs (epoch, first_position, previous_end, began_at, pruned_to, history)
          VALUES ($1, $2, $3, now(), $4, $5)",
        &[INT4OID, INT8OID, INT8OID, INT8OID, TEXTOID],
    );
    let params =
        [number.into(), first.into(), previous_end.into(), pruned_to.into(), here.text().into()];
    connected(|_| RECORD.run(&params, |_| {}));
}

/// Gives events beyond the end of their epoch new positions, in order, in the one that begins. The transaction's
/// lock keeps readers from passing them before it ends.
pub fn move_up(EventsBeyond { end, last }: EventsBeyond) {
    static BEYOND: Statement = Statement::new(
        c"SELECT position FROM customers.events WHERE position > $1 AND position <= $2 ORDER BY position",
        &[INT8OID, INT8OID],
    );
    static MOVE: Statement = Statement::new(
        c"UPDATE customers.events SET position = DEFAULT, announce = NULL WHERE position = $1",
        &[INT8OID],
    );
    let mut beyond = Vec::new();
    connected(|_| {
        BEYOND.run(&[end.into(), last.into()], |row| {
            beyond.extend(row.get::<i64>(1));
        });
    });
    let begins_epoch = Operation { begins_epoch: true, ..Operation::default() };
    operation::during(begins_epoch, || {
        for position in beyond {
            connected(|_| MOVE.run(&[position.into()], |_| {}));
        }
    });
}

/// Keeps in WAL how far the feed was complete when readers were given events; see [`end_of_latest`].
pub fn store_read(position: i64) {
    let read = open_read(pg_sys::RowExclusiveLock);
    if read.last_value() < position {
        read.advance(position);
    }
}

/// How far the feed was complete when readers were last given events; negative if they never were.
pub fn stored_read() -> i64 {
    open_read(pg_sys::AccessShareLock).last_value()
}

fn open_read(lock: u32) -> Sequence {
    Sequence::open(&READ_SEQUENCE, lock).ok_or(Refusal::NotAttached).or_raise()
}

/// Whether a transaction that is still open begins an epoch.
pub fn is_beginning() -> bool {
    LOCKS.lowest_key().is_some()
}

/// Stores the position up to which the feed was pruned, for readers and for dumps. Records the first epoch, if none is.
pub fn store_pruned_to(position: i64, sequence: pg_sys::Oid) {
    static KEEP: Statement = Statement::new(
        c"INSERT INTO customers.feed_epochs AS kept (epoch, first_position, previous_end, began_at, pruned_to, history)
          SELECT coalesce(max(epoch), 1), 1, 0, now(), $1, $2 FROM customers.feed_epochs
          ON CONFLICT (epoch) DO UPDATE SET pruned_to = greatest(kept.pruned_to, excluded.pruned_to)",
        &[INT8OID, TEXTOID],
    );
    let here = History::of(sequence).text();
    connected(|_| KEEP.run(&[position.into(), here.into()], |_| {}));
}
