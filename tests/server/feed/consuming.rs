//! Promise: the database keeps each consumer's position in the feed, and two workers of one consumer take turns.

use crate::kit::{
    Database, all, assert_refused, await_blocked, begin_change, caller, contents, database,
    fetched, one, payloads, pid, registered, role, terminate,
};
use postgres::Client;
use std::thread::{self, JoinHandle};

/// A session in a database whose feed has that many events.
fn client_of_feed(database: &Database, events: usize) -> Client {
    let mut client = database.connect();
    for _ in 0..events {
        registered(&mut client);
    }
    client
}

fn subscribe(client: &mut Client, consumer: &str) {
    client.execute("SELECT customers.subscribe($1)", &[&consumer]).unwrap();
}

fn acknowledge(client: &mut Client, consumer: &str, position: i64) {
    client.execute("SELECT customers.acknowledge($1, $2)", &[&consumer, &position]).unwrap();
}

fn place(client: &mut Client, consumer: &str) -> i64 {
    let query = "SELECT position FROM customers.consumers WHERE consumer = $1";
    one(client, query, &[&consumer])
}

fn assert_each_refused<'a>(
    client: &mut Client,
    sqlstate: &str,
    calls: impl IntoIterator<Item = &'a str>,
) {
    for call in calls {
        let result = client.query(&format!("SELECT customers.{call}"), &[]);
        assert_refused(result.inspect(|_| eprintln!("{call}")), sqlstate, &[]);
    }
}

/// A second worker that fetches while the first has the consumer locked, and continues when it is released.
fn fetch_in_turn(database: &Database, function: &'static str) -> JoinHandle<Vec<i64>> {
    let mut worker = database.connect();
    let session = pid(&mut worker);
    let waiting = thread::spawn(move || fetched(&mut worker, function));
    await_blocked(&mut database.connect(), session);
    waiting
}

#[test]
fn a_consumer_fetches_from_its_place_until_it_acknowledges() {
    let mut client = client_of_feed(&database(), 5);
    subscribe(&mut client, "mailer");
    for _ in 0..2 {
        assert_eq!(fetched(&mut client, "fetch_events('mailer', 3)"), [1, 2, 3]);
    }
    acknowledge(&mut client, "mailer", 2);
    assert_eq!(fetched(&mut client, "fetch_events('mailer', 2)"), [3, 4]);
    assert_eq!(fetched(&mut client, "fetch_events('mailer')"), [3, 4, 5]);
    acknowledge(&mut client, "mailer", 5);
    assert!(fetched(&mut client, "fetch_events('mailer')").is_empty());
    registered(&mut client);
    assert_eq!(fetched(&mut client, "fetch_events('mailer')"), [6]);
}

#[test]
fn a_consumer_is_told_what_a_reader_is_told() {
    let mut client = client_of_feed(&database(), 3);
    client.batch_execute("UPDATE customers.customers SET name = 'Ann'").unwrap();
    subscribe(&mut client, "mailer");
    acknowledge(&mut client, "mailer", 1);
    let mut rows = |function: &str| -> Vec<String> {
        all(&mut client, &format!("SELECT e::text FROM customers.{function} AS e"), &[])
    };
    let events = rows("fetch_events('mailer', 4)");
    assert_eq!(events.len(), 4);
    assert_eq!(events, rows("read_events(1, 4)"));
}

#[test]
fn a_place_only_moves_forward() {
    let mut client = client_of_feed(&database(), 5);
    subscribe(&mut client, "mailer");
    for (acknowledged, kept) in [(3, 3), (1, 3), (0, 3), (3, 3), (5, 5)] {
        acknowledge(&mut client, "mailer", acknowledged);
        assert_eq!(place(&mut client, "mailer"), kept);
    }
    let when = "SELECT acknowledged_at > now() - interval '1 minute' FROM customers.consumers";
    assert!(one::<bool>(&mut client, when, &[]));
}

#[test]
fn an_acknowledgement_is_undone_with_its_transaction() {
    let mut client = client_of_feed(&database(), 2);
    subscribe(&mut client, "mailer");
    client.batch_execute("BEGIN").unwrap();
    acknowledge(&mut client, "mailer", 2);
    assert!(fetched(&mut client, "fetch_events('mailer')").is_empty());
    client.batch_execute("ROLLBACK").unwrap();
    assert_eq!(fetched(&mut client, "fetch_events('mailer')"), [1, 2]);
}

