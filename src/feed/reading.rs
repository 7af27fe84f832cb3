//! Reading the feed by position.

use super::document::{Head, document};
use super::epochs;
use super::event::{Type, hyphenated};
use super::positions::{self, with_bounds};
use crate::customer::data_owner::as_data_owner;
use crate::postgres::error::OrRaise;
use crate::postgres::result_set::ResultSet;
use crate::postgres::statement::{Statement, connected};
use crate::postgres::text::Text;
use crate::postgres::transaction::flush_what_is_visible;
use crate::postgres::typed_datum::TypedDatum;
use crate::refusal::Refusal;
use pgrx::PgMemoryContexts;
use pgrx::pg_sys::BuiltinOid::{self, INT8OID, JSONBOID, TEXTOID, TIMESTAMPTZOID, UUIDOID};
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
    static READ: Statement = Statement::new(
        c"SELECT position, event_id, type, customer_id, version, occurred_at, changes
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
    let (count, read_to) = with_bounds(|bounds| {
        bounds.check_position(after)?;
        let params = [after, bounds.complete_to, limit].map(TypedDatum::from);
        let mut writer = result.writer(COLUMNS);
        let mut scratch = PgMemoryContexts::new("customer_db event");
        let mut count = 0;
        connected(|_| {
            READ.read(&params, |row| {
                let event = row.values(COLUMNS);
                // SAFETY: nothing that was allocated for the row is in use once it was put into the set.
                unsafe {
                    scratch.switch_to(|_| writer.put(with_document(event)));
                    scratch.reset();
                }
                count += 1;
            });
        });
        Ok::<_, Refusal>((count, bounds.read_to))
    })?;
    if count > 0 {
        epochs::store_read(read_to);
        flush_what_is_visible();
    }
    Ok(result)
}

/// The columns of an event as it is stored and as it is returned, with the document in place of the changes.
const COLUMNS: [BuiltinOid; 7] =
    [INT8OID, UUIDOID, TEXTOID, UUIDOID, INT8OID, TIMESTAMPTZOID, JSONBOID];

fn with_document(event: [TypedDatum<'_>; COLUMNS.len()]) -> [TypedDatum<'_>; COLUMNS.len()] {
    let [position, event_id, r#type, customer_id, version, occurred_at, changes] = event;
    let head = || {
        Some(Head {
            event_id: hyphenated(&event_id.get()?),
            occurred_at: occurred_at.get()?,
            version: version.get()?,
            customer_id: hyphenated(&customer_id.get()?),
        })
    };
    // An event of a type that is not of this extension has no content.
    let parsed = r#type.get().and_then(|name: Text| Type::parse(name.bytes()));
    let document = head().zip(changes.get()).map(|(head, changes)| document(parsed, head, changes));
    let document = TypedDatum::received(document);
    [position, event_id, r#type, customer_id, version, occurred_at, document]
}

#[pg_extern(sql = false)]
fn feed_position() -> i64 {
    as_data_owner(|| {
        positions::ensure_readable().or_raise();
        end_of_feed()
    })
}

/// The position of the last event up to the watermark; if there is none, the last pruned position. Readers may count on
/// it: it is stored and flushed first.
pub fn end_of_feed() -> i64 {
    let (end, read_to) = find_end();
    epochs::store_read(read_to);
    flush_what_is_visible();
    end
}

/// The same, and up to where the feed was read by looking; nothing is stored or flushed.
pub fn find_end() -> (i64, i64) {
    static LAST: Statement = Statement::new(
        c"SELECT max(position) FROM customers.events WHERE position <= $1",
        &[INT8OID],
    );
    with_bounds(|bounds| {
        let last = LAST.read_value::<i64>(&[bounds.complete_to.into()]);
        (last.unwrap_or_default().max(bounds.pruned_to), bounds.read_to)
    })
}
