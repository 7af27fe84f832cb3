//! Notifications on the channel "customers": hints to read the feed, without personal data.

use super::event::{Event, hyphenated};
use super::worker::slot;
use crate::postgres::error::warn;
use crate::postgres::ffi;
use crate::settings::{NOTIFY, NOTIFY_LIMIT, Notify};
use pgrx::pg_sys;
use serde::Serialize;
use std::cell::{Cell, RefCell};
use std::ffi::CString;
use std::time::{Duration, Instant};

/// What the current transaction has announced.
struct Announced {
    /// By savepoint, the innermost last. A rollback to a savepoint discards its notifications, so its entry
    /// is dropped.
    savepoints: Vec<Savepoint>,
}

struct Savepoint {
    savepoint: pg_sys::SubTransactionId,
    /// The number of events announced one by one.
    announced: i64,
    /// Whether the notification that stands for all further events was sent.
    rest: bool,
}

thread_local! {
    static ANNOUNCED: RefCell<Announced> =
        const { RefCell::new(Announced { savepoints: Vec::new() }) };
}

impl Announced {
    /// How many more events may be announced one by one; None once the rest was announced.
    fn left(&self) -> Option<i64> {
        let announced: i64 = self.savepoints.iter().map(|savepoint| savepoint.announced).sum();
        let rest = self.savepoints.iter().any(|savepoint| savepoint.rest);
        let limit = i64::from(NOTIFY_LIMIT.get()).min(max_notifications());
        (!rest).then(|| (limit - announced).max(0))
    }

    /// The entry of the current savepoint.
    fn current(&mut self) -> &mut Savepoint {
        let savepoint = ffi::GetCurrentSubTransactionId();
        if self.savepoints.last().is_none_or(|last| last.savepoint != savepoint) {
            self.savepoints.push(Savepoint { savepoint, announced: 0, rest: false });
        }
        self.savepoints.last_mut().expect("pushed above")
    }
}

/// To be called when a transaction has ended.
pub fn end_transaction() {
    // Borrowed only where the session ends for want of memory.
    ANNOUNCED.with(|announced| {
        if let Ok(mut announced) = announced.try_borrow_mut() {
            announced.savepoints.clear();
        }
    });
}

/// To be called when a savepoint ended: with its parent if it was released, None if it was rolled back.
pub fn end_savepoint(
    savepoint: pg_sys::SubTransactionId,
    parent: Option<pg_sys::SubTransactionId>,
) {
    ANNOUNCED.with(|announced| {
        let Ok(mut announced) = announced.try_borrow_mut() else { return };
        let Some(ended) = announced.savepoints.pop_if(|last| last.savepoint == savepoint) else {
            return;
        };
        let Some(parent) = parent else { return };
        match announced.savepoints.last_mut().filter(|outer| outer.savepoint == parent) {
            Some(outer) => {
                outer.announced += ended.announced;
                outer.rest |= ended.rest;
            }
            None => announced.savepoints.push(Savepoint { savepoint: parent, ..ended }),
        }
    });
}

/// What sends the notifications of a statement's events.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    Nobody,
    Transaction,
    Worker,
}

/// How an event is announced.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Announcement {
    /// By its own notification.
    Event,
    /// By one notification that stands for this and all later events of its transaction.
    Rest,
}

/// To be called before the events of a statement are announced.
pub fn begin_statement(sequence: pg_sys::Oid) -> Sender {
    match NOTIFY.get() {
        Notify::Off => Sender::Nobody,
        Notify::Worker if slot::has_worker(sequence) => Sender::Worker,
        Notify::Worker | Notify::Transaction => {
            if queue_has_room() {
                Sender::Transaction
            } else {
                Sender::Nobody
            }
        }
    }
}

/// Whether notifications may be added to PostgreSQL's queue. The queue is shared by the cluster, and any
/// role can keep it from being emptied, by LISTEN and an open transaction. A transaction that finds it full
/// fails at its commit, so nothing is added once it is half full; a WARNING says so at most once a minute.
pub fn queue_has_room() -> bool {
    const WARN_EVERY: Duration = Duration::from_secs(60);
    thread_local! {
        static WARNED: Cell<Option<Instant>> = const { Cell::new(None) };
    }
    // SAFETY: the function reads no argument, so null is a valid fcinfo; it returns a float8.
    let used = unsafe { pg_sys::pg_notification_queue_usage(std::ptr::null_mut()) };
    if f64::from_bits(used.value() as u64) < 0.5 {
        return true;
    }
    if WARNED.get().is_none_or(|warned| warned.elapsed() > WARN_EVERY) {
        WARNED.set(Some(Instant::now()));
        warn(
            "01000",
            "customer_db omits notifications while half of the NOTIFY queue or more is in use",
            "Readers of the feed miss nothing. A session that LISTENs and stays in a transaction keeps the \
             queue from being emptied: see pg_notification_queue_usage() and pg_stat_activity.",
        );
    }
    false
}

/// How many notifications one transaction may put into the queue: a thirty-second of it, so that half of it has
/// room for those that begin at the same time. Ours take less than 300 of a page's 8192 octets each.
pub fn max_notifications() -> i64 {
    const PER_PAGE: i64 = 25;
    // SAFETY: a setting that only a restart changes.
    #[cfg(not(any(feature = "pg15", feature = "pg16")))]
    let pages = i64::from(unsafe { pg_sys::max_notify_queue_pages });
    // QUEUE_MAX_PAGE of async.c.
    #[cfg(any(feature = "pg15", feature = "pg16"))]
    let pages = 32 * 0x10000 - 1;
    pages / 32 * PER_PAGE
}

/// How the transaction's next event is announced; None if it is not.
pub fn next_announcement(sender: Sender) -> Option<Announcement> {
    if sender == Sender::Nobody {
        return None;
    }
    ANNOUNCED.with_borrow_mut(|announced| match announced.left()? {
        0 => {
            announced.current().rest = true;
            Some(Announcement::Rest)
        }
        _ => {
            announced.current().announced += 1;
            Some(Announcement::Event)
        }
    })
}

/// The payload of one event: `notification.schema.json` of the contract.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EventNotification<'a> {
    position: i64,
    event_id: uuid::Uuid,
    r#type: &'static str,
    customer_id: uuid::Uuid,
    version: i64,
    changed: &'a [&'static str],
}

/// The payload that stands for the rest of a transaction's events, from `position` on.
#[derive(Serialize)]
struct RestNotification {
    r#type: &'static str,
    position: i64,
}

/// Adds a notification to the current transaction.
pub fn send(event: &Event, announcement: Announcement) {
    let payload = match announcement {
        Announcement::Event => {
            let (names, count) = event.changed.names();
            serde_json::to_string(&EventNotification {
                position: event.position,
                event_id: hyphenated(&event.event_id),
                r#type: event.r#type.name(),
                customer_id: hyphenated(&event.customer_id),
                version: event.version,
                changed: &names[..count],
            })
        }
        Announcement::Rest => serde_json::to_string(&RestNotification {
            r#type: "customers-changed",
            position: event.position,
        }),
    };
    let payload = payload.expect("numbers and texts can be written as JSON");
    let payload = CString::new(payload).expect("a payload holds no NUL");
    // SAFETY: both strings end in NUL, and Async_Notify copies them.
    unsafe { pg_sys::Async_Notify(c"customers".as_ptr(), payload.as_ptr()) }
}
