//! customers.feed_epochs: the position up to which the feed was pruned.

use crate::postgres::statement::{Statement, connected};
use pgrx::IntoDatum;
use pgrx::pg_sys::BuiltinOid::INT8OID;

/// The position of the last event that the active snapshot shows; None if there is none.
pub fn last_event() -> Option<i64> {
    static LAST: Statement = Statement::new(c"SELECT max(position) FROM customers.events", &[]);
    LAST.read_value(&[])
}

/// The highest position that was pruned, as the active snapshot has it; 0 where none was.
pub fn pruned_to() -> i64 {
    static PRUNED_TO: Statement =
        Statement::new(c"SELECT max(pruned_to) FROM customers.feed_epochs", &[]);
    PRUNED_TO.read_value(&[]).unwrap_or_default()
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