#[test]
fn a_consumer_begins_where_it_asks_to_and_keeps_its_place_when_it_subscribes_again() {
    let mut client = client_of_feed(&database(), 3);
    client.batch_execute("SELECT customers.subscribe('late', after => 2)").unwrap();
    assert_eq!(fetched(&mut client, "fetch_events('late')"), [3]);
    acknowledge(&mut client, "late", 3);
    for again in ["subscribe('late')", "subscribe('late', 1)"] {
        client.batch_execute(&format!("SELECT customers.{again}")).unwrap();
        assert_eq!(place(&mut client, "late"), 3);
    }
}

#[test]
fn a_consumer_that_unsubscribes_is_forgotten() {
    let mut client = client_of_feed(&database(), 2);
    subscribe(&mut client, "mailer");
    subscribe(&mut client, "search");
    acknowledge(&mut client, "mailer", 2);
    for _ in 0..2 {
        client.batch_execute("SELECT customers.unsubscribe('mailer')").unwrap();
    }
    assert_each_refused(
        &mut client,
        "PT404",
        ["fetch_events('mailer')", "acknowledge('mailer', 1)"],
    );
    assert_eq!(place(&mut client, "search"), 0);
    subscribe(&mut client, "mailer");
    assert_eq!(fetched(&mut client, "fetch_events('mailer')"), [1, 2], "it begins anew");
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let mut client = client_of_feed(&database(), 2);
    subscribe(&mut client, "mailer");
    acknowledge(&mut client, "mailer", 1);
    let before = contents(&mut client);
    assert_each_refused(
        &mut client,
        "22023",
        [
            "subscribe(NULL)",
            "subscribe('')",
            "subscribe('new', NULL)",
            "subscribe('new', -1)",
            "subscribe('new', 3)",
            "unsubscribe(NULL)",
            "unsubscribe('')",
            "acknowledge('mailer', NULL)",
            "acknowledge('mailer', -1)",
            "acknowledge('mailer', 3)",
            "acknowledge('mailer', 9223372036854775807)",
            "fetch_events('mailer', NULL)",
            "fetch_events('mailer', 0)",
            "fetch_events('mailer', -1)",
            "fetch_events('mailer', 10001)",
        ],
    );
    assert_each_refused(
        &mut client,
        "PT404",
        [
            "fetch_events('nobody')",
            "fetch_events('MAILER')",
            "fetch_events('')",
            "fetch_events(NULL)",
            "acknowledge('nobody', 1)",
            "acknowledge(NULL, 1)",
        ],
    );
    assert_eq!(contents(&mut client), before);
}

#[test]
fn a_consumer_fetches_in_read_committed_transactions_only() {
    let mut client = client_of_feed(&database(), 1);
    subscribe(&mut client, "mailer");
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        client.batch_execute(&format!("BEGIN ISOLATION LEVEL {level}")).unwrap();
        assert_each_refused(&mut client, "25001", ["fetch_events('mailer')"]);
        client.batch_execute("ROLLBACK").unwrap();
    }
}

#[test]
fn a_consumer_of_a_feed_that_was_set_back_is_told_so() {
    let mut client = client_of_feed(&database(), 3);
    subscribe(&mut client, "mailer");
    acknowledge(&mut client, "mailer", 3);
    client
        .batch_execute(
            "SET session_replication_role = replica;
             DELETE FROM customers.events WHERE position > 2;
             RESET session_replication_role;
             SELECT setval('customers.events_position_seq', 2)",
        )
        .unwrap();
    assert_each_refused(&mut client, "PT410", ["fetch_events('mailer')"]);
}

#[test]
fn two_workers_of_one_consumer_take_turns() {
    let database = database();
    let mut first = client_of_feed(&database, 4);
    subscribe(&mut first, "mailer");
    for (end, next) in [("ROLLBACK", [1, 2]), ("COMMIT", [3, 4])] {
        first.batch_execute("BEGIN").unwrap();
        assert_eq!(fetched(&mut first, "fetch_events('mailer', 2)"), [1, 2]);
        acknowledge(&mut first, "mailer", 2);
        let second = fetch_in_turn(&database, "fetch_events('mailer', 2)");
        first.batch_execute(end).unwrap();
        assert_eq!(second.join().unwrap(), next);
    }
}

#[test]
fn who_waited_for_its_turn_sees_what_was_committed_meanwhile() {
    let database = database();
    let mut first = client_of_feed(&database, 1);
    subscribe(&mut first, "mailer");
    first.batch_execute("BEGIN").unwrap();
    assert_eq!(fetched(&mut first, "fetch_events('mailer')"), [1]);
    let second = fetch_in_turn(&database, "fetch_events('mailer')");
    registered(&mut database.connect());
    first.batch_execute("COMMIT").unwrap();
    assert_eq!(second.join().unwrap(), [1, 2]);
}

