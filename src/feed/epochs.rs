//! customers.feed_epochs: the position up to which the feed was pruned.

use crate::postgres::statement::{Statement, connected};
use pgrx::IntoDatum;
use pgrx::pg_sys::BuiltinOid::INT8OID;

/// The position of the last event that the active snapshot shows; None if there is none.
pub fn last_event() -> Option<i64> {
    static LAST: Statement = Statement::new(c"SELECT max(position) FROM customers.events", &[]);
    LAST.read_value(&[])
}

/// The highest pruned position that the active snapshot shows; 0 if nothing was pruned.
///
/// `last` is the last position drawn, `last_event` the position of the last event at that time. A feed
/// without events, beside existing customers, was restored without them: it counts as pruned up to `last`.
pub fn pruned_to(last: i64, last_event: Option<i64>) -> i64 {
    static PRUNED_TO: Statement =
        Statement::new(c"SELECT max(pruned_to) FROM customers.feed_epochs", &[]);
    static HAS_CUSTOMERS: Statement =
        Statement::new(c"SELECT EXISTS (SELECT FROM customers.customers)", &[]);
    let kept = PRUNED_TO.read_value(&[]).unwrap_or_default();
    if last_event.is_none() && last > kept && HAS_CUSTOMERS.read_value(&[]) == Some(true) {
        last
    } else {
        kept
    }
}

/// Stores the position up to which the feed was pruned, for readers and for dumps.
pub fn keep_pruned_to(position: i64) {
    static KEEP: Statement = Statement::new(
        c"INSERT INTO customers.feed_epochs AS kept (epoch, first_position, previous_end, began_at, pruned_to)
          SELECT coalesce(max(epoch), 1), 1, 0, now(), $1 FROM customers.feed_epochs
          ON CONFLICT (epoch) DO UPDATE SET pruned_to = greatest(kept.pruned_to, excluded.pruned_to)",
        &[INT8OID],
    );
    connected(|_| KEEP.run(&[position.into_datum()], |_| {}));
}
