//! The reads. Each is one statement, run with the caller's snapshot.

use crate::errors::{OrRefuse, Refusal};
use crate::profile::profile_columns;
use crate::rows::Rows;
use crate::rules::email;
use crate::rules::status::Status;
use crate::statement::{Statement, sql};
use pgrx::pg_sys::BuiltinOid::{INT8OID, TEXTOID, UUIDOID};
use pgrx::prelude::*;
use pgrx::{IntoDatum, Uuid};

const MAX_PAGE_SIZE: i32 = 1000;

macro_rules! select_profile {
    ($rest:literal) => {
        sql!("SELECT ", profile_columns!(), " FROM customers.customers ", $rest)
    };
}

pub static BY_ID: Statement = Statement::new(select_profile!("WHERE customer_id = $1"), &[UUIDOID]);

#[pg_extern(sql = false)]
fn get_customer(customer_id: Option<Uuid>) -> Rows {
    customer_id.map_or(Rows::None, Rows::Customer)
}

#[pg_extern(sql = false)]
fn find_customer(email: Option<&str>) -> Rows {
    static BY_EMAIL: Statement = Statement::new(select_profile!("WHERE email = $1"), &[TEXTOID]);
    let email = email.ok_or(Refusal::Missing("email")).or_refuse();
    // No customer holds a reserved address as one to be found by: erasure has freed the person's own.
    Rows::Of(&BY_EMAIL, vec![email::canonical(email).or_refuse().into_datum()])
}

#[pg_extern(sql = false)]
fn list_customers(status: Option<&str>, after: Option<Uuid>, page_size: Option<i32>) -> Rows {
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
    let limit = checked_page_size(page_size).or_refuse().into_datum();
    let after = after.into_datum();
    match status {
        None => Rows::Of(&ALL, vec![after, limit]),
        Some(status) => {
            Status::parse(status).or_refuse();
            Rows::Of(&IN_STATUS, vec![after, limit, status.into_datum()])
        }
    }
}

#[pg_extern(sql = false)]
fn search_customers(prefix: Option<&str>, page_size: Option<i32>) -> Rows {
    // Addresses compare by their bytes (COLLATE "C"), so those that begin alike stand together in the
    // unique index; no address holds the noncharacter that ends the range.
    static BY_PREFIX: Statement = Statement::new(
        select_profile!(
            "WHERE email COLLATE \"C\" >= $1 AND email COLLATE \"C\" < $2
             ORDER BY email COLLATE \"C\" LIMIT $3"
        ),
        &[TEXTOID, TEXTOID, INT8OID],
    );
    let prefix = prefix.ok_or(Refusal::Missing("prefix")).or_refuse();
    let prefix = email::canonical_prefix(prefix).or_refuse();
    let end = format!("{prefix}\u{10FFFF}");
    let limit = checked_page_size(page_size).or_refuse();
    Rows::Of(&BY_PREFIX, vec![prefix.into_datum(), end.into_datum(), limit.into_datum()])
}

#[pg_extern(sql = false)]
fn customer_history(customer_id: Option<Uuid>) -> Rows {
    static HISTORY: Statement = Statement::new(
        c"SELECT position, event_id, type, version, occurred_at, changes, recorded_by, actor, reason
            FROM customers.events
           WHERE customer_id = $1
           ORDER BY version, position",
        &[UUIDOID],
    );
    Rows::Of(&HISTORY, vec![customer_id.into_datum()])
}

#[pg_extern(sql = false)]
fn customer_timeline(customer_id: Option<Uuid>) -> Rows {
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
    Rows::Of(&TIMELINE, vec![customer_id.into_datum()])
}

fn checked_page_size(page_size: Option<i32>) -> Result<i64, Refusal> {
    match page_size {
        Some(size @ 1..=MAX_PAGE_SIZE) => Ok(size.into()),
        _ => Err(Refusal::PageSize { max: MAX_PAGE_SIZE }),
    }
}
