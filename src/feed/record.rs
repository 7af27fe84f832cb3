//! The AFTER triggers that write the events of a whole statement at once, in the same transaction.

use super::event::{Changed, Event, Type, session_user};
use super::notify::{self, Announcement, Sender};
use super::watermark;
use crate::customer::{Column, CustomerRow};
use crate::random::random_uuid;
use crate::settings;
use crate::table::{Inserter, relation_oid};
use crate::trigger::{Fired, Trigger};
use pgrx::IntoDatum;
use pgrx::prelude::*;
use std::cell::RefCell;
use std::ffi::CStr;

#[pg_extern(sql = false)]
fn record_registered(fcinfo: pg_sys::FunctionCallInfo) -> Fired {
    // SAFETY: this is the call at hand.
    let trigger = unsafe { Trigger::from_call(fcinfo) };
    let layout = trigger.layout();
    let mut new_rows = trigger.new_rows().expect("the trigger names its new table");
    let mut recorder = None;
    while let Some(new) = new_rows.next(&layout) {
        let recorder = recorder.get_or_insert_with(Recorder::open);
        recorder.record(Type::Registered, &new, Changed::registered(&new));
    }
    if let Some(recorder) = recorder {
        recorder.close();
    }
    new_rows.close();
    Fired::after_statement()
}

#[pg_extern(sql = false)]
fn record_updated(fcinfo: pg_sys::FunctionCallInfo) -> Fired {
    // SAFETY: this is the call at hand.
    let trigger = unsafe { Trigger::from_call(fcinfo) };
    let layout = trigger.layout();
    let mut old_rows = trigger.old_rows().expect("the trigger names its old table");
    let mut new_rows = trigger.new_rows().expect("the trigger names its new table");
    let mut recorder = None;
    while let (Some(old), Some(new)) = (old_rows.next(&layout), new_rows.next(&layout)) {
        assert!(
            old.uuid(Column::CustomerId) == new.uuid(Column::CustomerId),
            "the transition tables are not in step"
        );
        let changed = Changed::updated(&old, &new);
        if changed.any() {
            recorder.get_or_insert_with(Recorder::open).record(Type::Updated, &new, changed);
        }
    }
    if let Some(recorder) = recorder {
        recorder.close();
    }
    old_rows.close();
    new_rows.close();
    Fired::after_statement()
}

/// Writes events to customers.events and announces them.
struct Recorder {
    events: Inserter,
    /// The numbers of COLUMNS.
    columns: [i32; COLUMNS.len()],
    sender: Sender,
    sequence: pg_sys::Oid,
    recorded_by: Option<pg_sys::Datum>,
    actor: Option<pg_sys::Datum>,
    reason: Option<pg_sys::Datum>,
}

/// What is set of an event, in the order of the table.
const COLUMNS: [&CStr; 11] = [
    c"position",
    c"event_id",
    c"type",
    c"customer_id",
    c"version",
    c"occurred_at",
    c"changes",
    c"recorded_by",
    c"actor",
    c"reason",
    c"announce",
];

impl Recorder {
    fn open() -> Self {
        let sequence = relation_oid(c"events_position_seq");
        watermark::hold(sequence);
        let sender = notify::begin_statement();
        let events = Inserter::open(c"events");
        let columns = events.columns(COLUMNS);
        Self {
            events,
            columns,
            sender,
            sequence,
            recorded_by: session_user().to_string_lossy().into_datum(),
            actor: settings::actor().into_datum(),
            reason: REASON.with_borrow(|reason| reason.as_deref().into_datum()),
        }
    }

    fn record(&mut self, r#type: Type, new: &CustomerRow, changed: Changed) {
        let Self { events, columns, sender, sequence, recorded_by, actor, reason } = self;
        let announcement = notify::next_announcement(*sender);
        let event = events.insert(|row| {
            let event = Event {
                // SAFETY: the OID of the sequence that draws positions.
                position: unsafe { pg_sys::nextval_internal(*sequence, false) },
                event_id: random_uuid(),
                r#type,
                customer_id: new.uuid(Column::CustomerId).expect("the primary key"),
                version: new.integer(Column::Version).expect("kept by the guard"),
                changed,
            };
            let announce = announcement
                .filter(|_| *sender == Sender::Worker)
                .map(|how| how == Announcement::Event);
            let values = [
                event.position.into_datum(),
                event.event_id.into_datum(),
                r#type.name().into_datum(),
                new.value(Column::CustomerId),
                new.value(Column::Version),
                new.value(Column::UpdatedAt),
                Some(changed.to_jsonb(new)),
                *recorded_by,
                *actor,
                *reason,
                announce.into_datum(),
            ];
            for (number, value) in columns.iter().zip(values) {
                row.set(*number, value);
            }
            event
        });
        if let (Sender::Transaction, Some(announcement)) = (*sender, announcement) {
            notify::send(&event, announcement);
        }
    }

    fn close(self) {
        self.events.close();
    }
}

thread_local! {
    static REASON: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Has the events that `write` causes recorded with a reason.
pub fn with_reason<T>(reason: Option<&str>, write: impl FnOnce() -> T) -> T {
    // Also when the write is refused; a trigger of the owner's may have called us from within another.
    struct Restore(Option<String>);
    impl Drop for Restore {
        fn drop(&mut self) {
            REASON.set(self.0.take());
        }
    }
    let _restore = Restore(REASON.replace(reason.map(str::to_owned)));
    write()
}
