//! What a person may ask for: to be forgotten, and to be told everything that is held.

use crate::errors::{OrRefuse, Refusal, without_values};
use crate::exemption::{self, Work};
use crate::feed::record::with_reason;
use crate::jsonb::Jsonb;
use crate::profile::{Profile, profile_columns};
use crate::rules::email::ERASED_DOMAIN;
use crate::rules::mention::Person;
use crate::statement::{Statement, connected, sql};
use crate::witness::witnessed;
use pgrx::pg_sys::BuiltinOid::{INT8ARRAYOID, TEXTOID, UUIDOID};
use pgrx::prelude::*;
use pgrx::{IntoDatum, Uuid};

/// Stands where a free text told who it was.
const ERASED_TEXT: &str = "[erased]";

#[pg_extern(sql = false)]
fn erase_customer(customer_id: Option<Uuid>, reason: Option<&str>) -> Profile {
    let customer_id = customer_id.ok_or(Refusal::Missing("customer_id")).or_refuse();
    without_values(|| erase(customer_id, reason)).or_refuse()
}

/// Erasing somebody again mends what a restore brought back, and records nothing where there is nothing.
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
    static ENTER: Statement = Statement::new(
        c"INSERT INTO customers.erasures (customer_id, erased_at, erased_by, reason)
          VALUES ($1, now(), session_user, $2)
          ON CONFLICT DO NOTHING",
        &[UUIDOID, TEXTOID],
    );
    let id = customer_id.into_datum();
    let address = format!("erased+{customer_id}@{ERASED_DOMAIN}");
    let mut person = None;
    connected(|_| {
        LOCK.run(&[id], |row| {
            let person = person.insert(Person::default());
            row.get(1).into_iter().for_each(|email: &str| person.has_email(email));
            row.get(2).into_iter().for_each(|name: &str| person.has_name(name));
        });
    });
    let mut person = person.ok_or(Refusal::NoCustomer)?;
    exemption::during(Work::Erasing(customer_id), || {
        connected(|caller| {
            let mut erased = None;
            with_reason(customer_id, reason, || {
                witnessed(|| {
                    ERASE.run(&[id, address.as_str().into_datum()], |row| {
                        erased = Some(Profile::from_row(row, caller));
                    });
                    erased.is_some()
                });
            });
            redact_events(customer_id, &address, &mut person);
            let reason =
                reason.map(|text| if person.is_told_by(text) { ERASED_TEXT } else { text });
            ENTER.run(&[id, reason.into_datum()], |_| {});
            erased.ok_or(Refusal::NotWritten)
        })
    })
}

/// What people have written beside an event.
struct FreeTexts {
    position: i64,
    reason: Option<String>,
    actor: Option<String>,
}

/// Takes address and name out of the customer's events, the one that tells of the erasure included. The
/// events keep the shape that the contract gives them.
fn redact_events(customer_id: Uuid, address: &str, person: &mut Person) {
    static HELD: Statement = Statement::new(
        c"SELECT position, changes ->> 'email', changes ->> 'name', reason, actor
            FROM customers.events WHERE customer_id = $1",
        &[UUIDOID],
    );
    static REDACT: Statement = Statement::new(
        c"UPDATE customers.events
             SET changes = changes - '{email, name}'::text[]
                    || CASE WHEN changes ? 'email' THEN jsonb_build_object('email', $2) ELSE '{}' END
                    || CASE WHEN changes ? 'name' AND type = 'customer-updated'
                            THEN '{\"name\": null}'::jsonb ELSE '{}' END,
                 reason = CASE WHEN position = ANY ($3) THEN $5 ELSE reason END,
                 actor = CASE WHEN position = ANY ($4) THEN $5 ELSE actor END
           WHERE customer_id = $1
             AND (changes ->> 'email' <> $2 OR changes ->> 'name' IS NOT NULL
                  OR position = ANY ($3) OR position = ANY ($4))",
        &[UUIDOID, TEXTOID, INT8ARRAYOID, INT8ARRAYOID, TEXTOID],
    );
    let mut held: Vec<FreeTexts> = Vec::new();
    HELD.run(&[customer_id.into_datum()], |row| {
        row.get(2).into_iter().for_each(|email: &str| person.has_email(email));
        row.get(3).into_iter().for_each(|name: &str| person.has_name(name));
        let position = row.get(1).ok_or(Refusal::Missing("position")).or_refuse();
        held.push(FreeTexts { position, reason: row.get(4), actor: row.get(5) });
    });
    let telling = |text: fn(&FreeTexts) -> Option<&str>| -> Vec<i64> {
        let told = held.iter().filter(|texts| text(texts).is_some_and(|t| person.is_told_by(t)));
        told.map(|texts| texts.position).collect()
    };
    let params = [
        customer_id.into_datum(),
        address.into_datum(),
        telling(|texts| texts.reason.as_deref()).into_datum(),
        telling(|texts| texts.actor.as_deref()).into_datum(),
        ERASED_TEXT.into_datum(),
    ];
    REDACT.run(&params, |_| {});
}

#[pg_extern(sql = false)]
fn reapply_erasures() -> i64 {
    static BACK: Statement = Statement::new(
        c"SELECT customer_id, erasure.reason
            FROM customers.erasures AS erasure
            JOIN customers.customers AS customer USING (customer_id)
           WHERE customer.email <> 'erased+' || customer_id || '@erased.invalid'
              OR EXISTS (SELECT FROM customers.events AS event
                          WHERE event.customer_id = erasure.customer_id
                            AND (event.changes ->> 'email' <> 'erased+' || customer_id || '@erased.invalid'
                                 OR event.changes ->> 'name' IS NOT NULL))",
        &[],
    );
    let mut back: Vec<(Uuid, Option<String>)> = Vec::new();
    connected(|_| {
        BACK.run(&[], |row| back.extend(row.get(1).map(|id| (id, row.get(2)))));
    });
    for (customer_id, reason) in &back {
        without_values(|| erase(*customer_id, reason.as_deref())).or_refuse();
    }
    back.len() as i64
}

#[pg_extern(sql = false)]
fn export_customer(customer_id: Option<Uuid>) -> Jsonb {
    // Whole rows, so that columns which the owner added are told as well.
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
    let customer_id = customer_id.ok_or(Refusal::Missing("customer_id")).or_refuse();
    let mut document = None;
    connected(|caller| {
        EVERYTHING.read(&[customer_id.into_datum()], |row| document = row.jsonb(1, caller));
    });
    document.ok_or(Refusal::NoCustomer).or_refuse()
}
