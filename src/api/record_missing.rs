//! Recording what the feed does not know: customers of an adopted table, and changes made past the triggers.

use crate::customer::data_owner::as_writing_data_owner;
use crate::customer::operation::{self, Operation, Republished, Republishing};
use crate::customer::schema::broken_customer;
use crate::feed::positions::ensure_readable;
use crate::postgres::error::OrRaise;
use crate::postgres::statement::{Statement, connected, sql};
use crate::postgres::typed_datum::TypedDatum;
use crate::refusal::Refusal;
use pgrx::Uuid;
use pgrx::pg_sys::BuiltinOid::{INT8OID, UUIDARRAYOID};
use pgrx::prelude::*;

/// The most customers that one statement records.
const CHUNK: usize = 10_000;

#[pg_extern(sql = false)]
fn record_missing_events(max_customers: Option<i32>) -> i64 {
    static UNRECORDED: Statement = Statement::new(
        sql!(
            "WITH candidate AS (SELECT * FROM customers.customers), event AS (SELECT * FROM customers.events), ",
            include_str!("../../sql/verify/unrecorded_customers.sql"),
            " ORDER BY customer_id LIMIT $1"
        ),
        &[INT8OID],
    );
    as_writing_data_owner(|| {
        if max_customers.is_some_and(|max| max < 0) {
            Refusal::MaxCustomers.raise();
        }
        // An older snapshot would not see all events.
        ensure_readable().or_raise();
        let max = max_customers.map_or(i64::MAX, i64::from);
        let found = customers(&UNRECORDED, &[max.into()]);
        let found: Vec<Uuid> = found.into_iter().map(|(id, _)| id).collect();
        found.chunks(CHUNK).map(record).sum()
    })
}

/// Records those of these customers that are still unrecorded once they are locked: others may have changed, erased or
/// recorded them meanwhile. Refuses if one breaks a rule, as it may where it was written past the triggers: consumers
/// count on the rules.
fn record(found: &[Uuid]) -> i64 {
    static LOCK: Statement = Statement::new(
        c"SELECT true FROM customers.customers WHERE customer_id = ANY ($1)
           ORDER BY customer_id FOR NO KEY UPDATE",
        &[UUIDARRAYOID],
    );
    static BROKEN: Statement = Statement::new(
        sql!(
            "SELECT count(*) FROM customers.customers WHERE customer_id = ANY ($1) AND (",
            broken_customer!(),
            ")"
        ),
        &[UUIDARRAYOID],
    );
    static UNRECORDED: Statement = Statement::new(
        sql!(
            "WITH candidate AS (SELECT * FROM customers.customers WHERE customer_id = ANY ($1)),
                  event AS (SELECT * FROM customers.events WHERE customer_id = ANY ($1)), ",
            include_str!("../../sql/verify/unrecorded_customers.sql")
        ),
        &[UUIDARRAYOID],
    );
    // Writes nothing new; the triggers see each row, and record it as it stands.
    static REPUBLISH: Statement = Statement::new(
        c"UPDATE customers.customers SET status = status WHERE customer_id = ANY ($1) RETURNING true",
        &[UUIDARRAYOID],
    );
    let ids = [found.to_vec().into()];
    connected(|_| LOCK.run(&ids, |_| {}));
    if let Some(rows @ 1..) = BROKEN.value(&ids) {
        Refusal::BrokenRules { rows }.raise();
    }
    let (unknown, differing): (Vec<_>, Vec<_>) =
        customers(&UNRECORDED, &ids).into_iter().partition(|(_, is_unknown)| *is_unknown);
    let mut recorded = 0;
    for (customers, how) in [(unknown, Republished::Registered), (differing, Republished::Updated)]
    {
        if customers.is_empty() {
            continue;
        }
        let ids: Vec<Uuid> = customers.into_iter().map(|(id, _)| id).collect();
        let customers = ids.iter().copied().collect();
        let republishes = Some(Republishing { how, customers, command: None });
        operation::during(Operation { republishes, ..Default::default() }, || {
            connected(|_| REPUBLISH.run(&[ids.into()], |_| recorded += 1));
        });
    }
    recorded
}

/// The customers that a statement returns, each with whether no event of it is there.
fn customers(statement: &Statement, params: &[TypedDatum]) -> Vec<(Uuid, bool)> {
    let mut customers = Vec::new();
    connected(|_| {
        statement.run(params, |row| {
            customers.extend(row.get(1).map(|id| (id, row.get(2) == Some(true))));
        });
    });
    customers
}
