//! Promise: a notification queue that another role has filled makes no change fail: changes are committed
//! without notifications, which resume once there is room.

use crate::feed::notifying::announced;
use crate::kit::history::{assert_recorded_since, recorded, register};
use crate::kit::{
    Database, Server, eventually, major, one, payloads, refusal, registered, role, skipped,
};
use postgres::{Client, GenericClient};
use serde_json::Value;

/// The smallest queue that PostgreSQL allows: half a megabyte.
const SMALL: &str = "max_notify_queue_pages = 64";

/// Whether this PostgreSQL allows a small queue.
fn can_be_small() -> bool {
    if major() < 17 {
        skipped(&format!("a full NOTIFY queue: PostgreSQL {} always has 8 GB", major()));
    }
    major() >= 17
}

/// Two roles without a duty, in another database: one listens and keeps its transaction open, the other notifies.
struct Strangers {
    listener: Client,
    notifier: Client,
    sent: u32,
}

impl Strangers {
    fn start(server: &Server) -> Self {
        let mut owner = server.connect("postgres");
        let mut connect = || {
            let role = role(&mut owner, "");
            server.connect_as("postgres", &role).expect("anybody may connect")
        };
        let (mut listener, notifier) = (connect(), connect());
        // LISTEN in a transaction of its own: it takes effect at the commit, and only then holds the queue.
        listener.batch_execute("LISTEN elsewhere").unwrap();
        listener.batch_execute("BEGIN; SELECT 1").unwrap();
        Self { listener, notifier, sent: 0 }
    }

    /// Fills the queue to this fraction, or until PostgreSQL refuses more.
    fn fill(&mut self, part: f64) {
        let usage = "SELECT pg_notification_queue_usage()";
        while one::<f64>(&mut self.notifier, usage, &[]) < part {
            self.sent += 1;
            assert!(self.sent < 1000, "what is sent does not stay in the queue");
            let payload = format!("{}{}", self.sent, "x".repeat(3000));
            let notify = "SELECT pg_notify('elsewhere', $1)";
            if let Err(error) = self.notifier.execute(notify, &[&payload]) {
                assert_eq!(refusal::<()>(Err(error)).code().code(), "54000");
                return;
            }
        }
    }

    fn leave(mut self) {
        self.listener.batch_execute("ROLLBACK; UNLISTEN *").unwrap();
    }
}

fn insert_many(client: &mut impl GenericClient, count: i32) {
    let insert = "INSERT INTO customers.customers (email)
                  SELECT gen_random_uuid() || '@example.com' FROM generate_series(1, $1)";
    client.execute(insert, &[&count]).unwrap();
}

/// Asserts that every kind of change succeeds, however full the queue is.
fn assert_nobody_is_refused(database: &Database, strangers: &mut Strangers) {
    let mut living = database.connect();
    registered(&mut living);
    // With less room than one of the bulk inserts needs; completely full twice: as others have left it, and
    // after changes.
    for (part, count) in [(0.7, 1200), (0.9, 200), (1.0, 5000), (1.0, 200)] {
        strangers.fill(part);
        for client in [&mut living, &mut database.connect()] {
            let before = recorded(client);
            let ann = registered(client);
            client.execute("SELECT customers.set_status($1, 'SUSPENDED')::text", &[&ann]).unwrap();
            client
                .execute(
                    "UPDATE customers.customers SET name = 'Ann' WHERE customer_id = $1",
                    &[&ann],
                )
                .unwrap();
            client.batch_execute("BEGIN").unwrap();
            register(client, 20);
            client.batch_execute("COMMIT").unwrap();
            assert_eq!(recorded(client).len(), before.len() + 23, "{part}");
            assert_recorded_since(client, &before, "a full queue");
        }
        insert_many(&mut living, count);
    }
}

/// A WARNING of the extension, not PostgreSQL's "NOTIFY queue is …% full".
fn is_warned(server: &Server) -> bool {
    let log = server.log();
    log.lines().any(|line| line.contains("WARNING:") && !line.contains("NOTIFY queue is"))
}

/// Whether a notification of this customer has arrived.
fn hears_of(listener: &mut Client, id: &str) -> bool {
    payloads(listener).iter().any(|payload| payload.contains(id))
}

#[test]
fn with_a_full_queue_transactions_commit_without_their_notifications() {
    if !can_be_small() {
        return;
    }
    let server = Server::start(&[SMALL]);
    let database = server.database();
    let mut listener = database.listen();
    let mut strangers = Strangers::start(&server);
    assert_nobody_is_refused(&database, &mut strangers);
    eventually("the log warns of it", || is_warned(&server));
    payloads(&mut listener);

    strangers.leave();
    let mut client = database.connect();
    eventually("notifications flow again", || {
        let id = registered(&mut client).to_string();
        hears_of(&mut listener, &id)
    });
    let id = registered(&mut client).to_string();
    assert!(hears_of(&mut listener, &id));
}

