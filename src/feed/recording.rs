//! The AFTER STATEMENT triggers, which write the events of all rows of a statement in its transaction.

use super::event::{Changed, Event, Type, session_user};
use super::event_writer::EventWriter;
use super::notification::{self, Announcement, Sender};
use super::positions::Positions;
use crate::customer::enforcement::{self, Kind};
use crate::customer::operation::{self, Republished};
use crate::customer::row::{COUNT, CustomerRow};
use crate::customer::schema::{CUSTOMER_COLUMNS, CUSTOMERS};
use crate::postgres::error::{OrRaise, entry_point};
use crate::postgres::ffi::GetCurrentTransactionStartTimestamp;
use crate::postgres::random_uuid::random_uuid;
use crate::postgres::transaction::command_id;
use crate::postgres::transition_table::TransitionTable;
use crate::postgres::trigger::{Trigger, TriggerResult, TriggerTiming};
use crate::postgres::typed_datum::TypedDatum;
use crate::refusal::Refusal;
use crate::settings;
use pgrx::Uuid;
use pgrx::pg_sys::BuiltinOid::TEXTOID;
use pgrx::prelude::*;

#[pg_extern(sql = false)]
fn record_registered(fcinfo: pg_sys::FunctionCallInfo) -> TriggerResult {
    record(fcinfo, Kind::Insert, |trigger, numbers, record| {
        let mut new_rows = in_order(trigger.new_rows(), numbers);
        while let Some(new) = new_rows.next(numbers).map(CustomerRow::new) {
            record(Type::Registered, &new, Changed::registered(&new));
        }
    })
}

#[pg_extern(sql = false)]
fn record_updated(fcinfo: pg_sys::FunctionCallInfo) -> TriggerResult {
    record(fcinfo, Kind::Update, |trigger, numbers, record| {
        let command = command_id();
        let mut old_rows = in_order(trigger.old_rows(), numbers);
        let mut new_rows = in_order(trigger.new_rows(), numbers);
        while let (Some(old), Some(new)) = (old_rows.next(numbers), new_rows.next(numbers)) {
            let (old, mut new) = (CustomerRow::new(old), CustomerRow::new(new));
            assert!(old.given_id() == new.given_id(), "the transition tables are not in step");
            let changed = Changed::updated(&old, &new);
            match operation::republishes(new.given_id(), command) {
                Some(Republished::Registered) => {
                    // Updated long ago, in an adopted table; consumers learn of it now.
                    new.set_updated_at(GetCurrentTransactionStartTimestamp());
                    record(Type::Registered, &new, Changed::registered(&new));
                }
                Some(Republished::Updated) => record(Type::Updated, &new, Changed::EVERYTHING),
                None if !changed.any() => {}
                None if operation::erases(new.id()) => {
                    record(Type::Erased, &new, Changed::NOTHING);
                }
                None => record(Type::Updated, &new, changed),
            }
        }
    })
}

/// The rows as they were written, or of many customers in the order of customer_id: the events' index on it is then
/// filled in order, instead of reading and writing a page of it for each event. The key is unique and does not change, so
/// old and new rows stay in step; a table without it is left as it is.
fn in_order<'call>(
    rows: Option<TransitionTable<'call>>,
    numbers: &[i32; COUNT],
) -> TransitionTable<'call> {
    const MANY: i64 = 1_000;
    let rows = rows.expect("the trigger names its transition tables");
    if rows.len() < MANY { rows } else { rows.sorted_by_key(numbers[CustomerRow::ID]) }
}

/// The body of these triggers: `rows` calls the function it is given once for each row that is an event.
fn record(
    fcinfo: pg_sys::FunctionCallInfo,
    kind: Kind,
    rows: impl FnOnce(&Trigger, &[i32; COUNT], &mut dyn FnMut(Type, &CustomerRow, Changed)),
) -> TriggerResult {
    entry_point(|| {
        // SAFETY: PostgreSQL passes the frame of the current call.
        let trigger = unsafe { Trigger::from_call(fcinfo, &[TriggerTiming::AfterStatement]) };
        if trigger.table_oid() != CUSTOMERS.oid() {
            Refusal::OnlyAsTrigger.raise();
        }
        if trigger.table_inherits() {
            Refusal::Inherits { table: "customers" }.raise();
        }
        let command = command_id();
        // A role that may write customers need not have the right to write events.
        CUSTOMERS.as_owner(|| {
            let mut recorder = None;
            rows(
                &trigger,
                &trigger.column_numbers(&CUSTOMER_COLUMNS),
                &mut |r#type, row, changed| {
                    recorder.get_or_insert_with(Recorder::open).record(r#type, row, changed);
                },
            );
            if let Some(recorder) = recorder {
                recorder.close();
            }
        });
        enforcement::recorded(command, kind);
        TriggerResult::none()
    })
}

/// Records the registration of one customer, as the trigger does for a statement.
pub fn record_registration(new: &CustomerRow) {
    let mut recorder = Recorder::open();
    recorder.record(Type::Registered, new, Changed::registered(new));
    recorder.close();
}

/// Writes events to customers.events and announces them.
struct Recorder {
    writer: EventWriter,
    sender: Sender,
    positions: Positions,
    recorded_by: TypedDatum<'static>,
    actor: TypedDatum<'static>,
    /// The customer whose events get the reason, and the reason.
    reason: Option<(Uuid, TypedDatum<'static>)>,
}

impl Recorder {
    fn open() -> Self {
        let positions = Positions::open();
        let sender = notification::begin_statement(positions.sequence());
        Self {
            writer: EventWriter::open(),
            sender,
            positions,
            recorded_by: session_user().into(),
            actor: settings::actor().or_raise().into(),
            reason: operation::reason().map(|(id, reason)| (id, reason.into())),
        }
    }

    fn record(&mut self, r#type: Type, new: &CustomerRow, changed: Changed) {
        let announcement = notification::next_announcement(self.sender);
        let event = Event {
            position: self.positions.draw(),
            event_id: random_uuid(),
            r#type,
            customer_id: new.id(),
            version: new.version().expect("set by the guard"),
            changed,
        };
        let reason = self.reason.filter(|(customer_id, _)| *customer_id == event.customer_id);
        let announce = announcement.filter(|_| self.sender == Sender::Worker);
        let (recorded_by, actor) = (self.recorded_by, self.actor);
        self.writer.append(|| {
            let [customer_id, version, occurred_at] = new.event_values();
            [
                event.position.into(),
                event.event_id.into(),
                r#type.name().into(),
                customer_id,
                version,
                occurred_at,
                changed.to_jsonb(new).or_raise().into(),
                recorded_by,
                actor,
                reason.map_or(TypedDatum::null(TEXTOID), |(_, reason)| reason),
                announce.map(|how| how == Announcement::Event).into(),
            ]
        });
        if let (Sender::Transaction, Some(announcement)) = (self.sender, announcement) {
            notification::send(&event, announcement);
        }
    }

    fn close(self) {
        self.writer.close();
    }
}
