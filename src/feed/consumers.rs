//! Consumers: named readers of the feed whose position the database keeps.

use super::positions::{self, with_bounds};
use super::reading::{end_of_feed, events_past};
use crate::customer::data_owner::as_writing_data_owner;
use crate::postgres::error::OrRaise;
use crate::postgres::result_set::ResultSet;
use crate::postgres::statement::{Statement, connected};
use crate::postgres::text::Text;
use crate::postgres::transaction::sleep;
use crate::refusal::Refusal;
use pgrx::pg_sys::BuiltinOid::{INT8OID, TEXTOID};
use pgrx::prelude::*;
use std::time::Duration;

/// The longest name of a consumer, in octets.
const MAX_NAME_OCTETS: usize = 200;

#[pg_extern(sql = false)]
fn subscribe(consumer: Option<Text<'_>>, after: Option<i64>) {
    static POSITION: Statement =
        Statement::new(c"SELECT position FROM customers.consumers WHERE consumer = $1", &[TEXTOID]);
    static SUBSCRIBE: Statement = Statement::new(
        c"INSERT INTO customers.consumers (consumer, position) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        &[TEXTOID, INT8OID],
    );
    as_writing_data_owner(|| {
        let consumer = named(consumer).or_raise().into();
        let after = given(after, "after").or_raise();
        // The place that the database keeps is set back with it; the consumer knows how far it was.
        with_bounds(|bounds| bounds.refuse_lost(after)).or_raise();
        if POSITION.read_value::<i64>(&[consumer]).is_some() {
            return;
        }
        ensure_read(after).or_raise();
        with_bounds(|bounds| bounds.check_position(after)).or_raise();
        connected(|_| SUBSCRIBE.run(&[consumer, after.into()], |_| {}));
    });
}

#[pg_extern(sql = false)]
fn unsubscribe(consumer: Option<Text<'_>>) {
    static UNSUBSCRIBE: Statement =
        Statement::new(c"DELETE FROM customers.consumers WHERE consumer = $1", &[TEXTOID]);
    as_writing_data_owner(|| {
        let consumer = named(consumer).or_raise();
        connected(|_| UNSUBSCRIBE.run(&[consumer.into()], |_| {}));
    });
}

#[pg_extern(sql = false)]
fn fetch_events<'call>(
    consumer: Option<Text<'_>>,
    batch_size: Option<i32>,
    result: ResultSet<'call>,
) -> ResultSet<'call> {
    // The lock is a write.
    as_writing_data_owner(|| {
        let consumer = existing(consumer).or_raise();
        positions::ensure_readable().or_raise();
        let position = lock_position(consumer).or_raise();
        events_past(position, batch_size, result).or_raise()
    })
}

/// A consumer's position, with its row locked to the end of the transaction.
fn lock_position(consumer: &str) -> Result<i64, Refusal> {
    static POSITION: Statement = Statement::new(
        c"SELECT position FROM customers.consumers WHERE consumer = $1 FOR UPDATE",
        &[TEXTOID],
    );
    POSITION.value(&[consumer.into()]).ok_or(Refusal::NoConsumer)
}

#[pg_extern(sql = false)]
fn acknowledge(consumer: Option<Text<'_>>, up_to: Option<i64>) {
    static ACKNOWLEDGE: Statement = Statement::new(
        c"UPDATE customers.consumers
             SET position = greatest(position, $2), acknowledged_at = now()
           WHERE consumer = $1",
        &[TEXTOID, INT8OID],
    );
    as_writing_data_owner(|| {
        let consumer = existing(consumer).or_raise();
        let up_to = given(up_to, "up_to").or_raise();
        let position = lock_position(consumer).or_raise();
        // Nobody can have read a position beyond the end of the feed. Acknowledging it would skip events
        // that are still to be committed.
        if up_to > position {
            ensure_read(up_to).or_raise();
        }
        connected(|_| ACKNOWLEDGE.run(&[consumer.into(), up_to.into()], |_| {}));
    });
}

/// Refuses a position that no reader can have reached. Retries for about 100 ms: a writer that is taking
/// its lock can briefly move the watermark back behind what was read, see `positions`.
fn ensure_read(position: i64) -> Result<(), Refusal> {
    const ATTEMPTS: usize = 50;
    let read = || position <= end_of_feed();
    let seen = (0..ATTEMPTS).any(|attempt| {
        if attempt > 0 {
            sleep(Duration::from_millis(2));
        }
        read()
    });
    if seen { Ok(()) } else { Err(Refusal::BeyondFeed) }
}

fn named(consumer: Option<Text<'_>>) -> Result<&str, Refusal> {
    let consumer = consumer.ok_or(Refusal::Missing { argument: "consumer" })?;
    if !(1..=MAX_NAME_OCTETS).contains(&consumer.octets()) {
        return Err(Refusal::ConsumerName { max: MAX_NAME_OCTETS });
    }
    consumer.utf8("consumer")
}

/// The name of a consumer that must exist. A name of invalid length belongs to no consumer, so it is
/// refused as unknown.
fn existing(consumer: Option<Text<'_>>) -> Result<&str, Refusal> {
    let consumer = consumer.filter(|name| (1..=MAX_NAME_OCTETS).contains(&name.octets()));
    consumer.ok_or(Refusal::NoConsumer)?.utf8("consumer")
}

fn given(position: Option<i64>, argument: &'static str) -> Result<i64, Refusal> {
    match position {
        None => Err(Refusal::Missing { argument }),
        Some(..0) => Err(Refusal::NegativePosition),
        Some(position) => Ok(position),
    }
}
