//! Promise: old events can be pruned, and none before every consumer has acknowledged it.

use crate::kit::{
    all, assert_refused, caller, contents, database, event_count, fetched, major, one, positions,
    refusal, registered,
};
use postgres::Client;

fn prune(client: &mut Client, older_than: &str) -> i64 {
    one(client, &format!("SELECT customers.prune_events('{older_than}')"), &[])
}

/// Registers a customer for each age, and makes the event as old.
pub fn record(client: &mut Client, ages: &[&str]) {
    for age in ages {
        registered(client);
        client
            .batch_execute(&format!(
                "SET session_replication_role = replica;
                 UPDATE customers.events SET occurred_at = now() - interval '{age}'
                  WHERE position = (SELECT max(position) FROM customers.events);
                 RESET session_replication_role"
            ))
            .unwrap();
    }
}

fn consume(client: &mut Client, consumer: &str, upto: i64) {
    client.execute("SELECT customers.subscribe($1)", &[&consumer]).unwrap();
    client.execute("SELECT customers.acknowledge($1, $2)", &[&consumer, &upto]).unwrap();
}

fn assert_append_only(client: &mut Client) {
    for change in ["DELETE FROM customers.events", "TRUNCATE customers.events"] {
        assert_refused(client.batch_execute(change), "23514", &[]);
    }
}

#[test]
fn events_that_are_old_enough_go_and_the_others_stay() {
    let mut client = database().connect();
    record(&mut client, &["40 days", "31 days", "29 days", "33 days", "0"]);
    assert_eq!(prune(&mut client, "1 year"), 0);
    assert_eq!(positions(&mut client), [1, 2, 3, 4, 5]);
    assert_eq!(prune(&mut client, "30 days"), 2, "up to the first that is young");
    assert_eq!(positions(&mut client), [3, 4, 5]);
    assert_eq!(prune(&mut client, "0"), 3, "everything that has occurred");
    assert_eq!(event_count(&mut client), 0);
    assert_eq!(prune(&mut client, "0"), 0);
}

#[test]
fn no_event_goes_that_a_consumer_has_not_acknowledged() {
    let mut client = database().connect();
    record(&mut client, &["1 day"; 5]);
    consume(&mut client, "fast", 5);
    consume(&mut client, "slow", 2);
    assert_eq!(prune(&mut client, "0"), 2);
    assert_eq!(fetched(&mut client, "fetch_events('slow')"), [3, 4, 5]);

    client.batch_execute("SELECT customers.subscribe('new', 2)").unwrap();
    assert_eq!(prune(&mut client, "0"), 0, "one that has acknowledged nothing holds everything");
    client.batch_execute("SELECT customers.unsubscribe('new')").unwrap();
    consume(&mut client, "slow", 4);
    assert_eq!(prune(&mut client, "0"), 2);
    client.batch_execute("SELECT customers.unsubscribe('slow')").unwrap();
    assert_eq!(prune(&mut client, "0"), 1);
}

#[test]
fn a_consumer_that_has_fetched_and_not_acknowledged_finds_its_events_again() {
    let database = database();
    let mut client = database.connect();
    let mut worker = database.connect();
    record(&mut client, &["1 day"; 3]);
    consume(&mut client, "mailer", 1);
    worker.batch_execute("BEGIN").unwrap();
    assert_eq!(fetched(&mut worker, "fetch_events('mailer')"), [2, 3]);
    worker.batch_execute("SELECT customers.acknowledge('mailer', 3)").unwrap();
    assert_eq!(prune(&mut client, "0"), 1, "the acknowledgement has not been committed");
    worker.batch_execute("ROLLBACK").unwrap();
    assert_eq!(fetched(&mut worker, "fetch_events('mailer')"), [2, 3]);
}

