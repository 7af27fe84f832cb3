//! Reading the feed by position.

use super::epochs;
use super::positions::{self, Feed};
use crate::customer::data_owner::as_data_owner;
use crate::postgres::error::OrRaise;
use crate::postgres::result_set::ResultSet;
use crate::postgres::statement::Statement;
use crate::postgres::transaction::{flush_what_is_visible, with_latest_snapshot};
use crate::refusal::Refusal;
use pgrx::IntoDatum;
use pgrx::pg_sys::BuiltinOid::INT8OID;
use pgrx::prelude::*;

const MAX_BATCH_SIZE: i32 = 10_000;

#[pg_extern(sql = false)]
fn read_events<'call>(
    after: Option<i64>,
    batch_size: Option<i32>,
    result: ResultSet<'call>,
) -> ResultSet<'call> {
    as_data_owner(|| {
        let after = after.ok_or(Refusal::Missing { argument: "after" }).or_raise();
        positions::ensure_readable().or_raise();
        events_past(after, batch_size, result).or_raise()
    })
}

/// A batch of events past a position. Flushed before it is returned, so that a crash cannot lose an event
/// whose position the reader has stored.
pub fn events_past<'call>(
    after: i64,
    batch_size: Option<i32>,
    result: ResultSet<'call>,
) -> Result<ResultSet<'call>, Refusal> {
    // The JSON objects have the form of the contract's schemas.
    static READ: Statement = Statement::new(
        c"SELECT position, event_id, type, customer_id, version, occurred_at,
                 CASE type
                 WHEN 'customer-registered' THEN
                      jsonb_build_object('eventId', event_id, 'occurredAt', occurred_at, 'version', version,
                          'customer', jsonb_build_object('customerId', customer_id) || changes)
                 WHEN 'customer-updated' THEN
                      jsonb_build_object('eventId', event_id, 'occurredAt', occurred_at, 'version', version,
                          'customerId', customer_id, 'changes', changes)
                 ELSE jsonb_build_object('eventId', event_id, 'occurredAt', occurred_at, 'version', version,
                          'customerId', customer_id)
                 END
            FROM customers.events
           WHERE position > $1 AND position <= $2
           ORDER BY position
           LIMIT $3",
        &[INT8OID, INT8OID, INT8OID],
    )
    .with_one_plan();
    let limit = match batch_size {
        Some(size @ 1..=MAX_BATCH_SIZE) => i64::from(size),
        _ => return Err(Refusal::BatchSize { max: MAX_BATCH_SIZE }),
    };
    let feed = Feed::look();
    // The snapshot must be newer than the watermark; what was pruned and what is left must be read with the
    // same one.
    let (result, count) = with_latest_snapshot(|| {
        feed.check_place(after)?;
        let params = [after, feed.complete_to(), limit].map(IntoDatum::into_datum);
        Ok::<_, Refusal>(result.fill(&READ, &params))
    })?;
    if count > 0 {
        flush_what_is_visible();
    }
    Ok(result)
}

#[pg_extern(sql = false)]
fn feed_position() -> i64 {
    as_data_owner(|| {
        positions::ensure_readable().or_raise();
        end_of_feed()
    })
}

/// The position of the last event up to the watermark; if there is none, the last pruned position.
pub fn end_of_feed() -> i64 {
    static LAST: Statement = Statement::new(
        c"SELECT max(position) FROM customers.events WHERE position <= $1",
        &[INT8OID],
    );
    let feed = Feed::look();
    let end = with_latest_snapshot(|| {
        let last = LAST.read_value::<i64>(&[feed.complete_to().into_datum()]);
        last.unwrap_or_default().max(epochs::pruned_to())
    });
    flush_what_is_visible();
    end
}