#[test]
fn a_worker_that_dies_lets_the_next_one_have_its_turn() {
    let database = database();
    let mut first = client_of_feed(&database, 2);
    subscribe(&mut first, "mailer");
    first.batch_execute("BEGIN").unwrap();
    assert_eq!(fetched(&mut first, "fetch_events('mailer')"), [1, 2]);
    acknowledge(&mut first, "mailer", 2);
    let second = fetch_in_turn(&database, "fetch_events('mailer')");
    terminate(&mut database.connect(), pid(&mut first));
    assert_eq!(second.join().unwrap(), [1, 2], "what was not committed is not acknowledged");
}

#[test]
fn consumers_do_not_wait_for_one_another() {
    let database = database();
    let mut first = client_of_feed(&database, 3);
    let mut second = database.connect();
    subscribe(&mut first, "mailer");
    subscribe(&mut first, "search");
    acknowledge(&mut first, "mailer", 1);
    second.batch_execute("SET lock_timeout = '5s'").unwrap();
    first.batch_execute("BEGIN").unwrap();
    second.batch_execute("BEGIN").unwrap();
    assert_eq!(fetched(&mut first, "fetch_events('mailer')"), [2, 3]);
    assert_eq!(fetched(&mut second, "fetch_events('search', 1)"), [1]);
    acknowledge(&mut first, "mailer", 2);
    acknowledge(&mut second, "search", 1);
    second.batch_execute("COMMIT").unwrap();
    first.batch_execute("COMMIT").unwrap();
    assert_eq!(fetched(&mut first, "fetch_events('mailer')"), [3]);
    assert_eq!(fetched(&mut second, "fetch_events('search')"), [2, 3]);
}

#[test]
fn a_consumer_needs_no_right_to_a_table() {
    let database = database();
    let mut client = client_of_feed(&database, 1);
    let mut consumer = database.connect_as(&caller(&mut client));
    subscribe(&mut consumer, "mailer");
    assert_eq!(fetched(&mut consumer, "fetch_events('mailer')"), [1]);
    acknowledge(&mut consumer, "mailer", 1);
    consumer.batch_execute("SELECT customers.unsubscribe('mailer')").unwrap();
}

/// A consumer as the documentation describes it: LISTEN, read the feed, and read it again on each notification.
struct Listener {
    client: Client,
    dealt_with: Vec<i64>,
}

impl Listener {
    fn start(database: &Database) -> Self {
        let mut client = database.listen();
        subscribe(&mut client, "mailer");
        let mut listener = Self { client, dealt_with: Vec::new() };
        listener.catch_up();
        listener
    }

    /// Processes the notifications that have arrived, and returns their number.
    fn receive(&mut self) -> usize {
        let received = payloads(&mut self.client);
        received.iter().for_each(|_| self.catch_up());
        received.len()
    }

    fn catch_up(&mut self) {
        let batch = fetched(&mut self.client, "fetch_events('mailer')");
        if let Some(last) = batch.last() {
            acknowledge(&mut self.client, "mailer", *last);
        }
        self.dealt_with.extend(batch);
    }
}

#[test]
fn a_forged_notification_changes_nothing() {
    let database = database();
    let mut client = client_of_feed(&database, 1);
    let mut listener = Listener::start(&database);
    registered(&mut client);
    assert_eq!(listener.receive(), 1);
    let before = contents(&mut client);

    let mut forger = database.connect_as(&role(&mut client, ""));
    for payload in [
        r#"{"position":9000,"eventId":"00000000-0000-0000-0000-000000000001","type":"customer-updated","customerId":"00000000-0000-0000-0000-000000000002","version":3,"changed":["email"]}"#,
        r#"{"type":"customers-changed","position":-1}"#,
        "no JSON at all",
        "",
    ] {
        forger.batch_execute(&format!("NOTIFY customers, '{payload}'")).unwrap();
    }
    assert_eq!(listener.receive(), 4);
    assert_eq!(listener.dealt_with, [1, 2]);
    assert_eq!(contents(&mut client), before);
    registered(&mut client);
    listener.receive();
    assert_eq!(listener.dealt_with, [1, 2, 3]);
}

/// Why the documented loop also reads at intervals.
#[test]
fn what_a_rollback_made_readable_without_a_notification_is_there_at_the_next_look() {
    let database = database();
    let mut listener = Listener::start(&database);
    let mut holder = database.connect();
    begin_change(&mut holder);
    registered(&mut database.connect());
    listener.receive();
    assert!(listener.dealt_with.is_empty(), "position 1 may still come");
    holder.batch_execute("ROLLBACK").unwrap();
    assert_eq!(listener.receive(), 0);
    listener.catch_up();
    assert_eq!(listener.dealt_with, [2]);
}
