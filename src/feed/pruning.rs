//! Pruning: deleting old events.

use super::epochs;
use super::positions::{self, with_bounds};
use crate::customer::data_owner::as_writing_data_owner;
use crate::customer::operation::{self, Operation};
use crate::postgres::error::OrRaise;
use crate::postgres::statement::Statement;
use crate::refusal::Refusal;
use pgrx::datum::Interval;
use pgrx::pg_sys::BuiltinOid::{INT8OID, INTERVALOID};
use pgrx::prelude::*;

/// The most events that one statement examines and deletes.
const CHUNK: i64 = 10_000;

#[pg_extern(sql = false)]
fn prune_events(older_than: Option<Interval>, max_events: Option<i32>) -> i64 {
    as_writing_data_owner(|| {
        let older_than = older_than.ok_or(Refusal::Missing { argument: "older_than" }).or_raise();
        if older_than.as_micros() < 0 {
            Refusal::Age.raise();
        }
        let max_events = match max_events {
            Some(..0) => Refusal::MaxEvents.raise(),
            Some(max) => i64::from(max),
            None => i64::MAX,
        };
        // An older snapshot would not see all that lies before what it deletes.
        positions::ensure_readable().or_raise();
        // What was pruned is kept with the latest epoch.
        positions::ensure_recorded();
        let prunes = Operation { prunes: true, ..Default::default() };
        operation::during(prunes, || prune(older_than, max_events))
    })
}

/// Deletes from the beginning of the feed, up to the first event that is too young, not acknowledged by
/// every consumer, or above the watermark. Takes no lock that subscribers or readers wait for: a consumer
/// that subscribes meanwhile, behind what is deleted, is refused with PT410 when it reads.
fn prune(older_than: Interval, max_events: i64) -> i64 {
    // The position of the last event to be deleted next; NULL if there is none.
    static LAST_OLD: Statement = Statement::new(
        c"WITH next AS (
          SELECT position, occurred_at < now() - least($1, interval '6000 years') AS is_old
            FROM customers.events
           WHERE position > $2
             AND position <= least($3, (SELECT min(position) FROM customers.consumers))
           ORDER BY position
           LIMIT $4)
          SELECT max(position)
            FROM next
           WHERE position < coalesce((SELECT min(position) FROM next WHERE NOT is_old), 9223372036854775807)",
        &[INTERVALOID, INT8OID, INT8OID, INT8OID],
    );
    static DELETE: Statement = Statement::new(
        c"WITH deleted AS (
          DELETE FROM customers.events WHERE position > $1 AND position <= $2 RETURNING 1)
          SELECT count(*) FROM deleted",
        &[INT8OID, INT8OID],
    );
    let (sequence, begin, complete_to) =
        with_bounds(|bounds| (bounds.sequence, bounds.pruned_to, bounds.complete_to));
    let (mut pruned_to, mut deleted) = (begin, 0);
    while deleted < max_events {
        let chunk = CHUNK.min(max_events - deleted);
        let params = [older_than.into(), pruned_to.into(), complete_to.into(), chunk.into()];
        let Some(last) = LAST_OLD.value::<i64>(&params) else { break };
        let count = DELETE.value::<i64>(&[pruned_to.into(), last.into()]);
        deleted += count.expect("a count");
        pruned_to = last;
    }
    if pruned_to > begin {
        epochs::store_pruned_to(pruned_to, sequence);
    }
    deleted
}
