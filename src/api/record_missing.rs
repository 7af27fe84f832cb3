//! Recording what the feed does not know: customers of an adopted table, and changes made past the triggers.

use crate::customer::data_owner::as_writing_data_owner;
use crate::customer::operation::{self, Operation, Republished};
use crate::feed::positions::ensure_readable;
use crate::postgres::error::OrRaise;
use crate::postgres::statement::{Statement, connected, sql};
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
            include_str!("../../sql/verify/unrecorded_customers.sql"),
            " ORDER BY customer_id LIMIT $1"
        ),
        &[INT8OID],
    );
    // Writes nothing new; the triggers see each row, and record it as it stands.
    static REPUBLISH: Statement = Statement::new(
        c"UPDATE customers.customers SET status = status WHERE customer_id = ANY ($1)",
        &[UUIDARRAYOID],
    );
    as_writing_data_owner(|| {
        if max_customers.is_some_and(|max| max < 0) {
            Refusal::MaxCustomers.raise();
        }
        // An older snapshot would not see all events.
        ensure_readable().or_raise();
        let (mut unknown, mut differing) = (Vec::<Uuid>::new(), Vec::<Uuid>::new());
        connected(|_| {
            UNRECORDED.run(&[max_customers.map_or(i64::MAX, i64::from).into()], |row| {
                let is_unknown = row.get(2) == Some(true);
                let list = if is_unknown { &mut unknown } else { &mut differing };
                list.extend(row.get::<Uuid>(1));
            });
        });
        let recorded = unknown.len() + differing.len();
        for (customers, how) in
            [(unknown, Republished::Registered), (differing, Republished::Updated)]
        {
            let republishes = Operation { republishes: Some(how), ..Default::default() };
            operation::during(republishes, || {
                for chunk in customers.chunks(CHUNK) {
                    connected(|_| REPUBLISH.run(&[chunk.to_vec().into()], |_| {}));
                }
            });
        }
        recorded as i64
    })
}
