//! Notifications on the channel "customers": hints without personal data, never the only copy.

use super::event::Event;
use super::wake;
use crate::settings::{NOTIFY, NOTIFY_LIMIT, Notify};
use pgrx::pg_sys;
use std::cell::RefCell;
use std::ffi::CString;
use std::fmt::Write;

/// What the transaction at hand has announced, by subtransaction: a savepoint that is rolled back takes
/// its notifications along.
#[derive(Default)]
struct Tally {
    transaction: u64,
    parts: Vec<Part>,
}

struct Part {
    subtransaction: pg_sys::TransactionId,
    /// Events announced one by one.
    announced: i64,
    /// Whether a notification that stands for the rest has been sent.
    rest: bool,
}

thread_local! {
    static TALLY: RefCell<Tally> = RefCell::default();
}

impl Tally {
    /// Forgets what other transactions and savepoints that were rolled back announced.
    fn refresh(&mut self) {
        // SAFETY: plain calls; the writing statement has assigned the ids.
        unsafe {
            let transaction = pg_sys::GetTopFullTransactionId().value;
            if self.transaction != transaction {
                self.transaction = transaction;
                self.parts.clear();
            }
            self.parts.retain(|p| pg_sys::TransactionIdIsCurrentTransactionId(p.subtransaction));
        }
    }

    /// How many more events may be announced one by one; None after the rest has been announced.
    fn left(&self) -> Option<i64> {
        let announced: i64 = self.parts.iter().map(|p| p.announced).sum();
        let rest = self.parts.iter().any(|p| p.rest);
        (!rest).then(|| (i64::from(NOTIFY_LIMIT.get()) - announced).max(0))
    }

    /// The part to count in. There are no more of them than there may be notifications.
    fn current(&mut self) -> &mut Part {
        // SAFETY: a plain call; the writing statement has assigned the id.
        let subtransaction = unsafe { pg_sys::GetCurrentTransactionId() };
        if self.parts.last().is_none_or(|p| p.subtransaction != subtransaction) {
            self.parts.push(Part { subtransaction, announced: 0, rest: false });
        }
        self.parts.last_mut().expect("pushed above")
    }
}

/// Who sends the notifications of a statement's events.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    Nobody,
    Transaction,
    Worker,
}

/// How an event is told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Announcement {
    /// By a notification of its own.
    Event,
    /// By one that stands for it and all later events of its transaction.
    Rest,
}

/// To be called before the events of a statement are announced.
pub fn begin_statement(sequence: pg_sys::Oid) -> Sender {
    TALLY.with_borrow_mut(Tally::refresh);
    match NOTIFY.get() {
        Notify::Off => Sender::Nobody,
        Notify::Worker if wake::has_worker(sequence) => Sender::Worker,
        Notify::Worker | Notify::Transaction => Sender::Transaction,
    }
}

/// How the next event of the transaction is to be told; None where it is not.
pub fn next_announcement(sender: Sender) -> Option<Announcement> {
    if sender == Sender::Nobody {
        return None;
    }
    TALLY.with_borrow_mut(|tally| match tally.left()? {
        0 => {
            tally.current().rest = true;
            Some(Announcement::Rest)
        }
        _ => {
            tally.current().announced += 1;
            Some(Announcement::Event)
        }
    })
}

/// Sends a notification, with the transaction at hand.
pub fn send(event: &Event, announcement: Announcement) {
    let payload = match announcement {
        Announcement::Event => payload(event),
        Announcement::Rest => {
            format!(r#"{{"type":"customers-changed","position":{}}}"#, event.position)
        }
    };
    let payload = CString::new(payload).expect("a payload holds no NUL");
    // SAFETY: PostgreSQL copies both strings.
    unsafe { pg_sys::Async_Notify(c"customers".as_ptr(), payload.as_ptr()) }
}

fn payload(event: &Event) -> String {
    let hyphenated = |uuid: &pgrx::Uuid| uuid::Uuid::from_bytes(*uuid.as_bytes());
    let mut payload = String::with_capacity(256);
    let written = write!(
        payload,
        r#"{{"position":{},"eventId":"{}","type":"{}","customerId":"{}","version":{},"changed":["#,
        event.position,
        hyphenated(&event.event_id),
        event.r#type.name(),
        hyphenated(&event.customer_id),
        event.version,
    );
    written.expect("a String takes what is written");
    for (i, field) in event.changed.fields().enumerate() {
        payload.push_str(if i == 0 { "\"" } else { ",\"" });
        payload.push_str(field);
        payload.push('"');
    }
    payload.push_str("]}");
    payload
}
