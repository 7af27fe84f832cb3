//! The AFTER triggers that write the events of a whole statement at once, in the same transaction.

use super::event::{Changed, Event, Type, session_user};
use super::journal::Journal;
use super::notify::{self, Announcement, Sender};
use super::watermark;
use crate::customer::{Column, CustomerRow};
use crate::errors::Refusal;
use crate::exemption;
use crate::random::random_uuid;
use crate::settings;
use crate::statement::Param;
use crate::table::{Name, relation_oid};
use crate::trigger::{Fired, Firing, Trigger};
use crate::witness;
use pgrx::prelude::*;
use pgrx::{IntoDatum, Uuid};
use std::cell::RefCell;

#[pg_extern(sql = false)]
fn record_registered(fcinfo: pg_sys::FunctionCallInfo) -> Fired {
    // SAFETY: this is the call at hand.
    let trigger = unsafe { Trigger::from_call(fcinfo, Firing::AfterStatement) };
    trigger.expect_customers();
    // SAFETY: as above.
    witness::recorded(Some(unsafe { Trigger::function(fcinfo) }));
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
    let trigger = unsafe { Trigger::from_call(fcinfo, Firing::AfterStatement) };
    trigger.expect_customers();
    witness::recorded(None);
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
            let recorder = recorder.get_or_insert_with(Recorder::open);
            if exemption::is_erasing(new.id()) {
                recorder.record(Type::Erased, &new, Changed::NOTHING);
            } else {
                recorder.record(Type::Updated, &new, changed);
            }
        }
    }
    if let Some(recorder) = recorder {
        recorder.close();
    }
    old_rows.close();
    new_rows.close();
    Fired::after_statement()
}

/// Records the registration of one customer, as the trigger does for all of a statement.
pub fn record_registration(new: &CustomerRow) {
    let mut recorder = Recorder::open();
    recorder.record(Type::Registered, new, Changed::registered(new));
    recorder.close();
}

/// Writes events to customers.events and announces them.
struct Recorder {
    journal: Journal,
    sender: Sender,
    sequence: pg_sys::Oid,
    /// All positions of the transaction lie above it, or readers would lose events.
    key: i64,
    recorded_by: Param,
    actor: Param,
    /// Whose events have it.
    reason: Option<(Uuid, Param)>,
}

impl Recorder {
    fn open() -> Self {
        let sequence = relation_oid(Name::Positions);
        let key = watermark::hold(sequence);
        let sender = notify::begin_statement(sequence);
        Self {
            journal: Journal::open(),
            sender,
            sequence,
            key,
            recorded_by: session_user().to_string_lossy().into_datum(),
            actor: settings::actor().into_datum(),
            reason: REASON.with_borrow(|reason| {
                let (customer_id, reason) = reason.as_ref()?;
                Some((*customer_id, reason.as_str().into_datum()))
            }),
        }
    }

    fn record(&mut self, r#type: Type, new: &CustomerRow, changed: Changed) {
        let announcement = notify::next_announcement(self.sender);
        // SAFETY: the OID of the sequence that draws positions.
        let position = unsafe { pg_sys::nextval_internal(self.sequence, false) };
        if position <= self.key {
            Refusal::PositionsRepeat.raise();
        }
        let event = Event {
            position,
            event_id: random_uuid(),
            r#type,
            customer_id: new.id(),
            version: new.integer(Column::Version).expect("kept by the guard"),
            changed,
        };
        let reason = self.reason.filter(|(customer_id, _)| *customer_id == event.customer_id);
        let announce = announcement.filter(|_| self.sender == Sender::Worker);
        let (recorded_by, actor) = (self.recorded_by, self.actor);
        self.journal.enter(|| {
            [
                event.position.into_datum(),
                event.event_id.into_datum(),
                r#type.name().into_datum(),
                new.value(Column::CustomerId),
                new.value(Column::Version),
                new.value(Column::UpdatedAt),
                Some(changed.to_jsonb(new)),
                recorded_by,
                actor,
                reason.and_then(|(_, reason)| reason),
                announce.map(|how| how == Announcement::Event).into_datum(),
            ]
        });
        if let (Sender::Transaction, Some(announcement)) = (self.sender, announcement) {
            notify::send(&event, announcement);
        }
    }

    fn close(self) {
        self.journal.close();
    }
}

thread_local! {
    static REASON: RefCell<Option<(Uuid, String)>> = const { RefCell::new(None) };
}

/// Has the events of one customer that `write` causes recorded with a reason.
pub fn with_reason<T>(customer_id: Uuid, reason: Option<&str>, write: impl FnOnce() -> T) -> T {
    // Also when the write is refused; a trigger of the owner's may have called us from within another.
    struct Restore(Option<(Uuid, String)>);
    impl Drop for Restore {
        fn drop(&mut self) {
            REASON.set(self.0.take());
        }
    }
    let reason = reason.map(|reason| (customer_id, reason.to_owned()));
    let _restore = Restore(REASON.replace(reason));
    write()
}
