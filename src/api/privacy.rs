//! Data subject rights: erasure, and export of everything held on a person.

use super::{read_reason, write};
use crate::customer::data_owner::{as_data_owner, as_writing_data_owner};
use crate::customer::operation::{self, Operation};
use crate::customer::profile::{Profile, profile_columns};
use crate::customer::schema::{CUSTOMERS, ERASURE_COLUMNS};
use crate::feed::event::session_user;
use crate::postgres::error::{OrRaise, Protected, entry_point, protect};
use crate::postgres::jsonb::Jsonb;
use crate::postgres::statement::{Row, Statement, connected, sql};
use crate::postgres::text::Text;
use crate::postgres::trigger::{Trigger, TriggerResult, TriggerTiming};
use crate::refusal::Refusal;
use crate::rules::email::{self, ERASED_DOMAIN};
use crate::rules::personal_data::PersonalData;
use pgrx::Uuid;
use pgrx::pg_sys::BuiltinOid::{TEXTOID, UUIDARRAYOID, UUIDOID};
use pgrx::prelude::*;

/// Replaces a free text that contained an address or a name.
const ERASED_TEXT: &str = "[erased]";

#[pg_extern(sql = false)]
fn erase_customer(customer_id: Option<Uuid>, reason: Option<Text<'_>>) -> Profile {
    as_writing_data_owner(|| {
        let customer_id =
            customer_id.ok_or(Refusal::Missing { argument: "customer_id" }).or_raise();
        erase(customer_id, read_reason(reason).or_raise()).or_raise()
    })
}

/// Erasing a customer again removes what a restore brought back, and records no event if nothing changes.
fn erase(customer_id: Uuid, reason: Option<&str>) -> Result<Profile, Refusal> {
    static LOCK: Statement = Statement::new(
        c"SELECT email, name FROM customers.customers WHERE customer_id = $1 FOR UPDATE",
        &[UUIDOID],
    );
    static ERASE: Statement = Statement::new(
        sql!(
            "UPDATE customers.customers SET email = $2, name = NULL, status = 'CLOSED'
              WHERE customer_id = $1
              RETURNING ",
            profile_columns!()
        ),
        &[UUIDOID, TEXTOID],
    );
    static KEEP_IN_LEDGER: Statement = Statement::new(
        c"INSERT INTO customers.erasures (customer_id, erased_at, erased_by, reason)
          VALUES ($1, now(), $2, $3)
          ON CONFLICT DO NOTHING",
        &[UUIDOID, TEXTOID, TEXTOID],
    );
    let id = customer_id.into();
    let address = format!("erased+{customer_id}@{ERASED_DOMAIN}");
    let mut held = None;
    connected(|_| {
        LOCK.run(&[id], |row| {
            let text = |column| row.get::<Text>(column).map(Text::lossy);
            let (email, name) = (text(1), text(2));
            protect(Protected::Row, [email.as_deref(), name.as_deref(), None, None]);
            add(held.insert(PersonalData::new()), row, 1);
        });
    });
    let mut held = held.ok_or(Refusal::NoCustomer)?;
    let erases = Operation {
        erases: Some(customer_id),
        reason: reason.map(|reason| (customer_id, reason.to_owned())),
        ..Default::default()
    };
    operation::during(erases, || {
        let erased = write(&ERASE, &[id, address.as_str().into()]);
        connected(|_| {
            redact_events(customer_id, &address, &mut held);
            let reason = reason.map(|text| if held.appears_in(text) { ERASED_TEXT } else { text });
            let entry = [id, session_user().into(), reason.into()];
            KEEP_IN_LEDGER.run(&entry, |_| {});
        });
        erased.ok_or(Refusal::NotWritten)
    })
}

/// Adds the address and the name in two columns of a row. A value longer than the rules allow, stored by
/// bypassing the triggers, is ignored: no free text could contain it.
fn add(held: &mut PersonalData, row: &Row, first_column: i32) {
    let text = |column| {
        let text = row.get::<Text>(column);
        text.filter(|text| text.octets() <= email::INPUT_LIMIT.octets).map(Text::lossy)
    };
    if let Some(email) = text(first_column) {
        held.add_email(&email);
    }
    if let Some(name) = text(first_column + 1) {
        held.add_name(&name);
    }
}

