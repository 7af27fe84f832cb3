//! The writes that applications call. Each is a statement on customers.customers, whose triggers bring the
//! rules and the events; where that makes no difference, registering takes a short cut.

use crate::direct;
use crate::errors::{OrRefuse, Refusal, without_values};
use crate::feed::record::with_reason;
use crate::jsonb::{Jsonb, Value};
use crate::profile::{Profile, profile_columns};
use crate::random::new_customer_id;
use crate::rules::{email, name};
use crate::statement::{Param, Statement, connected, sql};
use crate::witness::witnessed;
use pgrx::pg_sys::BuiltinOid::{BOOLOID, INT8OID, TEXTOID, UUIDOID};
use pgrx::prelude::*;
use pgrx::{IntoDatum, Uuid};

#[pg_extern(sql = false)]
fn register_customer(
    email: Option<&str>,
    name: Option<&str>,
    customer_id: Option<Uuid>,
) -> Profile {
    static INSERT: Statement = Statement::new(
        sql!(
            "INSERT INTO customers.customers (customer_id, email, name, status)
             VALUES ($1, $2, $3, 'ACTIVE')
             RETURNING ",
            profile_columns!()
        ),
        &[UUIDOID, TEXTOID, TEXTOID],
    );
    let id = customer_id.unwrap_or_else(new_customer_id);
    let params = [id.into_datum(), email.into_datum(), name.into_datum()];
    if customer_id.is_some()
        && let Some(registered) = register_once(email, name, params)
    {
        return registered;
    }
    direct::register(id, email, name)
        .unwrap_or_else(|| write(&INSERT, &params).ok_or(Refusal::NotWritten))
        .or_refuse()
}

/// Registers under a given id, or finds that this very customer has been. None when the id or the
/// address is another customer's: a plain INSERT then says which.
fn register_once(email: Option<&str>, name: Option<&str>, params: [Param; 3]) -> Option<Profile> {
    // Without a target: an attempt that runs at the same time may be noticed by its address first.
    static INSERT_ONCE: Statement = Statement::new(
        sql!(
            "INSERT INTO customers.customers (customer_id, email, name, status)
             VALUES ($1, $2, $3, 'ACTIVE')
             ON CONFLICT DO NOTHING
             RETURNING ",
            profile_columns!()
        ),
        &[UUIDOID, TEXTOID, TEXTOID],
    );
    static FIND_SAME: Statement = Statement::new(
        sql!(
            "SELECT ",
            profile_columns!(),
            " FROM customers.customers
             WHERE customer_id = $1 AND email = $2 AND name IS NOT DISTINCT FROM $3"
        ),
        &[UUIDOID, TEXTOID, TEXTOID],
    );
    write(&INSERT_ONCE, &params).or_else(|| {
        let email = email::canonical(email?).or_refuse();
        let name = name.map(|name| name::canonical(name).or_refuse());
        profile(&FIND_SAME, &[params[0], email.into_datum(), name.as_deref().into_datum()])
    })
}

#[pg_extern(sql = false)]
fn update_customer(
    customer_id: Option<Uuid>,
    email: Option<&str>,
    name: Option<&str>,
    status: Option<&str>,
    expected_version: Option<i64>,
) -> Profile {
    change(customer_id, Change { email, name: name.map(Some), status }, expected_version)
        .or_refuse()
}

#[pg_extern(sql = false)]
fn patch_customer(
    customer_id: Option<Uuid>,
    patch: Option<Jsonb>,
    expected_version: Option<i64>,
) -> Profile {
    let patch = patch.ok_or(Refusal::Missing("patch")).or_refuse();
    let change_by_patch = Change::from_patch(&patch).or_refuse();
    change(customer_id, change_by_patch, expected_version).or_refuse()
}

#[pg_extern(sql = false)]
fn set_status(
    customer_id: Option<Uuid>,
    status: Option<&str>,
    reason: Option<&str>,
    expected_version: Option<i64>,
) -> Profile {
    let id = customer_id.ok_or(Refusal::Missing("customer_id")).or_refuse();
    let status = Some(status.ok_or(Refusal::Missing("status")).or_refuse());
    with_reason(id, reason, || {
        change(customer_id, Change { status, ..Default::default() }, expected_version).or_refuse()
    })
}

/// New values; None leaves a field as it is.
#[derive(Default)]
struct Change<'a> {
    email: Option<&'a str>,
    /// `Some(None)` clears it.
    name: Option<Option<&'a str>>,
    status: Option<&'a str>,
}

impl<'a> Change<'a> {
    fn from_patch(patch: &'a Jsonb) -> Result<Self, Refusal> {
        let fields = patch.fields().filter(|fields| !fields.is_empty());
        let mut change = Self::default();
        for (field, value) in fields.ok_or(Refusal::EmptyPatch)? {
            match (field, value) {
                ("email", Value::Text(email)) => change.email = Some(email),
                ("name", Value::Text(name)) => change.name = Some(Some(name)),
                ("name", Value::Null) => change.name = Some(None),
                ("status", Value::Text(status)) => change.status = Some(status),
                ("email", Value::Null) => return Err(Refusal::NotClearable("email")),
                ("status", Value::Null) => return Err(Refusal::NotClearable("status")),
                ("email", _) => return Err(Refusal::NotText("email")),
                ("name", _) => return Err(Refusal::NotText("name")),
                ("status", _) => return Err(Refusal::NotText("status")),
                _ => return Err(Refusal::unknown_field(field)),
            }
        }
        Ok(change)
    }
}

fn change(
    customer_id: Option<Uuid>,
    change: Change,
    expected_version: Option<i64>,
) -> Result<Profile, Refusal> {
    static UPDATE: Statement = Statement::new(
        sql!(
            "UPDATE customers.customers
                SET email = coalesce($2, email),
                    name = CASE WHEN $3 THEN $4 ELSE name END,
                    status = coalesce($5, status)
              WHERE customer_id = $1 AND ($6 IS NULL OR version = $6)
              RETURNING ",
            profile_columns!()
        ),
        &[UUIDOID, TEXTOID, BOOLOID, TEXTOID, TEXTOID, INT8OID],
    );
    let customer_id = customer_id.ok_or(Refusal::Missing("customer_id"))?;
    let params = [
        customer_id.into_datum(),
        change.email.into_datum(),
        change.name.is_some().into_datum(),
        change.name.flatten().into_datum(),
        change.status.into_datum(),
        expected_version.into_datum(),
    ];
    write(&UPDATE, &params).ok_or_else(|| match (expected_version, current_version(customer_id)) {
        (Some(expected), Some(current)) if expected != current => {
            Refusal::VersionConflict { expected, current }
        }
        (_, Some(_)) => Refusal::NotWritten,
        (_, None) => Refusal::NoCustomer,
    })
}

fn current_version(customer_id: Uuid) -> Option<i64> {
    static VERSION: Statement = Statement::new(
        c"SELECT version FROM customers.customers WHERE customer_id = $1",
        &[UUIDOID],
    );
    VERSION.value(&[customer_id.into_datum()])
}

/// Runs a statement that writes a customer, under the rules.
fn write(statement: &Statement, params: &[Param]) -> Option<Profile> {
    let mut written = None;
    witnessed(|| {
        written = profile(statement, params);
        written.is_some()
    });
    written
}

fn profile(statement: &Statement, params: &[Param]) -> Option<Profile> {
    without_values(|| {
        connected(|context| {
            let mut profile = None;
            statement.run(params, |row| profile = Some(Profile::from_row(row, context)));
            profile
        })
    })
}
