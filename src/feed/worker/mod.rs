//! The notification worker: one background process for each database in customer_db.databases. It sends the
//! notifications of committed events in the feed's order, so that writers never wait for the cluster-wide
//! lock that NOTIFY takes.

pub mod slot;

use super::epochs::Epochs;
use super::event::{Changed, Event, Type};
use super::notification::{self, Announcement};
use super::positions::{self, Watermark};
use crate::customer::schema::{EVENTS, POSITION_SEQUENCE};
use crate::postgres::error::{OrRaise, entry_point};
use crate::postgres::statement::{Row, Statement, connected};
use crate::postgres::text::Text;
use crate::postgres::transaction::with_latest_snapshot;
use crate::postgres::typed_datum::TypedDatum;
use crate::settings;
use pgrx::bgworkers::{BackgroundWorker, BackgroundWorkerBuilder};
use pgrx::pg_sys::BuiltinOid::{BOOLOID, INT8OID, TEXTOID, UUIDOID};
use pgrx::prelude::*;
use slot::Slot;
use std::time::Duration;

/// The postmaster restarts a worker that has ended after this time; also one whose database does not exist yet.
const RESTART: Duration = Duration::from_secs(5);
/// A worker that is not woken reads the feed at this interval: COMMIT PREPARED wakes no worker.
const POLL_MS: i64 = 1000;
/// After sending, the worker rests a millisecond for every two events, within these bounds, so that under
/// load it sends many at a time: each reading of the feed costs CPU time and lock table access that writers
/// need.
const REST_MS: std::ops::RangeInclusive<i64> = 1..=10;
/// The interval at which it checks whether PostgreSQL's queue has room again.
const WAIT_FOR_ROOM_MS: i64 = 200;
/// The most events sent in one transaction, unless PostgreSQL's queue is too small for that.
const MAX_BATCH: i64 = 10_000;

/// Registers the workers when the server starts.
pub fn register() {
    // pg_upgrade requires that no other session connects to its databases.
    // SAFETY: variables of this process, which has one thread.
    if unsafe { !pg_sys::process_shared_preload_libraries_in_progress || pg_sys::IsBinaryUpgrade } {
        return;
    }
    slot::reserve();
    let databases = settings::databases();
    if databases.len() > slot::SLOTS {
        error!("customer_db.databases may name {} databases", slot::SLOTS);
    }
    for (slot, database) in databases.iter().enumerate() {
        BackgroundWorkerBuilder::new(&format!("customer_db notifications for {database}"))
            .set_type("customer_db notifications")
            .set_library("customer_db")
            .set_function("customer_db_worker")
            .set_argument((slot as i32).into_datum())
            .set_extra(database)
            .enable_spi_access()
            .set_restart_time(Some(RESTART))
            .load();
    }
}

#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn customer_db_worker(slot: pg_sys::Datum) {
    handle_signals();
    BackgroundWorker::connect_worker_to_spi(Some(BackgroundWorker::get_extra()), None);
    set_session_defaults();
    // SAFETY: close_slot only stores to shared memory, which is still attached when before_shmem_exit
    // callbacks run.
    unsafe { pg_sys::before_shmem_exit(Some(close_slot), slot) };
    let slot = Slot::of_worker(slot.value());
    loop {
        // SAFETY: this process's own latch. Reset before reading the feed, so that a commit during the
        // reading sets it again.
        unsafe { pg_sys::ResetLatch(pg_sys::MyLatch) };
        reload_when_asked();
        match BackgroundWorker::transaction(|| entry_point(|| send_batch(slot))) {
            Look::Sent { sequence, position, count } => {
                slot.set_sent(sequence, position);
                slot.open();
                sleep((count / 2).clamp(*REST_MS.start(), *REST_MS.end()), 0);
            }
            // Writers keep leaving their notifications to this worker: the queue is full for them too.
            Look::QueueFull => sleep(WAIT_FOR_ROOM_MS, 0),
            Look::NoFeed => slot.close(),
            Look::StepAside => {
                log!("customer_db: leaving the database to a command that wants it alone");
                return exit_for_restart();
            }
        }
        sleep(POLL_MS, pg_sys::WL_LATCH_SET);
    }
}

