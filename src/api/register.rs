//! Registering a customer.

use super::{fast_path, profile, read, write};
use crate::customer::data_owner::as_writing_data_owner;
use crate::customer::profile::{Profile, profile_columns};
use crate::postgres::error::{OrRaise, Protected, protect};
use crate::postgres::random_uuid::random_key;
use crate::postgres::statement::{Statement, sql};
use crate::postgres::text::Text;
use crate::postgres::typed_datum::TypedDatum;
use crate::refusal::Refusal;
use crate::rules::{email, name};
use pgrx::Uuid;
use pgrx::pg_sys::BuiltinOid::{TEXTOID, UUIDOID};
use pgrx::prelude::*;

#[pg_extern(sql = false)]
fn register_customer(
    email: Option<Text<'_>>,
    name: Option<Text<'_>>,
    customer_id: Option<Uuid>,
) -> Profile {
    as_writing_data_owner(|| match customer_id {
        None => register(random_key(), email, name).or_raise(),
        Some(id) => match register_once(id, email, name).or_raise() {
            Some(registered) => registered,
            None => register(id, email, name).or_raise(),
        },
    })
}

fn register(
    customer_id: Uuid,
    email: Option<Text>,
    name: Option<Text>,
) -> Result<Profile, Refusal> {
    static INSERT: Statement = Statement::new(
        sql!(
            "INSERT INTO customers.customers (customer_id, email, name, status)
             VALUES ($1, $2, $3, 'ACTIVE')
             RETURNING ",
            profile_columns!()
        ),
        &[UUIDOID, TEXTOID, TEXTOID],
    );
    if let Some(registered) = fast_path::register(customer_id, email, name) {
        return registered;
    }
    write(&INSERT, &params(customer_id, email, name)?).ok_or(Refusal::NotWritten)
}

/// The parameters of an INSERT. Their length is checked first, so that a value which is too long is not
/// even copied.
fn params(
    customer_id: Uuid,
    email: Option<Text>,
    name: Option<Text>,
) -> Result<[TypedDatum<'static>; 3], Refusal> {
    let email = read("email", email, email::INPUT_LIMIT)?;
    let name = read("name", name, name::INPUT_LIMIT)?;
    protect(Protected::Call, [email, name, None, None]);
    Ok([customer_id.into(), email.into(), name.into()])
}

/// Registers under a given id, or returns the customer if the same call has registered it before. None if
/// id or address belong to another customer: a plain INSERT then raises the error that names which.
fn register_once(
    customer_id: Uuid,
    email: Option<Text>,
    name: Option<Text>,
) -> Result<Option<Profile>, Refusal> {
    // No conflict target: a concurrent call with the same arguments may conflict on the address first.
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
    if let Some(registered) = write(&INSERT_ONCE, &params(customer_id, email, name)?) {
        return Ok(Some(registered));
    }
    let Some(email) = read("email", email, email::INPUT_LIMIT)? else { return Ok(None) };
    let name = read("name", name, name::INPUT_LIMIT)?.map(name::canonical).transpose()?;
    let params = [customer_id.into(), email::canonical(email)?.into(), name.as_deref().into()];
    Ok(profile(&FIND_SAME, &params))
}
