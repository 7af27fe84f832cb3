//! Reading the feed: by position.

use super::watermark::{self, Watermark};
use crate::errors::{OrRefuse, Refusal};
use crate::rows::Rows;
use crate::statement::Statement;
use crate::table::{Name, relation_oid};
use pgrx::IntoDatum;
use pgrx::pg_sys::BuiltinOid::INT8OID;
use pgrx::prelude::*;

const MAX_BATCH_SIZE: i32 = 10_000;

#[pg_extern(sql = false)]
fn read_events(after: Option<i64>, batch_size: Option<i32>) -> Rows {
    let after = after.ok_or(Refusal::Missing("after")).or_refuse();
    events_past(after, batch_size).or_refuse()
}

/// A batch of events past a position.
pub fn events_past(after: i64, batch_size: Option<i32>) -> Result<Rows, Refusal> {
    // The shapes are those of the contract's schemas.
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
    let mark = mark()?;
    if after < 0 || after > mark.last {
        return Err(Refusal::BeyondFeed);
    }
    let params = [after, mark.complete_to, limit].map(IntoDatum::into_datum);
    // The snapshot has to be newer than the mark: see watermark.
    Ok(Rows::Latest(&READ, params.to_vec()))
}

/// How far the feed goes, refused where nobody could tell.
pub fn mark() -> Result<Watermark, Refusal> {
    // SAFETY: plain reads.
    unsafe {
        if pg_sys::RecoveryInProgress() {
            return Err(Refusal::Standby);
        }
        if pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as i32 {
            return Err(Refusal::Isolation);
        }
    }
    Ok(watermark::read(relation_oid(Name::Positions)))
}
