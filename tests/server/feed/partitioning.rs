//! Promise: the feed may be partitioned by the recipe of doc/partitioning.md: it stays append-only in every partition,
//! and detaching the first one counts as pruning.

use crate::kit::history::{positions_after, recorded, register};
use crate::kit::{
    Database, assert_refused, call, database, fetched, one, positions, register_ann, registered,
};
use postgres::Client;

const NEXT_EPOCH: i64 = 10_000_000_000;

/// The blocks of SQL of the page: converting, adding a partition, detaching the oldest.
fn recipe() -> [&'static str; 3] {
    let page = include_str!("../../../doc/partitioning.md");
    let blocks: Vec<_> = page
        .split("```sql\n")
        .skip(1)
        .map(|block| block.split_once("```").expect("a block ends").0)
        .collect();
    blocks.try_into().expect("three blocks")
}

/// A database with 5 events before and 3 after the conversion.
fn converted() -> (Database<'static>, Client) {
    let database = database();
    let mut client = database.connect();
    register(&mut client, 5);
    client.batch_execute("SELECT customers.subscribe('mailer')").unwrap();
    client.batch_execute(recipe()[0]).unwrap();
    register(&mut client, 3);
    (database, client)
}

#[test]
fn a_feed_that_is_partitioned_goes_on_and_refuses_no_reader() {
    let (database, mut client) = converted();
    let after = [NEXT_EPOCH, NEXT_EPOCH + 1, NEXT_EPOCH + 2];
    for client in [&mut client, &mut database.connect()] {
        assert_eq!(positions_after(client, 5), after);
        assert_eq!(positions_after(client, 2), [&[3, 4, 5][..], &after].concat());
        assert_eq!(fetched(client, "fetch_events('mailer', 6)"), [1, 2, 3, 4, 5, NEXT_EPOCH]);
    }
    let partition = "SELECT tableoid::regclass::text FROM customers.events WHERE position = $1";
    assert_eq!(one::<String>(&mut client, partition, &[&NEXT_EPOCH]), "customers.events_2");

    // Every kind of change is recorded, and an erased customer is erased in every partition.
    let ann = register_ann(&mut client);
    call(&mut client, "update_customer($1, name => 'Anna')", &[&ann.id]).unwrap();
    client.batch_execute("INSERT INTO customers.customers (email) VALUES ('bob@example.com'), ('eve@example.com')").unwrap();
    call(&mut client, "erase_customer($1)", &[&ann.id]).unwrap();
    assert!(recorded(&mut client).iter().all(|event| !event.contains("Ann")));
    let versions = "SELECT count(*) FROM customers.customer_history($1)";
    assert_eq!(one::<i64>(&mut client, versions, &[&ann.id]), 3);
}

#[test]
fn a_partitioned_feed_is_append_only_in_every_partition() {
    let (_database, mut client) = converted();
    client.batch_execute(recipe()[1]).unwrap();
    let before = recorded(&mut client);
    for table in ["events", "events_1", "events_2", "events_3", "events_rest"] {
        for change in [
            format!("UPDATE customers.{table} SET type = 'other'"),
            format!("UPDATE customers.{table} SET position = DEFAULT"),
            format!("DELETE FROM customers.{table}"),
            format!("TRUNCATE customers.{table}"),
        ] {
            let changed = client.batch_execute(&change);
            assert_refused(changed.inspect(|()| eprintln!("{change}")), "23514", &[]);
        }
    }
    assert_eq!(recorded(&mut client), before);
    // Pruning still works, one event at a time.
    client.batch_execute("SELECT customers.acknowledge('mailer', 2)").unwrap();
    assert_eq!(one::<i64>(&mut client, "SELECT customers.prune_events('0 days')", &[]), 2);
    assert_eq!(positions(&mut client)[0], 3);
}

