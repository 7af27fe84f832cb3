//! The BEFORE triggers: one holds every row to the rules, whoever writes it; one keeps rows from being
//! removed.

use crate::customer::{Column, CustomerRow};
use crate::errors::{OrRefuse, Refusal};
use crate::exemption::{self, Work};
use crate::raw::{self, GetCurrentTransactionStartTimestamp as now};
use crate::rules::status::Status;
use crate::rules::{email, name};
use crate::trigger::{Fired, Firing, Operation, Trigger};
use crate::witness;
use pgrx::prelude::*;

#[pg_extern(sql = false)]
fn guard(fcinfo: pg_sys::FunctionCallInfo) -> Fired {
    // SAFETY: this is the call at hand.
    let (trigger, function) =
        unsafe { (Trigger::from_call(fcinfo, Firing::BeforeRow), Trigger::function(fcinfo)) };
    let layout = trigger.layout();
    let mut row = trigger.new_row(&layout);
    witness::guarded(function);
    if trigger.operation() == Operation::Update {
        update(&trigger.old_row(&layout), &mut row).or_refuse();
    } else {
        admit(&mut row).or_refuse();
    }
    trigger.write(&row, &layout)
}

/// Holds a new customer to the rules, and keeps its books.
pub fn admit(row: &mut CustomerRow) -> Result<(), Refusal> {
    if row.value(Column::CustomerId).is_none() {
        return Err(Refusal::Missing("customer_id"));
    }
    canonicalise_email(row)?;
    canonicalise_name(row)?;
    status(row)?;
    let registered_at =
        row.integer(Column::RegisteredAt).ok_or(Refusal::Missing("registered_at"))?;
    if !has_passed(registered_at) {
        return Err(Refusal::RegisteredInFuture);
    }
    row.set_integer(Column::UpdatedAt, now());
    row.set_integer(Column::Version, 1);
    Ok(())
}

fn update(old: &CustomerRow, new: &mut CustomerRow) -> Result<(), Refusal> {
    if new.uuid(Column::CustomerId) != old.uuid(Column::CustomerId) {
        return Err(Refusal::Immutable("customer_id"));
    }
    if new.integer(Column::RegisteredAt) != old.integer(Column::RegisteredAt) {
        return Err(Refusal::Immutable("registered_at"));
    }
    let is_erasing = new.uuid(Column::CustomerId).is_some_and(exemption::is_erasing);
    // What stays was canonical when it came in.
    let differs = |new: &CustomerRow, column| new.text(column) != old.text(column);
    if differs(new, Column::Email) && !is_erasing {
        canonicalise_email(new)?;
    }
    if differs(new, Column::Name) {
        canonicalise_name(new)?;
    }
    if differs(new, Column::Status) {
        status(new)?;
    }
    let mut updated_at = old.integer(Column::UpdatedAt).unwrap_or(0);
    let mut version = old.integer(Column::Version).unwrap_or(0);
    if [Column::Email, Column::Name, Column::Status].into_iter().any(|column| differs(new, column))
    {
        if status(old)? == Status::Closed && !is_erasing {
            return Err(Refusal::Closed);
        }
        updated_at = now().max(updated_at.saturating_add(1));
        version = version.saturating_add(1);
    }
    new.set_integer(Column::UpdatedAt, updated_at);
    new.set_integer(Column::Version, version);
    Ok(())
}

fn canonicalise_email(row: &mut CustomerRow) -> Result<(), Refusal> {
    let email = row.text(Column::Email).ok_or(Refusal::Missing("email"))?;
    let email = email::canonical(email)?;
    row.set_text(Column::Email, &email);
    Ok(())
}

fn canonicalise_name(row: &mut CustomerRow) -> Result<(), Refusal> {
    if let Some(name) = row.text(Column::Name) {
        let name = name::canonical(name)?.into_owned();
        row.set_text(Column::Name, &name);
    }
    Ok(())
}

fn status(row: &CustomerRow) -> Result<Status, Refusal> {
    Ok(Status::parse(row.text(Column::Status).ok_or(Refusal::Missing("status"))?)?)
}

/// Whether a customer can have registered then: a moment in microseconds since 2000.
pub fn has_passed(moment: i64) -> bool {
    let minus_infinity = i64::MIN;
    // An import may take its moments from the clock, which runs on after now().
    moment != minus_infinity && (moment <= now() || moment <= raw::GetCurrentTimestamp())
}

#[pg_extern(sql = false)]
fn refuse_removal(fcinfo: pg_sys::FunctionCallInfo) -> Fired {
    // SAFETY: this is the call at hand.
    let trigger = unsafe { Trigger::from_call(fcinfo, Firing::BeforeStatement) };
    match (trigger.table_name().to_bytes(), trigger.operation(), exemption::at_work()) {
        (b"events", Operation::Update, Some(Work::Erasing(_)))
        | (b"events", Operation::Delete, Some(Work::Pruning)) => Fired::after_statement(),
        (b"events", ..) => Refusal::EventsStay.raise(),
        _ => Refusal::CustomersStay.raise(),
    }
}
