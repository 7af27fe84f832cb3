//! Promise: metrics() measures exactly what is small, estimates what is large, and costs a scraper little.

use crate::kit::{assert_refused, begin_change, database, one, refusal, role, server};
use postgres::Client;

#[track_caller]
fn measure(client: &mut Client, name: &str, labels: &str) -> f64 {
    let query =
        "SELECT value FROM customers.metrics() WHERE name = $1 AND labels = $2::text::jsonb";
    one(client, query, &[&format!("customer_db_{name}"), &labels])
}

#[test]
fn positions_beyond_single_precision_are_exact() {
    let mut client = database().connect();
    client
        .batch_execute("SELECT setval('customers.events_position_seq', 9000000000000001)")
        .unwrap();
    client.batch_execute("SELECT customers.register_customer('a@example.com')").unwrap();
    client
        .batch_execute("SELECT customers.subscribe('search-index', customers.feed_position())")
        .unwrap();
    let position = 9_000_000_000_000_002.0;
    for name in ["feed_last_position", "feed_complete_to_position"] {
        assert_eq!(measure(&mut client, name, "{}"), position, "{name}");
    }
    let consumer = r#"{"consumer": "search-index"}"#;
    assert_eq!(measure(&mut client, "consumer_position", consumer), position);
}

#[test]
fn what_is_small_is_counted() {
    let database = database();
    let mut client = database.connect();
    client
        .batch_execute(
            "SELECT customers.subscribe('mailer');
             SELECT customers.register_customer('counted' || i || '@example.com') FROM generate_series(1, 6) AS i;
             SELECT customers.set_status(customer_id, 'CLOSED') FROM customers.find_customer('counted1@example.com');
             SELECT customers.set_status(customer_id, 'SUSPENDED') FROM customers.find_customer('counted2@example.com');
             SELECT customers.erase_customer(customer_id) FROM customers.find_customer('counted3@example.com')",
        )
        .unwrap();
    for (name, labels, value) in [
        ("customers", r#"{"status": "ACTIVE"}"#, 3.0),
        ("customers", r#"{"status": "SUSPENDED"}"#, 1.0),
        ("customers", r#"{"status": "CLOSED"}"#, 2.0),
        ("erasures", "{}", 1.0),
        ("feed_events", "{}", 9.0),
        ("feed_epochs", "{}", 1.0),
        ("consumer_unread_events", r#"{"consumer": "mailer"}"#, 9.0),
        ("consumer_position", r#"{"consumer": "mailer"}"#, 0.0),
        ("worker_running", "{}", 0.0),
        ("standby", "{}", 0.0),
        ("feed_held_back_seconds", "{}", 0.0),
    ] {
        assert_eq!(measure(&mut client, name, labels), value, "{name} {labels}");
    }
    let mut writer = database.connect();
    begin_change(&mut writer);
    assert!(measure(&mut client, "feed_held_back_seconds", "{}") > 0.0);
    // A position that the open writer keeps readers from.
    assert!(measure(&mut client, "feed_complete_to_position", "{}") < 10.0);
    client.batch_execute("SELECT customers.prune_events('0 days')").unwrap();
    assert_eq!(
        measure(&mut client, "feed_pruned_to_position", "{}"),
        0.0,
        "the consumer has read nothing"
    );
}

#[test]
fn what_is_large_is_estimated() {
    let mut client = database().connect();
    client
        .batch_execute(
            "SET customer_db.notify = off;
             INSERT INTO customers.customers (email, name, status)
             SELECT 'person' || i || '@example.com', repeat('n', 190), CASE WHEN i % 10 = 0 THEN 'SUSPENDED' ELSE 'ACTIVE' END
               FROM generate_series(1, 40000) AS i;
             ANALYZE customers.customers, customers.events",
        )
        .unwrap();
    for (name, labels, value) in [
        ("customers", r#"{"status": "ACTIVE"}"#, 36000.0),
        ("customers", r#"{"status": "SUSPENDED"}"#, 4000.0),
        ("customers", r#"{"status": "CLOSED"}"#, 0.0),
        ("feed_events", "{}", 40000.0),
    ] {
        let measured = measure(&mut client, name, labels);
        assert!((measured - value).abs() <= value / 10.0, "{name} {labels}: {measured}");
    }
    // Neither table was read as a whole.
    let read = "SELECT count(*) FROM pg_stat_xact_user_tables WHERE schemaname = 'customers' AND seq_tup_read > 1000";
    client.batch_execute("BEGIN").unwrap();
    measure(&mut client, "standby", "{}");
    assert_eq!(one::<i64>(&mut client, read, &[]), 0);
}

#[test]
fn it_refuses_where_there_are_no_tables_and_whoever_is_no_operator() {
    let mut client = server().empty_database("").connect();
    client.batch_execute("CREATE SCHEMA customers; CREATE EXTENSION customer_db").unwrap();
    assert_refused(client.query("SELECT * FROM customers.metrics()", &[]), "55000", &[]);
    let database = database();
    let mut owner = database.connect();
    let (operator, stranger) = (role(&mut owner, ""), role(&mut owner, ""));
    owner
        .execute("SELECT customers.grant_access($1::text::regrole, 'operator')", &[&operator])
        .unwrap();
    let metrics = "SELECT count(*) FROM customers.metrics()";
    assert!(one::<i64>(&mut database.connect_as(&operator), metrics, &[]) > 15);
    let refused = refusal(database.connect_as(&stranger).query(metrics, &[]));
    assert_eq!(refused.code().code(), "42501");
}
