//! The notification worker: one background process for each database that is named, which sends the
//! notifications of committed events in the feed's order, so that writers never wait for the lock that
//! NOTIFY takes on the whole cluster.

pub mod slot;

use super::event::{Changed, Event, Type};
use super::notification::{self, Announcement};
use super::positions::{self, Watermark};
use crate::customer::schema::{EVENTS, POSITIONS};
use crate::postgres::error::{OrRaise, entry_point};
use crate::postgres::statement::{Param, Row, Statement, connected};
use crate::postgres::text::Text;
use crate::settings;
use pgrx::bgworkers::{BackgroundWorker, BackgroundWorkerBuilder};
use pgrx::pg_sys::BuiltinOid::{BOOLOID, INT8OID, TEXTOID, UUIDOID};
use pgrx::prelude::*;
use pgrx::{IntoDatum, Uuid};
use slot::Slot;
use std::time::Duration;

/// After this long a worker that has ended is started again, as is one whose database is not there yet.
const RESTART: Duration = Duration::from_secs(5);
/// This often a worker looks of its own accord: COMMIT PREPARED wakes nobody.
const POLL_MS: i64 = 1000;
/// After a look the worker rests, a millisecond for every two events that it found, within these bounds: so
/// that under load it sends many at a time. Each look takes time from writers and from their locks.
const REST_MS: std::ops::RangeInclusive<i64> = 1..=10;
/// After this long it looks again whether PostgreSQL's queue has room.
const WAIT_FOR_ROOM_MS: i64 = 200;
/// So many events are sent in one transaction, where PostgreSQL's queue is not too small for that.
const MAX_BATCH: i64 = 10_000;

/// Registers the workers, while the server starts.
pub fn register() {
    // SAFETY: variables of the postmaster. pg_upgrade wants nobody but itself in its databases.
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
    // SAFETY: the function is called once, when this process ends, however it does.
    unsafe { pg_sys::before_shmem_exit(Some(close_slot), slot) };
    let slot = Slot::of_worker(slot.value());
    loop {
        // SAFETY: this process's own latch. Reset before looking, so that a commit during the look wakes us again.
        unsafe { pg_sys::ResetLatch(pg_sys::MyLatch) };
        reload_when_asked();
        match BackgroundWorker::transaction(|| entry_point(|| send_batch(slot))) {
            Look::Sent { sequence, position, count } => {
                slot.set_sent(sequence, position);
                slot.open();
                sleep((count / 2).clamp(*REST_MS.start(), *REST_MS.end()), 0);
            }
            // Writers go on leaving their notifications here: they could not send them either.
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

/// What one look into the feed came to.
enum Look {
    /// So many notifications have been sent, up to here.
    Sent { sequence: pg_sys::Oid, position: i64, count: i64 },
    /// What is due has to wait until there is room in PostgreSQL's queue.
    QueueFull,
    /// The extension has not been created here.
    NoFeed,
    /// DROP DATABASE, or another command that wants no session in it, is waiting.
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
    if somebody_wants_the_database_alone() {
        return Look::StepAside;
    }
    if POSITIONS.find().is_none() || EVENTS.find().is_none() {
        return Look::NoFeed;
    }
    positions::ensure_readable().or_raise();
    let Watermark { sequence, last, complete_to, .. } = Watermark::read();
    let sent = match slot.sent(sequence) {
        Some(sent) if sent <= last => sent,
        // The first look, or one into a feed that was restored: what is there is no news.
        _ => return Look::Sent { sequence, position: complete_to, count: 0 },
    };
    if sent < complete_to && !notification::queue_has_room() {
        return Look::QueueFull;
    }
    let batch = MAX_BATCH.min(notification::max_notifications());
    let params = [sent, complete_to, batch].map(IntoDatum::into_datum);
    let (mut count, mut last) = (0, sent);
    // Whoever owns the table must not have us do things in a superuser's name.
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
        // A writer that has just taken its lock may have a key from before what was sent.
        complete_to.max(sent)
    } else {
        // SAFETY: this process's own latch: there is more to be sent, so look again.
        unsafe { pg_sys::SetLatch(pg_sys::MyLatch) };
        last
    };
    Look::Sent { sequence, position, count }
}

/// An event's position and how to tell it; None where the owner has put something into the feed that is no
/// event of ours.
fn announced(row: &Row) -> (i64, Option<(Event, Announcement)>) {
    let [position, values @ ..] = row
        .values([INT8OID, UUIDOID, TEXTOID, UUIDOID, INT8OID, BOOLOID, BOOLOID, BOOLOID, BOOLOID]);
    let position = position.map_or(0, |position| position.value() as i64);
    let event = || {
        let [event_id, r#type, customer_id, version, by_itself, email, name, status] = values;
        let is_true = |value: Param| value.is_some_and(|value| value.value() != 0);
        // SAFETY: the values are of these types, and live as long as the row.
        let (event_id, r#type, customer_id) = unsafe {
            (
                Uuid::from_datum(event_id?, false)?,
                Text::new(r#type?),
                Uuid::from_datum(customer_id?, false)?,
            )
        };
        let event = Event {
            position,
            event_id,
            r#type: Type::parse(r#type.bytes())?,
            customer_id,
            version: version?.value() as i64,
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

/// Whether a command waits for the sessions of this database to leave, as DROP DATABASE does: it holds a
/// lock that shuts out the one which a session takes when it begins.
fn somebody_wants_the_database_alone() -> bool {
    let tag = pg_sys::LOCKTAG {
        locktag_field1: 0,
        locktag_field2: pg_sys::DatabaseRelationId.to_u32(),
        // SAFETY: a variable of this backend that never changes.
        locktag_field3: unsafe { pg_sys::MyDatabaseId }.to_u32(),
        locktag_field4: 0,
        locktag_type: pg_sys::LockTagType::LOCKTAG_OBJECT as u8,
        locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
    };
    // SAFETY: does not wait; the lock goes with the transaction.
    let result = unsafe { pg_sys::LockAcquire(&tag, pg_sys::RowExclusiveLock as i32, false, true) };
    result == pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
}

fn handle_signals() {
    #[cfg(not(feature = "pg18"))]
    use pg_sys::pqsignal;
    #[cfg(feature = "pg18")]
    use pg_sys::pqsignal_be as pqsignal;
    // As C functions, not as pgrx wraps them: they run inside a signal handler.
    unsafe extern "C-unwind" {
        fn SignalHandlerForConfigReload(signal: i32);
        fn die(signal: i32);
    }
    // SAFETY: PostgreSQL's own handlers set flags and the latch. pgrx's would read the configuration there.
    unsafe {
        pqsignal(pg_sys::SIGHUP as i32, Some(SignalHandlerForConfigReload));
        pqsignal(pg_sys::SIGTERM as i32, Some(die));
        pg_sys::BackgroundWorkerUnblockSignals();
    }
}

/// Settings that must not be the database's or the cluster's: the watermark wants READ COMMITTED, and
/// what the worker commits need not be waited for.
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
        // SAFETY: settings that every superuser may set, with values that they take.
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
    // SAFETY: the flag is set by the signal handler and read here alone.
    unsafe {
        if (&raw const pg_sys::ConfigReloadPending).read_volatile() != 0 {
            (&raw mut pg_sys::ConfigReloadPending).write_volatile(0);
            pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP);
        }
    }
}

/// Sleeps until the time is over or the event happens, or ends with the server.
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

/// Ends so that the postmaster starts another worker after a while.
fn exit_for_restart() {
    // SAFETY: no transaction is open.
    unsafe { pg_sys::proc_exit(1) }
}
