//! Promise: pruning removes only old events at the beginning of the feed, and a reader that has not read
//! what was pruned is refused (PT410) instead of getting the rest.

use super::pruning::record;
use crate::kit::history::{positions_after, register};
use crate::kit::{
    Database, assert_refused, database, fetched, one, positions, registered, server, succeed,
};
use postgres::Client;

fn prune(client: &mut Client, arguments: &str) -> i64 {
    one(client, &format!("SELECT customers.prune_events({arguments})"), &[])
}

/// Holds readers and consumers at these places to be told that they have to copy everything again.
fn assert_gone(client: &mut Client, places: impl IntoIterator<Item = i64>) {
    for place in places {
        for call in [
            format!("read_events({place})"),
            format!("read_events({place}, 1)"),
            format!("subscribe('late', {place})"),
        ] {
            let refused = client.batch_execute(&format!("SELECT customers.{call}"));
            assert_refused(refused.inspect(|()| eprintln!("{call}")), "PT410", &[]);
        }
    }
    let late = "SELECT count(*) FROM customers.consumers WHERE consumer = 'late'";
    assert_eq!(one::<i64>(client, late, &[]), 0);
}

#[test]
fn pruning_stops_at_the_first_event_that_is_young() {
    let mut client = database().connect();
    record(&mut client, &["31 days", "35 days", "29 days", "40 days", "50 days"]);
    assert_eq!(prune(&mut client, "'1 year'"), 0);
    assert_eq!(prune(&mut client, "'30 days'"), 2);
    assert_eq!(positions(&mut client), [3, 4, 5]);
    assert_eq!(prune(&mut client, "'30 days'"), 0);
    assert_eq!(prune(&mut client, "'28 days'"), 3);
}

#[test]
fn pruning_takes_at_most_as_many_events_as_it_may() {
    let mut client = database().connect();
    record(&mut client, &["1 day"; 7]);
    assert_eq!(prune(&mut client, "'0 days', 2"), 2);
    assert_eq!(positions(&mut client), [3, 4, 5, 6, 7]);
    assert_eq!(prune(&mut client, "older_than => '0 days', max_events => 1"), 1);
    assert_eq!(prune(&mut client, "'2 days', 100"), 0);
    assert_eq!(prune(&mut client, "'0 days', 3"), 3);
    assert_eq!(prune(&mut client, "'0 days', NULL"), 1);
    assert_eq!(prune(&mut client, "'0 days', 3"), 0);
    let refused = client.batch_execute("SELECT customers.prune_events('0 days', -1)");
    assert_refused(refused, "22023", &[]);
}

#[test]
fn pruning_in_parts_takes_no_event_that_a_consumer_needs() {
    let mut client = database().connect();
    record(&mut client, &["1 day"; 5]);
    client
        .batch_execute(
            "SELECT customers.subscribe('mailer'); SELECT customers.acknowledge('mailer', 3)",
        )
        .unwrap();
    assert_eq!(prune(&mut client, "'0 days', 2"), 2);
    assert_eq!(prune(&mut client, "'0 days', 2"), 1);
    assert_eq!(prune(&mut client, "'0 days', 2"), 0);
    assert_eq!(fetched(&mut client, "fetch_events('mailer')"), [4, 5]);
}

#[test]
fn who_has_not_read_what_was_pruned_is_told_so() {
    let database = database();
    let (mut client, mut living) = (database.connect(), database.connect());
    record(&mut client, &["1 day"; 5]);
    assert_eq!(positions_after(&mut living, 0), [1, 2, 3, 4, 5]);
    assert_eq!(prune(&mut client, "'0 days', 3"), 3);
    for client in [&mut living, &mut database.connect()] {
        assert_gone(client, 0..3);
        assert_refused(client.batch_execute("SELECT customers.subscribe('late')"), "PT410", &[]);
        assert_eq!(positions_after(client, 3), [4, 5]);
        assert_eq!(positions_after(client, 4), [5]);
        client.batch_execute("SELECT customers.subscribe('exactly there', 3)").unwrap();
        assert_eq!(fetched(client, "fetch_events('exactly there')"), [4, 5]);
        client.batch_execute("SELECT customers.unsubscribe('exactly there')").unwrap();
    }
}