/// The outcome of reading the feed once.
enum Look {
    /// This many notifications were sent, up to this position.
    Sent { sequence: pg_sys::Oid, position: i64, count: i64 },
    /// Nothing is sent until PostgreSQL's queue has room.
    QueueFull,
    /// The extension does not exist in this database.
    NoFeed,
    /// DROP DATABASE, or another command that requires the database to have no sessions, is waiting.
    StepAside,
}

fn send_batch(slot: &Slot) -> Look {
    static ANNOUNCED: Statement = Statement::new(
        c"SELECT position, event_id, type, customer_id, version, announce,
                 changes ? 'email', changes ? 'name', changes ? 'status'
            FROM customers.events
           WHERE position > $1 AND position <= $2 AND announce IS NOT NULL
           ORDER BY position
           LIMIT $3",
        &[INT8OID, INT8OID, INT8OID],
    )
    .with_one_plan();
    if exclusive_access_is_requested() {
        return Look::StepAside;
    }
    if POSITION_SEQUENCE.find().is_none() || EVENTS.find().is_none() {
        return Look::NoFeed;
    }
    positions::ensure_readable().or_raise();
    let watermark = Watermark::read();
    let (sequence, complete_to) = (watermark.sequence, watermark.complete_to());
    // The table's owner must not be able to run code with the worker's superuser rights.
    let epochs = EVENTS.as_restricted_owner(|| with_latest_snapshot(|| Epochs::read(sequence)));
    let sent = match slot.sent(sequence) {
        // Nor are events of an epoch that has ended, which a restore may have loaded.
        Some(sent) if sent <= watermark.last && !epochs.has_ended() => {
            sent.max(epochs.first_position() - 1)
        }
        // The worker's first reading, or the feed was restored: existing events are not announced.
        _ => return Look::Sent { sequence, position: complete_to, count: 0 },
    };
    if sent < complete_to && !notification::queue_has_room() {
        return Look::QueueFull;
    }
    let batch = MAX_BATCH.min(notification::max_notifications());
    let params = [sent, complete_to, batch].map(TypedDatum::from);
    let (mut count, mut last) = (0, sent);
    EVENTS.as_restricted_owner(|| {
        connected(|_| {
            ANNOUNCED.run(&params, |row| {
                let (position, announced) = announced(row);
                (count, last) = (count + 1, position);
                if let Some((event, announcement)) = announced {
                    notification::send(&event, announcement);
                }
            });
        });
    });
    let position = if count < batch {
        // A writer that has just taken its lock may hold a key below what was sent.
        complete_to.max(sent)
    } else {
        // SAFETY: this process's own latch, set so that the loop continues with the next batch.
        unsafe { pg_sys::SetLatch(pg_sys::MyLatch) };
        last
    };
    Look::Sent { sequence, position, count }
}

