//! Promise: a session that listens to the channel "customers" is notified of exactly the changes that were
//! committed.

use crate::kit::{
    address, all, caller, database, one, payloads, positions, project, received, refusal,
    registered, role,
};
use postgres::Client;
use serde_json::{Value, json};
use std::fs;

/// The notifications that the feed implies, as payloads.
pub fn announced(client: &mut Client) -> Vec<Value> {
    all(
        client,
        "SELECT jsonb_build_object(
                    'position', position, 'eventId', event_id, 'type', type,
                    'customerId', customer_id, 'version', version,
                    'changed', (SELECT jsonb_agg(key ORDER BY key) FROM jsonb_object_keys(changes) AS key))
           FROM customers.events ORDER BY position",
        &[],
    )
}

fn individual(payloads: &[Value]) -> Vec<i64> {
    let positions = payloads.iter().filter(|payload| payload["type"] != "customers-changed");
    positions.map(|payload| payload["position"].as_i64().unwrap()).collect()
}

/// The positions in the notifications that stand for the rest of a transaction.
fn collapsed(payloads: &[Value]) -> Vec<i64> {
    let rest = payloads.iter().filter(|payload| payload["type"] == "customers-changed");
    rest.map(|payload| {
        assert_eq!(payload, &json!({"type": "customers-changed", "position": payload["position"]}));
        payload["position"].as_i64().unwrap()
    })
    .collect()
}

/// A session that writes, with notify_limit set to `limit`.
pub fn writer(database: &crate::kit::Database, limit: i32) -> Client {
    let mut client = database.connect();
    let set = format!("LOAD 'customer_db'; SET customer_db.notify_limit = {limit}");
    client.batch_execute(&set).unwrap();
    client
}

#[test]
fn a_listener_receives_exactly_the_committed_changes_in_order() {
    let database = database();
    let mut listener = database.listen();
    let mut client = database.connect();
    for transaction in [
        "INSERT INTO customers.customers (email, name)
         VALUES ('a@example.com', 'A'), ('b@example.com', NULL)",
        "BEGIN;
         INSERT INTO customers.customers (email) VALUES ('lost1@example.com');
         ROLLBACK",
        "BEGIN;
         UPDATE customers.customers SET name = 'Kept' WHERE email = 'a@example.com';
         SAVEPOINT s;
         UPDATE customers.customers SET name = 'Lost' WHERE email = 'a@example.com';
         ROLLBACK TO s;
         UPDATE customers.customers SET name = NULL, status = 'SUSPENDED'
          WHERE email = 'a@example.com';
         UPDATE customers.customers SET status = status;
         COMMIT",
    ] {
        client.batch_execute(transaction).unwrap();
    }
    let events = announced(&mut client);
    assert_eq!(events.len(), 4);
    assert_eq!(received(&mut listener), events);

    client.batch_execute("BEGIN").unwrap();
    registered(&mut client);
    assert!(received(&mut listener).is_empty(), "nothing before the commit");
    client.batch_execute("COMMIT").unwrap();
    assert_eq!(received(&mut listener), announced(&mut client)[4..]);
}

/// Asserts that payloads are valid against the contract's schema.
pub fn assert_valid(payloads: &[Value]) {
    let schema = fs::read(project().join("contract/notification.schema.json")).unwrap();
    let schema: Value = serde_json::from_slice(&schema).unwrap();
    let schema = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
    for payload in payloads {
        if let Err(error) = schema.validate(payload) {
            panic!("{payload}: {error}");
        }
    }
}

#[test]
fn every_payload_is_valid_against_the_contract() {
    let database = database();
    let mut listener = database.listen();
    let mut client = writer(&database, 5);
    for transaction in [
        "SELECT customers.register_customer('a@example.com', 'A')",
        "SELECT customers.register_customer('b@example.com')",
        "SELECT customers.patch_customer(customer_id, '{\"name\": null}') FROM customers.customers",
        "UPDATE customers.customers SET status = 'CLOSED', name = 'X'",
        "INSERT INTO customers.customers (email)
         SELECT 'p' || i || '@example.com' FROM generate_series(1, 10) AS i",
    ] {
        client.batch_execute(transaction).unwrap();
    }
    let received = received(&mut listener);
    assert_eq!(received.len(), 2 + 1 + 2 + 5 + 1);
    assert_valid(&received);
}