/// Removes address and name from the customer's events, including the one that records the erasure. The
/// events keep the form that the contract requires.
fn redact_events(customer_id: Uuid, address: &str, held: &mut PersonalData) {
    static VALUES: Statement = Statement::new(
        c"SELECT changes ->> 'email', changes ->> 'name'
            FROM customers.events WHERE customer_id = $1",
        &[UUIDOID],
    );
    // A text longer than the limit is not searched: it counts as containing personal data.
    static FREE_TEXTS: Statement = Statement::new(
        c"SELECT event_id,
                 CASE WHEN octet_length(reason) <= 4000 THEN reason END, octet_length(reason) > 4000,
                 CASE WHEN octet_length(actor) <= 4000 THEN actor END, octet_length(actor) > 4000
            FROM customers.events
           WHERE customer_id = $1 AND (reason IS NOT NULL OR actor IS NOT NULL)",
        &[UUIDOID],
    );
    static REDACT: Statement = Statement::new(
        c"UPDATE customers.events
             SET changes = changes - '{email, name}'::text[]
                    || CASE WHEN changes ? 'email' THEN jsonb_build_object('email', $2) ELSE '{}' END
                    || CASE WHEN changes ? 'name' AND type = 'customer-updated'
                            THEN '{\"name\": null}'::jsonb ELSE '{}' END,
                 reason = CASE WHEN event_id = ANY ($3) THEN $5 ELSE reason END,
                 actor = CASE WHEN event_id = ANY ($4) THEN $5 ELSE actor END
           WHERE customer_id = $1
             AND (changes ->> 'email' <> $2 OR changes ->> 'name' IS NOT NULL
                  OR event_id = ANY ($3) OR event_id = ANY ($4))",
        &[UUIDOID, TEXTOID, UUIDARRAYOID, UUIDARRAYOID, TEXTOID],
    );
    let id = customer_id.into();
    VALUES.stream(&[id], |row| add(held, row, 1));
    let (mut reasons, mut actors) = (Vec::new(), Vec::new());
    FREE_TEXTS.stream(&[id], |row| {
        // Positions change where an epoch begins meanwhile.
        let event_id: Option<Uuid> = row.get(1);
        let holds = |column| {
            row.get(column + 1) == Some(true)
                || row.get::<Text>(column).is_some_and(|text| held.appears_in(&text.lossy()))
        };
        if holds(2) {
            reasons.extend(event_id);
        }
        if holds(4) {
            actors.extend(event_id);
        }
    });
    let params = [id, address.into(), reasons.into(), actors.into(), ERASED_TEXT.into()];
    REDACT.run(&params, |_| {});
}

#[pg_extern(sql = false)]
fn reapply_erasures() -> i64 {
    static BACK: Statement =
        Statement::new(sql!(include_str!("../../sql/verify/erasures.sql")), &[]);
    as_writing_data_owner(|| {
        let mut back: Vec<(Uuid, Option<String>)> = Vec::new();
        connected(|_| {
            BACK.run(&[], |row| {
                back.extend(row.get(1).map(|id| (id, row.get(2))));
            });
        });
        for (customer_id, reason) in &back {
            erase(*customer_id, reason.as_deref()).or_raise();
        }
        back.len() as i64
    })
}

/// Skips a row whose customer is in the ledger already, so that a ledger can be loaded over part of itself.
#[pg_extern(sql = false)]
fn keep_erasure(fcinfo: pg_sys::FunctionCallInfo) -> TriggerResult {
    static IS_KEPT: Statement =
        Statement::new(c"SELECT true FROM customers.erasures WHERE customer_id = $1", &[UUIDOID]);
    entry_point(|| {
        // SAFETY: PostgreSQL passes the frame of the current call.
        let trigger = unsafe { Trigger::from_call(fcinfo, &[TriggerTiming::BeforeRow]) };
        let numbers = trigger.column_numbers(&[ERASURE_COLUMNS[0]]);
        let [customer_id] = trigger.new_values(&numbers);
        let is_kept = CUSTOMERS.as_owner(|| IS_KEPT.value(&[customer_id]) == Some(true));
        if is_kept { TriggerResult::skip_row() } else { trigger.unchanged() }
    })
}

#[pg_extern(sql = false)]
fn export_customer(customer_id: Option<Uuid>) -> Jsonb<'static> {
    // Whole rows, so that columns which the owner added are exported too.
    static EVERYTHING: Statement = Statement::new(
        c"SELECT jsonb_build_object(
                     'customer', to_jsonb(customer),
                     'events', coalesce((SELECT jsonb_agg(to_jsonb(event) - 'announce' ORDER BY version, position)
                                           FROM customers.events AS event
                                          WHERE event.customer_id = customer.customer_id), '[]'),
                     'erasure', (SELECT to_jsonb(erasure) FROM customers.erasures AS erasure
                                  WHERE erasure.customer_id = customer.customer_id))
            FROM customers.customers AS customer
           WHERE customer.customer_id = $1",
        &[UUIDOID],
    );
    as_data_owner(|| {
        let customer_id =
            customer_id.ok_or(Refusal::Missing { argument: "customer_id" }).or_raise();
        let mut document = None;
        connected(|caller| {
            EVERYTHING.read(&[customer_id.into()], |row| {
                // SAFETY: the result is returned from this call at once, and `caller` is the call's context.
                document = row.get::<Jsonb>(1).map(|found| unsafe { found.copy_into(caller) });
            });
        });
        document.ok_or(Refusal::NoCustomer).or_raise()
    })
}