#[test]
fn readers_go_on_after_the_gap_that_pruning_leaves() {
    let mut client = database().connect();
    record(&mut client, &["1 day"; 3]);
    assert_eq!(prune(&mut client, "0"), 3);
    registered(&mut client);
    assert_eq!(fetched(&mut client, "read_events(3)"), [4]);
    for behind in 0..3 {
        let read = client.query(&format!("SELECT * FROM customers.read_events({behind})"), &[]);
        assert_refused(read, "PT410", &[]);
    }
}

#[test]
fn pruning_takes_nothing_but_events_and_is_undone_with_its_transaction() {
    let mut client = database().connect();
    record(&mut client, &["1 day"; 2]);
    let before = contents(&mut client);
    client.batch_execute("BEGIN").unwrap();
    assert_eq!(prune(&mut client, "0"), 2);
    client.batch_execute("ROLLBACK").unwrap();
    assert_eq!(contents(&mut client), before);

    let customers = "SELECT c::text FROM customers.customers AS c ORDER BY customer_id";
    let before: Vec<String> = all(&mut client, customers, &[]);
    prune(&mut client, "0");
    assert_eq!(all::<String>(&mut client, customers, &[]), before);
}

#[test]
fn an_age_that_is_none_is_refused() {
    let mut client = database().connect();
    record(&mut client, &["1 day"]);
    let mut ages = vec!["NULL", "'-1 day'", "'-1 microsecond'", "'1 day -25 hours'", "'-1 month'"];
    if major() >= 17 {
        ages.push("'-infinity'");
    }
    for age in ages {
        let prune = client.query(&format!("SELECT customers.prune_events({age})"), &[]);
        assert_refused(prune, "22023", &[]);
    }
    assert_eq!(event_count(&mut client), 1);
    if major() >= 17 {
        assert_eq!(prune(&mut client, "infinity"), 0);
    }
}

#[test]
fn the_feed_stays_append_only_for_everybody_else() {
    let mut client = database().connect();
    record(&mut client, &["1 day"; 2]);
    client.batch_execute("BEGIN").unwrap();
    prune(&mut client, "0");
    client.batch_execute("SAVEPOINT s").unwrap();
    let delete = client.batch_execute("DELETE FROM customers.events");
    assert_refused(delete, "23514", &[]);
    client.batch_execute("ROLLBACK TO s; COMMIT").unwrap();
    assert_append_only(&mut client);
}

#[test]
fn the_feed_stays_append_only_after_pruning_has_failed() {
    let database = database();
    let mut client = database.connect();
    record(&mut client, &["1 day"; 2]);
    let mut other = database.connect();
    other.batch_execute("BEGIN; SELECT FROM customers.events FOR UPDATE").unwrap();
    client.batch_execute("SET lock_timeout = '1ms'").unwrap();
    let failed = client.query("SELECT customers.prune_events('0')", &[]);
    assert_eq!(refusal(failed).code().code(), "55P03");
    other.batch_execute("ROLLBACK").unwrap();
    assert_append_only(&mut client);

    client
        .batch_execute(
            "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE foreign_key_violation; END';
             CREATE TRIGGER keep BEFORE DELETE ON customers.events
                FOR EACH ROW EXECUTE FUNCTION keep();
             DO $$ BEGIN
                PERFORM customers.prune_events('0');
             EXCEPTION WHEN foreign_key_violation THEN
                BEGIN
                    DELETE FROM customers.events;
                    RAISE 'the feed has been opened';
                EXCEPTION WHEN check_violation THEN NULL;
                END;
             END $$",
        )
        .unwrap();
    assert_append_only(&mut client);
    assert_eq!(event_count(&mut client), 2);
}

#[test]
fn pruning_needs_no_right_to_the_table() {
    let database = database();
    let mut client = database.connect();
    record(&mut client, &["1 day"]);
    let mut operator = database.connect_as(&caller(&mut client));
    assert_eq!(prune(&mut operator, "0"), 1);
    let delete = operator.batch_execute("DELETE FROM customers.events");
    assert_eq!(refusal(delete).code().code(), "42501");
}