#[test]
fn a_payload_is_small_and_holds_no_personal_data() {
    let database = database();
    let mut listener = database.listen();
    let mut client = database.connect();
    client.batch_execute("SET customer_db.actor = 'secretagent'").unwrap();
    let long = format!("{}@{}.example.com", "secretlocal".repeat(5), "secretdomain".repeat(5));
    for (email, name) in [("secret@example.com", "Secret"), (&long, &"Secret ".repeat(28))] {
        let register = "SELECT customer_id FROM customers.register_customer($1, $2)";
        let id: uuid::Uuid = one(&mut client, register, &[&email, &name]);
        let set = "SELECT customers.set_status($1, 'CLOSED', 'secret reason')::text";
        client.query_one(set, &[&id]).unwrap();
    }
    let payloads = payloads(&mut listener);
    let lengths: Vec<usize> = payloads.iter().map(String::len).collect();
    assert_eq!(lengths.len(), 4);
    assert_eq!(
        lengths[..2],
        lengths[2..],
        "the size does not depend on what the customer is called"
    );
    assert!(lengths.iter().all(|length| *length < 250), "{lengths:?}");
    for payload in payloads {
        assert!(!payload.to_lowercase().contains("secret"), "{payload}");
    }
}

#[test]
fn off_sends_nothing_and_lets_a_transaction_be_prepared() {
    let database = database();
    let mut listener = database.listen();
    let mut client = database.connect();
    client.batch_execute("LOAD 'customer_db'; BEGIN").unwrap();
    registered(&mut client);
    let refused = client.batch_execute("PREPARE TRANSACTION 'notify_is_on'");
    assert_eq!(refusal(refused).code().code(), "0A000", "PostgreSQL cannot prepare a NOTIFY");

    client.batch_execute("SET customer_db.notify = off; BEGIN").unwrap();
    registered(&mut client);
    client.batch_execute("PREPARE TRANSACTION 'notify_is_off'").unwrap();
    client.batch_execute("COMMIT PREPARED 'notify_is_off'").unwrap();
    assert_eq!(positions(&mut client).len(), 1);
    assert!(received(&mut listener).is_empty());
}

#[test]
fn a_dba_turns_notifications_off_for_a_database() {
    let database = database();
    let mut listener = database.listen();
    let mut client = database.connect();
    let login = caller(&mut client);
    let alter = format!("ALTER DATABASE {} SET customer_db.notify = off", database.name);
    client.batch_execute(&alter).unwrap();
    registered(&mut database.connect_as(&login));
    assert!(received(&mut listener).is_empty());
}

#[test]
fn more_events_than_the_limit_send_one_notification_for_the_rest() {
    let database = database();
    let mut listener = database.listen();
    let mut client = writer(&database, 3);
    let register = |n: i32| format!("SELECT customers.register_customer('p{n}@example.com');");

    // As many as the limit: no notification stands for the rest.
    let three: String = (1..=3).map(register).collect();
    client.batch_execute(&format!("BEGIN; {three} COMMIT")).unwrap();
    assert_eq!(received(&mut listener), announced(&mut client));

    // In one statement each.
    let seven: String = (11..=17).map(register).collect();
    client.batch_execute(&format!("BEGIN; {seven} COMMIT")).unwrap();
    check_collapse(&received(&mut listener), &positions(&mut client)[3..], 3);

    // In one statement, and in statements of several rows.
    client.batch_execute("UPDATE customers.customers SET name = 'X'").unwrap();
    check_collapse(&received(&mut listener), &positions(&mut client)[10..], 3);
    client
        .batch_execute(
            "BEGIN;
             UPDATE customers.customers SET name = 'Y' WHERE email IN ('p1@example.com', 'p2@example.com');
             UPDATE customers.customers SET name = 'Y' WHERE email IN ('p3@example.com', 'p11@example.com');
             UPDATE customers.customers SET name = 'Y' WHERE email IN ('p12@example.com', 'p13@example.com');
             COMMIT",
        )
        .unwrap();
    check_collapse(&received(&mut listener), &positions(&mut client)[20..], 3);

    // The next transaction counts from 0.
    client.batch_execute(&register(20)).unwrap();
    assert!(collapsed(&received(&mut listener)).is_empty());
}