#[test]
fn verify_names_who_keeps_the_queue_full() {
    if !can_be_small() {
        return;
    }
    let server = Server::start(&[SMALL]);
    let mut client = server.database().connect();
    let mut strangers = Strangers::start(&server);
    strangers.fill(0.6);
    let query = "SELECT ok, detail FROM customers.verify() WHERE check_name = 'notify_queue'";
    let row = client.query_one(query, &[]).unwrap();
    let detail: String = row.get(1);
    assert!(!row.get::<_, bool>(0), "{detail}");
    let (_, statement) = detail.split_once(": ").expect("what to type");
    client.batch_execute(statement).unwrap();
    eventually("the queue is emptied", || {
        client.batch_execute("NOTIFY customers").unwrap();
        client.query_one(query, &[]).unwrap().get(0)
    });
}

#[test]
fn a_transaction_with_more_notifications_than_the_queue_holds_commits() {
    if !can_be_small() {
        return;
    }
    let server = Server::start(&[SMALL, "shared_preload_libraries = 'customer_db'"]);
    let database = server.database();
    let mut client = database.connect();
    client.batch_execute("SET customer_db.notify_limit = 100000").unwrap();
    insert_many(&mut client, 5000);
    // Also in one transaction of many statements.
    let mut transaction = client.transaction().unwrap();
    (0..3000).for_each(|_| insert_many(&mut transaction, 1));
    transaction.commit().unwrap();
    assert_eq!(recorded(&mut client).len(), 8000);
}

const WORKER: &str = "SELECT max(pid) FROM pg_stat_activity
                       WHERE datname = 'served' AND backend_type = 'customer_db notifications'";

#[test]
fn with_a_full_queue_the_worker_waits_and_then_sends_what_is_due() {
    if !can_be_small() {
        return;
    }
    let server = Server::start(&[
        SMALL,
        "shared_preload_libraries = 'customer_db'",
        "customer_db.notify = worker",
        "customer_db.databases = 'served'",
    ]);
    let mut owner = server.connect("postgres");
    owner.batch_execute("CREATE DATABASE served").unwrap();
    let database = Database { server: &server, name: "served".to_owned() };
    database.connect().batch_execute("CREATE EXTENSION customer_db").unwrap();
    server.pg_ctl("restart");
    let mut owner = server.connect("postgres");
    let mut client = database.connect();
    // The worker is used if the transaction can be prepared: PostgreSQL cannot prepare one that has notified.
    eventually("a worker is at work", || {
        client.batch_execute("BEGIN").unwrap();
        registered(&mut client);
        let prepared = client.batch_execute("PREPARE TRANSACTION 'probe'").is_ok();
        client
            .batch_execute(if prepared { "ROLLBACK PREPARED 'probe'" } else { "ROLLBACK" })
            .unwrap();
        prepared
    });
    let worker: Option<i32> = one(&mut owner, WORKER, &[]);
    assert!(worker.is_some());

    let mut listener = database.listen();
    let mut heard: Vec<Value> = Vec::new();
    let mut hear = |heard: &mut Vec<Value>| {
        let told = payloads(&mut listener);
        heard.extend(told.iter().map(|payload| serde_json::from_str::<Value>(payload).unwrap()));
    };
    let mut strangers = Strangers::start(&server);
    assert_nobody_is_refused(&database, &mut strangers);
    let last = registered(&mut client).to_string();
    eventually("the log warns of it", || is_warned(&server));
    assert_eq!(one::<Option<i32>>(&mut owner, WORKER, &[]), worker, "the worker lives on");
    hear(&mut heard);
    assert!(!heard.iter().any(|payload| payload["customerId"] == *last), "there is no room");

    strangers.leave();
    eventually("the worker has sent what was due", || {
        hear(&mut heard);
        heard.iter().any(|payload| payload["customerId"] == *last)
    });
    assert_eq!(one::<Option<i32>>(&mut owner, WORKER, &[]), worker, "it is the same worker");
    // In the feed's order: one notification for each event, or one for the rest of its transaction.
    let events = announced(&mut client);
    let position = |payload: &Value| payload["position"].as_i64().unwrap();
    assert!(heard.is_sorted_by_key(position), "in the feed's order");
    let single = heard.iter().filter(|payload| payload["type"] != "customers-changed");
    assert!(single.clone().all(|payload| events.contains(payload)));
    let after = registered(&mut client).to_string();
    eventually("notifications flow again", || {
        hear(&mut heard);
        heard.iter().any(|payload| payload["customerId"] == *after)
    });
}
