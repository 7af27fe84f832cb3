//! Promise: a transaction that subscribes blocks no other session, and none blocks a consumer that has a position.

use crate::kit::history::register;
use crate::kit::{Database, assert_refused, database, fetched, one, positions, registered};
use postgres::Client;

/// A session that fails instead of waiting for long.
fn impatient(database: &Database) -> Client {
    let mut client = database.connect();
    client.batch_execute("SET lock_timeout = '5s'").unwrap();
    client
}

fn with_events(database: &Database) -> Client {
    let mut client = database.connect();
    register(&mut client, 3);
    client
}

#[test]
fn who_subscribes_in_an_open_transaction_blocks_nobody() {
    let database = database();
    let mut owner = with_events(&database);
    owner
        .batch_execute(
            "SELECT customers.subscribe('mailer'); SELECT customers.acknowledge('mailer', 1)",
        )
        .unwrap();
    let (mut subscriber, mut other) = (database.connect(), impatient(&database));
    subscriber.batch_execute("BEGIN; SELECT customers.subscribe('late')").unwrap();
    for free in [
        "SELECT customers.subscribe('another', 1)",
        "SELECT customers.subscribe('mailer')",
        "SELECT customers.unsubscribe('another')",
        "SELECT customers.fetch_events('mailer')",
        "SELECT customers.acknowledge('mailer', 2)",
        "SELECT customers.read_events(0)",
        "SELECT customers.prune_events('1 day')",
        "ANALYZE customers.consumers",
        "VACUUM customers.consumers",
        "ANALYZE customers.events",
    ] {
        other.batch_execute(free).unwrap_or_else(|why| panic!("{free}: {why:?}"));
    }
    registered(&mut other);
    subscriber.batch_execute("COMMIT").unwrap();
    assert_eq!(fetched(&mut subscriber, "fetch_events('late')"), [1, 2, 3, 4]);
}

/// The pruning transaction does not see the new consumer, which is refused with PT410 if it reads behind
/// what was pruned.
#[test]
fn who_subscribes_while_events_are_pruned_gets_all_events_or_is_told_so() {
    let database = database();
    with_events(&database);
    let (mut subscriber, mut pruner) = (database.connect(), impatient(&database));
    subscriber.batch_execute("BEGIN; SELECT customers.subscribe('late')").unwrap();
    pruner.batch_execute("SELECT customers.prune_events('0 days')").unwrap();
    let left = positions(&mut pruner).len();
    if let Err(error) = subscriber.batch_execute("COMMIT") {
        return assert_refused::<()>(Err(error), "PT410", &[]);
    }
    registered(&mut pruner);
    if left == 3 {
        assert_eq!(fetched(&mut subscriber, "fetch_events('late')"), [1, 2, 3, 4]);
    } else {
        let fetch = subscriber.batch_execute("SELECT customers.fetch_events('late')");
        assert_refused(fetch, "PT410", &[]);
    }
}

#[test]
fn a_consumer_that_has_its_place_subscribes_again_without_waiting() {
    let database = database();
    let mut owner = with_events(&database);
    owner
        .batch_execute(
            "SELECT customers.subscribe('mailer'); SELECT customers.acknowledge('mailer', 1)",
        )
        .unwrap();
    for holder in [
        "SELECT customers.fetch_events('mailer'); SELECT customers.acknowledge('mailer', 2)",
        "SELECT customers.prune_events('0 days')",
        "SELECT customers.subscribe('another', 1)",
        "LOCK TABLE customers.consumers IN SHARE ROW EXCLUSIVE MODE",
        "SELECT FROM customers.consumers FOR UPDATE",
    ] {
        owner.batch_execute(&format!("BEGIN; {holder}")).unwrap();
        let mut other = impatient(&database);
        other
            .batch_execute("SELECT customers.subscribe('mailer')")
            .unwrap_or_else(|why| panic!("{holder}: {why:?}"));
        let place = "SELECT position FROM customers.consumers WHERE consumer = 'mailer'";
        assert_eq!(one::<i64>(&mut other, place, &[]), 1);
        owner.batch_execute("ROLLBACK").unwrap();
    }
}

#[test]
fn two_that_subscribe_by_one_name_get_one_place() {
    let database = database();
    with_events(&database);
    let (mut first, mut second) = (database.connect(), database.connect());
    first.batch_execute("BEGIN; SELECT customers.subscribe('mailer', 2)").unwrap();
    let waiting =
        std::thread::spawn(move || second.batch_execute("SELECT customers.subscribe('mailer', 1)"));
    first.batch_execute("COMMIT").unwrap();
    waiting.join().unwrap().unwrap();
    let places = "SELECT count(*) FROM customers.consumers WHERE position IN (1, 2)";
    assert_eq!(one::<i64>(&mut first, places, &[]), 1);
}
