//! The BEFORE triggers: the guard applies the rules to every row written by whatever statement;
//! refuse_removal refuses to remove customers, and to change or remove events.

use super::enforcement::{self, Kind};
use super::operation::{self, Republished};
use super::row::{COUNT, CustomerRow, Field};
use super::schema::{CUSTOMER_COLUMNS, has_original_defaults};
use crate::postgres::error::{OrRaise, Protected, entry_point, protect};
use crate::postgres::ffi::{
    GetCurrentTimestamp, GetCurrentTransactionStartTimestamp as now, IsLogicalWorker,
};
use crate::postgres::random_uuid::random_key;
use crate::postgres::statement::Statement;
use crate::postgres::transaction::command_id;
use crate::postgres::trigger::{Operation, Trigger, TriggerResult, TriggerTiming};
use crate::refusal::Refusal;
use crate::rules::status::Status;
use crate::rules::{email, name};
use pgrx::Uuid;
use pgrx::pg_sys::BuiltinOid::UUIDOID;
use pgrx::prelude::*;

#[pg_extern(sql = false)]
fn guard(fcinfo: pg_sys::FunctionCallInfo) -> TriggerResult {
    entry_point(|| {
        // SAFETY: PostgreSQL passes the frame of the current call.
        let trigger = unsafe { Trigger::from_call(fcinfo, &[TriggerTiming::BeforeRow]) };
        refuse_unrecorded_writes(&trigger).or_raise();
        let command = command_id();
        let numbers = trigger.column_numbers(&CUSTOMER_COLUMNS);
        let mut row = CustomerRow::new(trigger.new_values(&numbers));
        let kind = match trigger.operation() {
            Operation::Update => Kind::Update,
            _ => Kind::Insert,
        };
        if kind == Kind::Update {
            let old = CustomerRow::new(trigger.old_values(&numbers));
            if trigger
                .written_by()
                .is_some_and(|by| by != command && enforcement::is_unrecorded(by))
            {
                Refusal::WithinItsStatement.raise();
            }
            update(&old, &mut row, command).or_raise();
        } else {
            set_defaults(&trigger, &numbers, &mut row);
            admit(&mut row).or_raise();
        }
        enforcement::guarded(&trigger, command, kind);
        trigger.changed(row.written().map(|(index, value)| (numbers[index], value)))
    })
}

/// Refuses a row written in a way that does not fire the statement triggers, so that its change would not
/// be recorded.
fn refuse_unrecorded_writes(trigger: &Trigger) -> Result<(), Refusal> {
    if IsLogicalWorker() {
        return Err(Refusal::LogicalApply);
    }
    if trigger.table_inherits() {
        return Err(Refusal::Inherits { table: "customers" });
    }
    Ok(())
}

/// NULL in a column with a default means the default, as ORMs send it. Sets the defaults that the table's
/// owner has chosen; admit() sets those that the table was created with.
fn set_defaults<'row>(trigger: &'row Trigger, numbers: &[i32; COUNT], row: &mut CustomerRow<'row>) {
    let missing: Vec<usize> = row.missing_defaults().collect();
    if missing.is_empty() || has_original_defaults(trigger.table_oid()) {
        return;
    }
    for index in missing {
        row.set_default(index, trigger.default_value(numbers[index]));
    }
}

/// Applies the rules to a new customer, and sets the columns that the guard maintains.
pub fn admit(row: &mut CustomerRow) -> Result<(), Refusal> {
    if row.given_id().is_none() {
        row.set_id(random_key());
    }
    protect_row(row, None);
    canonicalise_email(row)?;
    canonicalise_name(row)?;
    match row.read(Field::Status)? {
        Some(status) => drop(Status::parse(status)?),
        None => row.set_text(Field::Status, Status::Active.as_str()),
    }
    let registered_at = row.registered_at().map_or(Ok(now()), registration_moment)?;
    row.set_registered_at(registered_at);
    if row.version().is_some_and(|version| version > 1) {
        return Err(Refusal::VersionGiven);
    }
    row.set_updated_at(now());
    row.set_version(1);
    Ok(())
}