/// Asserts one notification for each of the first `limit` positions, then one that stands for the rest,
/// whose position is among them.
pub fn check_collapse(payloads: &[Value], positions: &[i64], limit: usize) {
    let (announced, rest) = positions.split_at(limit);
    assert_eq!(individual(payloads), announced);
    let collapsed = collapsed(payloads);
    assert_eq!(collapsed.len(), 1, "{payloads:?}");
    assert!(rest.contains(&collapsed[0]), "{} is not one of {rest:?}", collapsed[0]);
    assert_eq!(payloads.last().unwrap()["type"], "customers-changed", "it comes last");
}

#[test]
fn the_limit_is_1000_unless_set_and_0_announces_nobody_by_id() {
    let database = database();
    let mut listener = database.listen();
    let mut client = database.connect();
    let insert = |prefix: &str, count: i32| {
        format!(
            "INSERT INTO customers.customers (email)
             SELECT '{prefix}' || i || '@example.com' FROM generate_series(1, {count}) AS i;"
        )
    };
    client.batch_execute(&insert("a", 1002)).unwrap();
    check_collapse(&received(&mut listener), &positions(&mut client), 1000);

    let mut client = writer(&database, 0);
    client.batch_execute(&insert("b", 1)).unwrap();
    check_collapse(&received(&mut listener), &positions(&mut client)[1002..], 0);
    let twice = format!("BEGIN; {} {} COMMIT", insert("c", 2), insert("d", 2));
    client.batch_execute(&twice).unwrap();
    check_collapse(&received(&mut listener), &positions(&mut client)[1003..], 0);
}

#[test]
fn a_savepoint_that_is_rolled_back_gives_its_notifications_back() {
    let database = database();
    let mut listener = database.listen();
    let mut client = writer(&database, 3);
    let register =
        |name: &str| format!("SELECT customers.register_customer('{name}@example.com');");

    // Two that were rolled back do not count.
    let (kept, lost) = ("abc", "xy");
    let each = |names: &str| names.chars().map(|c| register(&c.to_string())).collect::<String>();
    client
        .batch_execute(&format!(
            "BEGIN; {} SAVEPOINT s; {} ROLLBACK TO s; {} COMMIT",
            each(&kept[..1]),
            each(lost),
            each(&kept[1..])
        ))
        .unwrap();
    assert_eq!(received(&mut listener), announced(&mut client));

    // Nor does a notification for the rest that was rolled back: the next one stands for the rest again.
    let before = positions(&mut client).len();
    client
        .batch_execute(&format!(
            "BEGIN; {} SAVEPOINT s; SAVEPOINT t; {} ROLLBACK TO s; {} COMMIT",
            each("de"),
            each("uvwxy"),
            each("fghi")
        ))
        .unwrap();
    check_collapse(&received(&mut listener), &positions(&mut client)[before..], 3);

    // What a released savepoint has announced counts for the transaction.
    let before = positions(&mut client).len();
    client
        .batch_execute(&format!(
            "BEGIN; SAVEPOINT s; SAVEPOINT t; {} RELEASE t; {} RELEASE s; {} COMMIT",
            each("jk"),
            each("l"),
            each("mno")
        ))
        .unwrap();
    check_collapse(&received(&mut listener), &positions(&mut client)[before..], 3);

    // Rolling back a savepoint also discards what a savepoint released into it has announced.
    let before = positions(&mut client).len();
    client
        .batch_execute(&format!(
            "BEGIN; SAVEPOINT s; SAVEPOINT t; {} RELEASE t; ROLLBACK TO s; {} COMMIT",
            each("wxyz"),
            each("pqr")
        ))
        .unwrap();
    let received = received(&mut listener);
    assert_eq!(individual(&received), positions(&mut client)[before..]);
    assert!(collapsed(&received).is_empty());
}

