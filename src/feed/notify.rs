//! Notifications on the channel "customers": hints without personal data, never the only copy.

use crate::settings::{NOTIFY, NOTIFY_LIMIT, Notify};
use crate::statement::Row;
use pgrx::Uuid;
use pgrx::pg_sys;
use std::cell::RefCell;
use std::ffi::CString;

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
            let subtransaction = pg_sys::GetCurrentTransactionId();
            if self.parts.last().is_none_or(|p| p.subtransaction != subtransaction) {
                self.parts.push(Part { subtransaction, announced: 0, rest: false });
            }
        }
    }

    /// How many more events may be announced one by one; None after the rest has been announced.
    fn left(&self) -> Option<i64> {
        let announced: i64 = self.parts.iter().map(|p| p.announced).sum();
        let rest = self.parts.iter().any(|p| p.rest);
        (!rest).then(|| (i64::from(NOTIFY_LIMIT.get()) - announced).max(0))
    }

    fn current(&mut self) -> &mut Part {
        self.parts.last_mut().expect("refresh() leaves a part for the subtransaction at hand")
    }
}

/// How many events of the statement at hand to announce: those that are left, and the first of the rest.
pub fn wanted() -> i64 {
    if NOTIFY.get() == Notify::Off {
        return 0;
    }
    TALLY.with_borrow_mut(|tally| {
        tally.refresh();
        tally.left().map_or(0, |left| left + 1)
    })
}

/// Announces an event: position, event_id, type, customer_id, version, and whether email, name and
/// status are among its changes.
pub fn announce(event: &Row) {
    TALLY.with_borrow_mut(|tally| match tally.left() {
        None => {}
        Some(0) => {
            tally.current().rest = true;
            send(format!(r#"{{"type":"customers-changed","position":{}}}"#, position(event)));
        }
        Some(_) => {
            tally.current().announced += 1;
            send(payload(event));
        }
    });
}

fn position(event: &Row) -> i64 {
    event.get(1).expect("position is never NULL")
}

fn payload(event: &Row) -> String {
    let changed: Vec<&str> = [(6, r#""email""#), (7, r#""name""#), (8, r#""status""#)]
        .into_iter()
        .filter_map(|(ordinal, field)| event.get::<bool>(ordinal)?.then_some(field))
        .collect();
    format!(
        r#"{{"position":{},"eventId":"{}","type":"{}","customerId":"{}","version":{},"changed":[{}]}}"#,
        position(event),
        event.get::<Uuid>(2).expect("event_id is never NULL"),
        event.get::<&str>(3).expect("type is never NULL"),
        event.get::<Uuid>(4).expect("customer_id is never NULL"),
        event.get::<i64>(5).expect("version is never NULL"),
        changed.join(","),
    )
}

fn send(payload: String) {
    let payload = CString::new(payload).expect("a payload holds no NUL");
    // SAFETY: PostgreSQL copies both strings.
    unsafe { pg_sys::Async_Notify(c"customers".as_ptr(), payload.as_ptr()) }
}
