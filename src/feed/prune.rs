//! Forgetting old events.

use super::consumers;
use crate::errors::{OrRefuse, Refusal};
use crate::exemption::{self, Work};
use crate::statement::Statement;
use pgrx::IntoDatum;
use pgrx::datum::Interval;
use pgrx::pg_sys::BuiltinOid::INTERVALOID;
use pgrx::prelude::*;

#[pg_extern(sql = false)]
fn prune_events(older_than: Option<Interval>) -> i64 {
    static PRUNE: Statement = Statement::new(
        c"WITH pruned AS (
          DELETE FROM customers.events
           WHERE occurred_at < now() - least($1, interval '6000 years')
             AND position <= coalesce((SELECT min(position) FROM customers.consumers), 9223372036854775807)
          RETURNING 1)
          SELECT count(*) FROM pruned",
        &[INTERVALOID],
    );
    let older_than = older_than.ok_or(Refusal::Missing("older_than")).or_refuse();
    if older_than.as_micros() < 0 {
        Refusal::Age.raise();
    }
    consumers::hold_still();
    let pruned = exemption::during(Work::Pruning, || PRUNE.value(&[older_than.into_datum()]));
    pruned.expect("a count")
}