#[test]
fn every_committed_change_is_covered_when_savepoints_come_between() {
    // For transactions with any savepoints: a listener that reads the feed up to the highest position it
    // was notified of, or to the end after a notification for the rest, has missed no customer.
    let database = database();
    let mut listener = database.listen();
    let mut client = writer(&database, 4);
    client
        .batch_execute(
            "BEGIN;
             DO $$ BEGIN
                FOR i IN 1..40 LOOP
                    BEGIN
                        INSERT INTO customers.customers (email) VALUES ('p' || i || '@example.com');
                        IF i % 3 = 0 THEN RAISE division_by_zero; END IF;
                    EXCEPTION WHEN division_by_zero THEN NULL;
                    END;
                END LOOP;
             END $$;
             COMMIT",
        )
        .unwrap();
    check_collapse(&received(&mut listener), &positions(&mut client), 4);
}

#[test]
fn an_ordinary_role_cannot_silence_notifications_but_may_name_its_actor() {
    let database = database();
    let mut listener = database.listen();
    let login = caller(&mut database.connect());

    // Before the library is loaded, PostgreSQL accepts any value for its settings; loading it must discard them.
    let mut early = database.connect_as(&login);
    let _ = early.batch_execute("SET customer_db.notify = off");
    let _ = early.batch_execute("SET customer_db.notify_limit = 0");
    early.batch_execute("SET customer_db.actor = 'clerk 7'").unwrap();
    registered(&mut early);
    assert_eq!(collapsed(&received(&mut listener)).len(), 0);
    assert_eq!(one::<String>(&mut early, "SHOW customer_db.notify", &[]), "transaction");
    assert_eq!(one::<String>(&mut early, "SHOW customer_db.actor", &[]), "clerk 7");

    for setting in ["customer_db.notify = off", "customer_db.notify_limit = 0"] {
        let refused = early.batch_execute(&format!("SET {setting}"));
        assert_eq!(refusal(refused).code().code(), "42501", "{setting}");
    }
    registered(&mut early);
    let events = announced(&mut database.connect());
    assert_eq!(received(&mut listener), events[1..]);
    early.batch_execute("SET customer_db.actor = 'clerk 8'").unwrap();
}

#[test]
fn an_early_setting_of_an_ordinary_role_hides_no_notification() {
    let database = database();
    let mut listener = database.listen();
    let login = caller(&mut database.connect());
    let mut early = database.connect_as(&login);
    let _ = early.batch_execute("SET customer_db.notify = off");
    registered(&mut early);
    assert_eq!(received(&mut listener), announced(&mut database.connect()));
}

#[test]
fn a_setting_that_does_not_exist_is_refused() {
    let mut client = database().connect();
    client.batch_execute("SET customer_db.notfy = 'off'; LOAD 'customer_db'").unwrap();
    let gone = client.batch_execute("SHOW customer_db.notfy");
    assert_eq!(refusal(gone).code().code(), "42704", "loading the library removes it");
    let refused = client.batch_execute("SET customer_db.notfy = 'off'");
    assert_eq!(refusal(refused).code().code(), "42602");
    for value in ["sometimes", "''"] {
        let refused = client.batch_execute(&format!("SET customer_db.notify = {value}"));
        assert_eq!(refusal(refused).code().code(), "22023");
    }
    let refused = client.batch_execute("SET customer_db.notify_limit = -1");
    assert_eq!(refusal(refused).code().code(), "22023");
}

#[test]
fn any_role_may_listen_and_a_role_without_rights_learns_nothing_else() {
    let database = database();
    let stranger = role(&mut database.connect(), "");
    let mut listener = database.connect_as(&stranger);
    listener.batch_execute("LISTEN customers").unwrap();
    let mut client = database.connect();
    let email = address();
    client.query_one("SELECT customers.register_customer($1)::text", &[&email]).unwrap();
    let heard = received(&mut listener);
    assert_eq!(heard, announced(&mut client));
    let id = heard[0]["customerId"].as_str().unwrap();
    let read = listener.batch_execute(&format!("SELECT customers.get_customer('{id}')"));
    assert_eq!(refusal(read).code().code(), "42501");
}
