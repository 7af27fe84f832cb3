//! Forgetting old events.

use crate::errors::{OrRefuse, Refusal};
use crate::statement::{Statement, connected};
use pgrx::IntoDatum;
use pgrx::datum::Interval;
use pgrx::pg_sys::BuiltinOid::INTERVALOID;
use pgrx::prelude::*;
use std::cell::Cell;

#[pg_extern(sql = false)]
fn prune_events(older_than: Option<Interval>) -> i64 {
    static PRUNE: Statement = Statement::new(
        c"WITH pruned AS (
          DELETE FROM customers.events
           WHERE occurred_at < now() - $1
             AND position <= coalesce((SELECT min(position) FROM customers.consumers), 9223372036854775807)
          RETURNING 1)
          SELECT count(*) FROM pruned",
        &[INTERVALOID],
    );
    let older_than = older_than.ok_or(Refusal::Missing("older_than")).or_refuse();
    if older_than.as_micros() < 0 {
        Refusal::Age.raise();
    }
    let mut pruned = None;
    while_pruning(|| {
        connected(|_| PRUNE.run(&[older_than.into_datum()], |row| pruned = row.get(1)));
    });
    pruned.expect("a count")
}

thread_local! {
    static PRUNING: Cell<bool> = const { Cell::new(false) };
}

/// Whether events may be deleted now, by the statement at hand and nobody else.
pub fn in_progress() -> bool {
    PRUNING.get()
}

fn while_pruning(work: impl FnOnce()) {
    struct Done;
    impl Drop for Done {
        fn drop(&mut self) {
            PRUNING.set(false);
        }
    }
    PRUNING.set(true);
    let _done = Done;
    work();
}