/// An event's position and its announcement; None if the row is not an event of this extension, as the
/// table's owner may have added it.
fn announced(row: &Row) -> (i64, Option<(Event, Announcement)>) {
    let [position, values @ ..] = row
        .values([INT8OID, UUIDOID, TEXTOID, UUIDOID, INT8OID, BOOLOID, BOOLOID, BOOLOID, BOOLOID]);
    let position = position.get().unwrap_or(0);
    let event = || {
        let [event_id, r#type, customer_id, version, by_itself, email, name, status] = values;
        let is_true = |value: TypedDatum| value.get() == Some(true);
        let event = Event {
            position,
            event_id: event_id.get()?,
            r#type: Type::parse(r#type.get::<Text>()?.bytes())?,
            customer_id: customer_id.get()?,
            version: version.get()?,
            changed: Changed {
                email: is_true(email),
                name: is_true(name),
                status: is_true(status),
            },
        };
        let how = if is_true(by_itself) { Announcement::Event } else { Announcement::Rest };
        Some((event, how))
    };
    (position, event())
}

/// Whether a command waits for the sessions of this database to end, as DROP DATABASE does: it holds a lock
/// that conflicts with the one that every session takes when it starts.
fn exclusive_access_is_requested() -> bool {
    let tag = pg_sys::LOCKTAG {
        locktag_field1: 0,
        locktag_field2: pg_sys::DatabaseRelationId.to_u32(),
        // SAFETY: set once, when the backend starts.
        locktag_field3: unsafe { pg_sys::MyDatabaseId }.to_u32(),
        locktag_field4: 0,
        locktag_type: pg_sys::LockTagType::LOCKTAG_OBJECT as u8,
        locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
    };
    // SAFETY: within a transaction; does not wait, and the lock is released at its end.
    let result = unsafe { pg_sys::LockAcquire(&tag, pg_sys::RowExclusiveLock as i32, false, true) };
    result == pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
}

fn handle_signals() {
    #[cfg(not(feature = "pg18"))]
    use pg_sys::pqsignal;
    #[cfg(feature = "pg18")]
    use pg_sys::pqsignal_be as pqsignal;
    // Declared without pgrx's wrapper: they run inside a signal handler.
    unsafe extern "C-unwind" {
        fn SignalHandlerForConfigReload(signal: i32);
        fn die(signal: i32);
    }
    // SAFETY: PostgreSQL's own handlers only set flags and the latch, which is safe in a signal handler.
    // pgrx's would read the configuration there.
    unsafe {
        pqsignal(pg_sys::SIGHUP as i32, Some(SignalHandlerForConfigReload));
        pqsignal(pg_sys::SIGTERM as i32, Some(die));
        pg_sys::BackgroundWorkerUnblockSignals();
    }
}

/// Overrides settings of the database or the cluster: the watermark requires READ COMMITTED, and the
/// worker's commits need not be flushed.
fn set_session_defaults() {
    for (name, value) in [
        (c"default_transaction_isolation", c"read committed"),
        (c"default_transaction_read_only", c"off"),
        (c"search_path", c"pg_catalog, pg_temp"),
        (c"synchronous_commit", c"off"),
        (c"lock_timeout", c"0"),
        (c"statement_timeout", c"0"),
        #[cfg(any(feature = "pg17", feature = "pg18"))]
        (c"transaction_timeout", c"0"),
    ] {
        // SAFETY: both texts end in NUL; these settings accept these values, and PGC_SUSET suffices for them.
        unsafe {
            pg_sys::SetConfigOption(
                name.as_ptr(),
                value.as_ptr(),
                pg_sys::GucContext::PGC_SUSET,
                pg_sys::GucSource::PGC_S_OVERRIDE,
            );
        }
    }
}

fn reload_when_asked() {
    pg_sys::check_for_interrupts!();
    // SAFETY: the signal handler only sets the flag, and this process has one thread; the accesses are volatile.
    unsafe {
        if (&raw const pg_sys::ConfigReloadPending).read_volatile() != 0 {
            (&raw mut pg_sys::ConfigReloadPending).write_volatile(0);
            pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP);
        }
    }
}

/// Sleeps until the time has passed or the event occurs; exits when the postmaster dies.
fn sleep(milliseconds: i64, event: u32) {
    let events = event | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
    // SAFETY: this process's own latch.
    unsafe {
        pg_sys::WaitLatch(pg_sys::MyLatch, events as i32, milliseconds, pg_sys::PG_WAIT_EXTENSION);
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn close_slot(_code: i32, slot: pg_sys::Datum) {
    Slot::of_worker(slot.value()).close();
}

/// Exits with a status upon which the postmaster starts another worker after RESTART.
fn exit_for_restart() {
    // SAFETY: no transaction is open, so nothing is left to abort.
    unsafe { pg_sys::proc_exit(1) }
}
