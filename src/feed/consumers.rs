//! Named readers of the feed, whose place is kept in the database.

use super::read::{events_past, mark};
use super::watermark;
use crate::errors::{OrRefuse, Refusal};
use crate::rows::Rows;
use crate::statement::{Statement, connected};
use crate::table::{Name, Table, relation_oid};
use pgrx::IntoDatum;
use pgrx::pg_sys::BuiltinOid::{INT8OID, TEXTOID};
use pgrx::prelude::*;

/// The longest name of a consumer, in octets.
const MAX_NAME_OCTETS: usize = 200;

#[pg_extern(sql = false)]
fn subscribe(consumer: Option<&str>, after: Option<i64>) {
    static SUBSCRIBE: Statement = Statement::new(
        c"INSERT INTO customers.consumers (consumer, position) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        &[TEXTOID, INT8OID],
    );
    let consumer = named(consumer).or_refuse();
    let after = in_feed("after", after).or_refuse();
    hold_still();
    connected(|_| SUBSCRIBE.run(&[consumer.into_datum(), after.into_datum()], |_| {}));
}

#[pg_extern(sql = false)]
fn unsubscribe(consumer: Option<&str>) {
    static UNSUBSCRIBE: Statement =
        Statement::new(c"DELETE FROM customers.consumers WHERE consumer = $1", &[TEXTOID]);
    let consumer = named(consumer).or_refuse();
    connected(|_| UNSUBSCRIBE.run(&[consumer.into_datum()], |_| {}));
}

#[pg_extern(sql = false)]
fn fetch_events(consumer: Option<&str>, batch_size: Option<i32>) -> Rows {
    static PLACE: Statement = Statement::new(
        c"SELECT position FROM customers.consumers WHERE consumer = $1 FOR UPDATE",
        &[TEXTOID],
    );
    // First, because nothing can be locked on a standby.
    mark().or_refuse();
    let place = PLACE.value(&[consumer.into_datum()]).ok_or(Refusal::NoConsumer).or_refuse();
    events_past(place, batch_size).or_refuse()
}

#[pg_extern(sql = false)]
fn acknowledge(consumer: Option<&str>, position: Option<i64>) {
    static ACKNOWLEDGE: Statement = Statement::new(
        c"UPDATE customers.consumers
             SET position = greatest(position, $2), acknowledged_at = now()
           WHERE consumer = $1
           RETURNING position",
        &[TEXTOID, INT8OID],
    );
    let upto = in_feed("position", position).or_refuse();
    ACKNOWLEDGE
        .value::<i64>(&[consumer.into_datum(), upto.into_datum()])
        .ok_or(Refusal::NoConsumer)
        .or_refuse();
}

/// Keeps the set of consumers as it is while events are pruned: one who subscribed meanwhile would have read
/// events that then go, and miss the ones after them. Nobody who reads or acknowledges waits.
pub fn hold_still() {
    Table::open(Name::Consumers, pg_sys::ShareUpdateExclusiveLock).close();
}

fn named(consumer: Option<&str>) -> Result<&str, Refusal> {
    let consumer = consumer.ok_or(Refusal::Missing("consumer"))?;
    if (1..=MAX_NAME_OCTETS).contains(&consumer.len()) {
        Ok(consumer)
    } else {
        Err(Refusal::ConsumerName { max: MAX_NAME_OCTETS })
    }
}

fn in_feed(argument: &'static str, position: Option<i64>) -> Result<i64, Refusal> {
    let position = position.ok_or(Refusal::Missing(argument))?;
    let last = watermark::last_position(relation_oid(Name::Positions));
    if (0..=last).contains(&position) { Ok(position) } else { Err(Refusal::BeyondFeed) }
}