fn update(
    old: &CustomerRow,
    new: &mut CustomerRow,
    command: pg_sys::CommandId,
) -> Result<(), Refusal> {
    if new.given_id() != old.given_id() {
        return Err(Refusal::Immutable { column: "customer_id" });
    }
    if new.registered_at() != old.registered_at() {
        return Err(Refusal::Immutable { column: "registered_at" });
    }
    protect_row(new, Some(old));
    let is_erasing = new.given_id().is_some_and(operation::erases);
    // Unchanged values were made canonical when they were written.
    if new.differs(old, Field::Email) && !is_erasing {
        canonicalise_email(new)?;
    }
    if new.differs(old, Field::Name) {
        canonicalise_name(new)?;
    }
    if new.differs(old, Field::Status) {
        status(new)?;
    }
    let mut updated_at = old.updated_at().unwrap_or(0);
    let mut version = old.version().unwrap_or(0);
    if operation::republishes(old.given_id(), command) == Some(Republished::Updated) {
        updated_at = now().max(updated_at.saturating_add(1));
        version = version.max(recorded_version(old.id())).saturating_add(1);
    } else if Field::ALL.into_iter().any(|field| new.differs(old, field)) {
        if status(old)? == Status::Closed && !is_erasing {
            return Err(Refusal::Closed);
        }
        updated_at = now().max(updated_at.saturating_add(1));
        version = version.saturating_add(1);
    }
    new.set_updated_at(updated_at);
    new.set_version(version);
    Ok(())
}

/// The highest version of a customer that an event has recorded; 0 if none has.
fn recorded_version(customer_id: Uuid) -> i64 {
    static VERSION: Statement = Statement::new(
        c"SELECT pg_catalog.max(version) FROM customers.events WHERE customer_id OPERATOR(pg_catalog.=) $1",
        &[UUIDOID],
    );
    VERSION.value(&[customer_id.into()]).unwrap_or(0)
}

/// Remembers the row's values, so that no error of an added constraint or trigger discloses them. A value
/// that cannot be read is skipped: it is refused where it is used.
fn protect_row(new: &CustomerRow, old: Option<&CustomerRow>) {
    fn text<'row>(row: &'row CustomerRow, field: Field) -> Option<&'row str> {
        row.read(field).ok().flatten()
    }
    let old_text = |field| old.and_then(|old| text(old, field));
    protect(
        Protected::Row,
        [
            text(new, Field::Email),
            text(new, Field::Name),
            old_text(Field::Email),
            old_text(Field::Name),
        ],
    );
}

fn canonicalise_email(row: &mut CustomerRow) -> Result<(), Refusal> {
    let given = row.read(Field::Email)?.ok_or(Refusal::Missing { argument: "email" })?;
    let email = email::canonical(given)?;
    row.set_text(Field::Email, &email);
    Ok(())
}

fn canonicalise_name(row: &mut CustomerRow) -> Result<(), Refusal> {
    if let Some(given) = row.read(Field::Name)? {
        let name = name::canonical(given)?.into_owned();
        row.set_text(Field::Name, &name);
    }
    Ok(())
}

fn status(row: &CustomerRow) -> Result<Status, Refusal> {
    let status = row.read(Field::Status)?.ok_or(Refusal::Missing { argument: "status" })?;
    Ok(Status::parse(status)?)
}

/// A given registration time in microseconds since 2000: not before 1900, and not in the future. Compared
/// with the clock, which has advanced since now(); up to ten seconds ahead, as a client's clock may be,
/// become now().
pub fn registration_moment(moment: i64) -> Result<i64, Refusal> {
    const SECOND: i64 = 1_000_000;
    const CLOCK_SKEW: i64 = 10 * SECOND;
    const FROM_1900_TO_2000: i64 = 36_524 * 24 * 60 * 60 * SECOND;
    if moment < -FROM_1900_TO_2000 {
        return Err(Refusal::RegisteredTooEarly);
    }
    if moment <= now() {
        return Ok(moment);
    }
    match moment.saturating_sub(GetCurrentTimestamp()) {
        ..=0 => Ok(moment),
        1..=CLOCK_SKEW => Ok(now()),
        _ => Err(Refusal::RegisteredInFuture),
    }
}

/// Fires for each statement and for each row: a statement on a parent table fires only the row trigger.
#[pg_extern(sql = false)]
fn refuse_removal(fcinfo: pg_sys::FunctionCallInfo) -> TriggerResult {
    entry_point(|| {
        let timings = [TriggerTiming::BeforeStatement, TriggerTiming::BeforeRow];
        // SAFETY: PostgreSQL passes the frame of the current call.
        let trigger = unsafe { Trigger::from_call(fcinfo, &timings) };
        match (trigger.table_name().to_bytes(), trigger.operation()) {
            (_, Operation::Insert) => Refusal::OnlyAsTrigger.raise(),
            (b"customers", _) => Refusal::CustomersStay.raise(),
            (_, Operation::Update) if operation::erases_anybody() => trigger.unchanged(),
            // Between partitions, an UPDATE deletes.
            (_, Operation::Update | Operation::Delete) if operation::begins_epoch() => {
                trigger.unchanged()
            }
            (_, Operation::Delete) if operation::prunes() => trigger.unchanged(),
            _ => Refusal::EventsStay.raise(),
        }
    })
}