#[test]
fn who_has_read_all_of_a_feed_that_was_pruned_to_nothing_goes_on() {
    let database = database();
    let (mut client, mut living) = (database.connect(), database.connect());
    record(&mut client, &["1 day"; 3]);
    assert_eq!(positions_after(&mut living, 0), [1, 2, 3]);
    assert_eq!(prune(&mut client, "'0 days'"), 3);
    for client in [&mut living, &mut database.connect()] {
        assert_gone(client, 0..3);
        assert_eq!(positions_after(client, 3), [0; 0]);
        client.batch_execute("SELECT customers.subscribe('mailer', 3)").unwrap();
    }
    registered(&mut client);
    for client in [&mut living, &mut database.connect()] {
        assert_gone(client, 0..3);
        assert_eq!(positions_after(client, 3), [4]);
        assert_eq!(fetched(client, "fetch_events('mailer')"), [4]);
    }
}

/// No function sets it to such a position.
#[test]
fn a_consumer_whose_place_was_set_below_what_was_pruned_is_told_so() {
    let mut client = database().connect();
    record(&mut client, &["1 day"; 4]);
    assert_eq!(prune(&mut client, "'0 days', 2"), 2);
    client
        .batch_execute(
            "INSERT INTO customers.consumers (consumer, position) VALUES ('low', 1), ('high', 2)",
        )
        .unwrap();
    assert_refused(client.batch_execute("SELECT customers.fetch_events('low')"), "PT410", &[]);
    assert_eq!(fetched(&mut client, "fetch_events('high')"), [3, 4]);
}

#[test]
fn a_gap_that_a_rollback_left_at_the_beginning_is_nothing_that_was_pruned() {
    let mut client = database().connect();
    client.batch_execute("BEGIN").unwrap();
    register(&mut client, 3);
    client.batch_execute("ROLLBACK").unwrap();
    record(&mut client, &["1 day"; 2]);
    for after in 0..4 {
        assert_eq!(positions_after(&mut client, after), [4, 5]);
    }
    client.batch_execute("SELECT customers.subscribe('mailer')").unwrap();
    assert_eq!(fetched(&mut client, "fetch_events('mailer')"), [4, 5]);
    client.batch_execute("SELECT customers.acknowledge('mailer', 4)").unwrap();
    assert_eq!(prune(&mut client, "'0 days'"), 1);
    assert_gone(&mut client, 0..4);
    assert_eq!(positions_after(&mut client, 4), [5]);
}

#[test]
fn pruning_that_is_rolled_back_took_nothing() {
    let database = database();
    let mut client = database.connect();
    record(&mut client, &["1 day"; 3]);
    for end in ["ROLLBACK", "COMMIT AND CHAIN"] {
        client.batch_execute("BEGIN; SAVEPOINT s").unwrap();
        assert_eq!(prune(&mut client, "'0 days'"), 3);
        let open = positions_after(&mut database.connect(), 0);
        assert_eq!(open, [1, 2, 3], "others read on until it is committed");
        client.batch_execute(&format!("ROLLBACK TO s; {end}; ROLLBACK")).unwrap();
        assert_eq!(positions_after(&mut client, 0), [1, 2, 3]);
    }
}

/// A database restored from a dump that pg_dump makes with these options.
fn restored(database: &Database, options: &[&str]) -> Client {
    let dump = database.dump(&[&["--format=custom"], options].concat());
    let copy = server().empty_database("TEMPLATE template0");
    succeed(copy.program("pg_restore").arg("--exit-on-error").arg(dump));
    copy.connect()
}

#[test]
fn a_dump_carries_what_was_pruned() {
    let database = database();
    let mut client = database.connect();
    record(&mut client, &["1 day"; 4]);
    assert_eq!(prune(&mut client, "'0 days', 2"), 2);
    assert_gone(&mut restored(&database, &[]), 0..2);
    assert_eq!(prune(&mut client, "'0 days'"), 2);
    assert_gone(&mut restored(&database, &[]), 0..4);
}