#[test]
fn detaching_the_first_partition_counts_as_pruning() {
    let (database, mut client) = converted();
    let mut living = database.connect();
    assert_eq!(positions_after(&mut living, 0).len(), 8);
    client.batch_execute(recipe()[2]).unwrap();
    for client in [&mut living, &mut client, &mut database.connect()] {
        for place in [0, 4] {
            let read = client.query("SELECT customers.read_events($1)", &[&i64::from(place)]);
            assert_refused(read, "PT410", &[]);
        }
        assert_refused(client.query("SELECT customers.fetch_events('mailer')", &[]), "PT410", &[]);
        // Who has read all that was in it goes on.
        assert_eq!(positions_after(client, 5).len(), 3);
        assert_eq!(positions_after(client, NEXT_EPOCH), [NEXT_EPOCH + 1, NEXT_EPOCH + 2]);
        let place: i64 = one(client, "SELECT customers.feed_position()", &[]);
        assert_eq!(positions_after(client, place), [0; 0]);
    }
    registered(&mut living);
    assert_eq!(positions_after(&mut living, NEXT_EPOCH + 2), [NEXT_EPOCH + 3]);
}

#[test]
fn a_partition_that_is_detached_before_the_next_change_counts_as_pruned_too() {
    let database = database();
    let mut client = database.connect();
    register(&mut client, 5);
    client.batch_execute(recipe()[0]).unwrap();
    client.batch_execute(recipe()[2]).unwrap();
    for _ in 0..2 {
        for client in [&mut client, &mut database.connect()] {
            let read = client.query("SELECT customers.read_events(0)", &[]);
            assert_refused(read, "PT410", &[]);
            let subscribed = client.query("SELECT customers.subscribe('late')", &[]);
            assert_refused(subscribed, "PT410", &[]);
        }
        registered(&mut client);
    }
    let place: i64 = one(&mut client, "SELECT customers.feed_position()", &[]);
    assert_eq!(place, NEXT_EPOCH + 1);
}

#[test]
fn a_failover_beyond_every_partition_finds_the_default_one() {
    let (database, mut client) = converted();
    client
        .batch_execute(
            "UPDATE customers.feed_epochs SET history = 'ended'
              WHERE epoch = (SELECT max(epoch) FROM customers.feed_epochs)",
        )
        .unwrap();
    let mut new = database.connect();
    registered(&mut new);
    assert_eq!(positions(&mut new).last(), Some(&(2 * NEXT_EPOCH)));
    assert_eq!(positions_after(&mut new, NEXT_EPOCH + 2), [2 * NEXT_EPOCH]);
}

#[test]
fn a_dump_carries_the_partitions() {
    let (database, _client) = converted();
    let copy = database.copy();
    let mut client = copy.connect();
    registered(&mut client);
    assert_eq!(positions_after(&mut client, 4).len(), 5);
    assert_refused(client.batch_execute("TRUNCATE customers.events_1"), "23514", &[]);
}

/// The bound of a partition is a position only if the feed is partitioned by position.
#[test]
fn a_feed_that_is_partitioned_by_another_number_is_not_taken_for_pruned() {
    let database = database();
    let mut client = database.connect();
    client
        .batch_execute(
            "DROP TABLE customers.events;
             CREATE TABLE customers.events (
                 version bigint NOT NULL, position bigint GENERATED ALWAYS AS IDENTITY (CACHE 1), event_id uuid NOT NULL,
                 type text NOT NULL, customer_id uuid NOT NULL, occurred_at timestamptz NOT NULL, changes jsonb NOT NULL,
                 recorded_by text NOT NULL, actor text, reason text, announce boolean, PRIMARY KEY (version, position)
             ) PARTITION BY RANGE (version);
             CREATE TABLE customers.first PARTITION OF customers.events FOR VALUES FROM (1) TO (1000);
             SELECT customers.attach();
             ALTER TABLE customers.events DETACH PARTITION customers.first;
             CREATE TABLE customers.rest PARTITION OF customers.events DEFAULT;
             CREATE TABLE customers.later PARTITION OF customers.events FOR VALUES FROM (5000) TO (6000)",
        )
        .unwrap();
    register(&mut client, 3);
    assert_eq!(positions_after(&mut client, 0).len(), 3);
}
