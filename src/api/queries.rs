//! The functions that read. Each runs one statement with the caller's snapshot; those of the duty reader
//! also with the caller's rights.

use super::read;
use crate::customer::data_owner::{as_caller, as_data_owner};
use crate::customer::profile::profile_columns;
use crate::postgres::error::OrRaise;
use crate::postgres::result_set::ResultSet;
use crate::postgres::statement::{Statement, sql};
use crate::postgres::text::Text;
use crate::refusal::Refusal;
use crate::rules::email;
use crate::rules::status::{self, Status};
use pgrx::Uuid;
use pgrx::pg_sys::BuiltinOid::{INT8OID, TEXTOID, UUIDOID};
use pgrx::prelude::*;

const MAX_PAGE_SIZE: i32 = 1000;

macro_rules! select_profile {
    ($rest:literal) => {
        sql!("SELECT ", profile_columns!(), " FROM customers.customers ", $rest)
    };
}

#[pg_extern(sql = false)]
fn find_customer<'call>(email: Option<Text<'_>>, result: ResultSet<'call>) -> ResultSet<'call> {
    static BY_EMAIL: Statement = Statement::new(select_profile!("WHERE email = $1"), &[TEXTOID]);
    as_caller(|| {
        let email = read("email", email, email::INPUT_LIMIT).or_raise();
        let email = email.ok_or(Refusal::Missing { argument: "email" }).or_raise();
        // A reserved address is refused: an erased customer cannot be found by address.
        let email = email::canonical(email).or_raise();
        result.fill(&BY_EMAIL, &[email.into()]).0
    })
}

#[pg_extern(sql = false)]
fn list_customers<'call>(
    status: Option<Text<'_>>,
    after: Option<Uuid>,
    page_size: Option<i32>,
    result: ResultSet<'call>,
) -> ResultSet<'call> {
    static ALL: Statement = Statement::new(
        select_profile!(
            "WHERE customer_id >= coalesce($1, '00000000-0000-0000-0000-000000000000')
               AND customer_id IS DISTINCT FROM $1
             ORDER BY customer_id LIMIT $2"
        ),
        &[UUIDOID, INT8OID],
    );
    static IN_STATUS: Statement = Statement::new(
        select_profile!(
            "WHERE customer_id >= coalesce($1, '00000000-0000-0000-0000-000000000000')
               AND customer_id IS DISTINCT FROM $1
               AND status = $3
             ORDER BY customer_id LIMIT $2"
        ),
        &[UUIDOID, INT8OID, TEXTOID],
    );
    as_caller(|| {
        let limit = checked_page_size(page_size).or_raise().into();
        let after = after.into();
        match read("status", status, status::INPUT_LIMIT).or_raise() {
            None => result.fill(&ALL, &[after, limit]).0,
            Some(status) => {
                Status::parse(status).or_raise();
                result.fill(&IN_STATUS, &[after, limit, status.into()]).0
            }
        }
    })
}

#[pg_extern(sql = false)]
fn search_customers<'call>(
    prefix: Option<Text<'_>>,
    page_size: Option<i32>,
    result: ResultSet<'call>,
) -> ResultSet<'call> {
    // Addresses compare bytewise (COLLATE "C"), so those with one prefix are adjacent in the unique index.
    // No address contains the noncharacter that ends the range.
    static BY_PREFIX: Statement = Statement::new(
        select_profile!(
            "WHERE email COLLATE \"C\" >= $1 AND email COLLATE \"C\" < $2
             ORDER BY email COLLATE \"C\" LIMIT $3"
        ),
        &[TEXTOID, TEXTOID, INT8OID],
    );
    as_caller(|| {
        let prefix = read("prefix", prefix, email::INPUT_LIMIT).or_raise();
        let prefix = prefix.ok_or(Refusal::Missing { argument: "prefix" }).or_raise();
        let prefix = email::canonical_prefix(prefix).or_raise();
        let end = format!("{prefix}\u{10FFFF}");
        let limit = checked_page_size(page_size).or_raise();
        result.fill(&BY_PREFIX, &[prefix.into(), end.into(), limit.into()]).0
    })
}

#[pg_extern(sql = false)]
fn customer_history<'call>(
    customer_id: Option<Uuid>,
    result: ResultSet<'call>,
) -> ResultSet<'call> {
    static HISTORY: Statement = Statement::new(
        c"SELECT position, event_id, type, version, occurred_at, changes, recorded_by, actor, reason
            FROM customers.events
           WHERE customer_id = $1
           ORDER BY version, position",
        &[UUIDOID],
    );
    as_data_owner(|| result.fill(&HISTORY, &[customer_id.into()]).0)
}

#[pg_extern(sql = false)]
fn customer_timeline<'call>(
    customer_id: Option<Uuid>,
    result: ResultSet<'call>,
) -> ResultSet<'call> {
    static TIMELINE: Statement = Statement::new(
        c"SELECT version, occurred_at, type,
                 ARRAY(SELECT field FROM unnest(ARRAY['email', 'name', 'status']) AS field
                        WHERE changes ? field),
                 recorded_by, actor, reason
            FROM customers.events
           WHERE customer_id = $1
           ORDER BY version, position",
        &[UUIDOID],
    );
    as_data_owner(|| result.fill(&TIMELINE, &[customer_id.into()]).0)
}

fn checked_page_size(page_size: Option<i32>) -> Result<i64, Refusal> {
    match page_size {
        Some(size @ 1..=MAX_PAGE_SIZE) => Ok(size.into()),
        _ => Err(Refusal::PageSize { max: MAX_PAGE_SIZE }),
    }
}
