//! Reading the feed by position.

use super::document::{Head, document};
use super::epochs;
use super::event::{Type, hyphenated};
use super::positions::{self, with_bounds};
use crate::customer::data_owner::as_data_owner;
use crate::postgres::error::OrRaise;
use crate::postgres::jsonb::Jsonb;
use crate::postgres::result_set::ResultSet;
use crate::postgres::statement::{Param, Statement, connected};
use crate::postgres::text::Text;
use crate::postgres::timestamp::Timestamp;
use crate::postgres::transaction::flush_what_is_visible;
use crate::refusal::Refusal;
use pgrx::pg_sys::BuiltinOid::{self, INT8OID, JSONBOID, TEXTOID, TIMESTAMPTZOID, UUIDOID};
use pgrx::prelude::*;
use pgrx::{FromDatum, IntoDatum, PgMemoryContexts, Uuid};

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
        let params = [after, bounds.complete_to, limit].map(IntoDatum::into_datum);
        let mut writer = result.writer(COLUMNS);
        let mut scratch = PgMemoryContexts::new("customer_db event");
        let mut count = 0;
        connected(|_| {
            READ.read(&params, |row| {
                let event = row.values(COLUMNS);
                // SAFETY: the values are of these types, and live as long as the row. Nothing that was
                // allocated for the row is in use once it was put into the set.
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

/// # Safety
/// The values are of the types of [`COLUMNS`], and live.
unsafe fn with_document(event: [Param; COLUMNS.len()]) -> [Param; COLUMNS.len()] {
    let [position, event_id, r#type, customer_id, version, occurred_at, changes] = event;
    // SAFETY: promised by the caller.
    let document = unsafe {
        let uuid = |value| Uuid::from_datum(value, false).map(|id| hyphenated(&id));
        let head = || {
            Some(Head {
                event_id: uuid(event_id?)?,
                occurred_at: Timestamp(occurred_at?.value() as i64),
                version: version?.value() as i64,
                customer_id: uuid(customer_id?)?,
            })
        };
        // An event of a type that is not of this extension has no content.
        let parsed = r#type.and_then(|name| Type::parse(Text::new(name).bytes()));
        let changes = changes.map(|changes| Jsonb::new(changes));
        head().zip(changes).map(|(head, changes)| document(parsed, head, changes))
    };
    [position, event_id, r#type, customer_id, version, occurred_at, document]
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
    let (end, read_to) = with_bounds(|bounds| {
        let last = LAST.read_value::<i64>(&[bounds.complete_to.into_datum()]);
        (last.unwrap_or_default().max(bounds.pruned_to), bounds.read_to)
    });
    epochs::store_read(read_to);
    flush_what_is_visible();
    end
}
