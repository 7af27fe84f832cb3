//! Promise: if a subscriber of logical replication fires the triggers, what is applied is recorded or
//! refused, and no customer is removed.

use crate::kit::history::{assert_recorded_since, recorded};
use crate::kit::{Database, Server, await_true, eventually, id, one, stored};
use postgres::Client;
use uuid::Uuid;

/// Makes every trigger of the extension fire for a subscription too.
const ENABLE_ALWAYS: &str = "DO $$
    DECLARE
        ours record;
    BEGIN
        FOR ours IN SELECT tgname AS name, tgrelid::regclass AS \"table\" FROM pg_trigger
                     WHERE NOT tgisinternal AND tgrelid IN (SELECT oid FROM pg_class
                                                             WHERE relnamespace = 'customers'::regnamespace)
        LOOP
            EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', ours.table, ours.name);
        END LOOP;
    END $$";

/// Inserts the same customer on either side.
fn insert(client: &mut Client, id: Uuid) {
    let insert = "INSERT INTO customers.customers (customer_id, email, name, registered_at)
                  VALUES ($1, 'ann@example.com', 'Ann', '2001-02-03 04:05:06+00')";
    client.execute(insert, &[&id]).unwrap();
}

/// Subscribes one database of a cluster to the customers of another; the subscription is disabled at the
/// first error.
fn subscribe(publisher: &Database, subscriber: &Database, copy: bool) {
    let name = &subscriber.name;
    let mut client = publisher.connect();
    client.batch_execute("CREATE PUBLICATION customers FOR TABLE customers.customers").unwrap();
    // The slot is created separately: a subscription to a database of its own cluster would wait for itself
    // while creating it.
    client.execute("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", &[name]).unwrap();
    subscriber
        .connect()
        .batch_execute(&format!(
            "CREATE SUBSCRIPTION {name} CONNECTION 'host={} dbname={} user=postgres' PUBLICATION customers
                 WITH (create_slot = false, copy_data = {copy}, disable_on_error = true)",
            publisher.server.host(),
            publisher.name
        ))
        .unwrap();
}

/// Waits until everything was applied or something was refused; returns whether something was refused.
fn await_applied(publisher: &mut Client, subscriber: &Database) -> bool {
    let lsn: String = one(publisher, "SELECT pg_current_wal_flush_lsn()::text", &[]);
    let mut observer = subscriber.connect();
    let enabled = "SELECT subenabled FROM pg_subscription WHERE subname = $1";
    let applied = "SELECT confirmed_flush_lsn >= $2::text::pg_lsn AND NOT EXISTS (
                              SELECT FROM pg_subscription_rel JOIN pg_subscription ON srsubid = oid
                               WHERE subname = $1 AND srsubstate NOT IN ('r', 's'))
                     FROM pg_replication_slots WHERE slot_name = $1";
    let mut refused = false;
    eventually("it is applied or refused", || {
        refused = !one::<bool>(&mut observer, enabled, &[&subscriber.name]);
        refused || one(&mut observer, applied, &[&subscriber.name, &lsn])
    });
    refused
}

/// A cluster for two databases with the extension.
fn start() -> Server {
    Server::start(&["wal_level = logical", "log_line_prefix = '%p %d %e '"])
}

#[test]
fn what_a_subscription_applies_is_recorded_or_refused_and_removes_nobody() {
    let server = start();
    for change in [
        "SELECT customers.set_status('{ann}', 'SUSPENDED')",
        "UPDATE customers.customers SET name = 'Anna', email = 'anna@example.com'",
        "SELECT customers.register_customer('bea@example.com')",
        "INSERT INTO customers.customers (email) VALUES ('bea@example.com'), ('cid@example.com')",
        "SET session_replication_role = replica; DELETE FROM customers.customers",
        "SET session_replication_role = replica; UPDATE customers.customers SET version = 7, name = 'Anna'",
        "SET session_replication_role = replica; TRUNCATE customers.customers",
    ] {
        let (publisher, subscriber) = (server.database(), server.database());
        let (mut source, mut target) = (publisher.connect(), subscriber.connect());
        let ann = id();
        insert(&mut source, ann);
        insert(&mut target, ann);
        target.batch_execute(ENABLE_ALWAYS).unwrap();
        let before = recorded(&mut target);
        subscribe(&publisher, &subscriber, false);

        let log = server.log().len();
        source.batch_execute(&change.replace("{ann}", &ann.to_string())).unwrap();
        if await_applied(&mut source, &subscriber) {
            eventually("the log says why", || {
                let log = &server.log()[log..];
                log.contains(" 55000 ERROR") || log.contains(" 23514 ERROR")
            });
        }
        stored(&mut target, ann);
        assert_recorded_since(&mut target, &before, change);
        // A session on the subscriber can still write.
        target.batch_execute("UPDATE customers.customers SET name = 'Anne'").unwrap();
        assert_recorded_since(&mut target, &before, change);
        let drop = format!(
            "ALTER SUBSCRIPTION {name} DISABLE; ALTER SUBSCRIPTION {name} SET (slot_name = NONE);
             DROP SUBSCRIPTION {name}",
            name = subscriber.name
        );
        target.batch_execute(&drop).unwrap();
        let inactive = "SELECT NOT active FROM pg_replication_slots WHERE slot_name = $1";
        await_true(&mut source, inactive, &[&subscriber.name]);
        source.execute("SELECT pg_drop_replication_slot($1)", &[&subscriber.name]).unwrap();
    }
}

#[test]
fn what_a_subscription_copies_at_its_beginning_is_recorded_or_refused() {
    let server = start();
    let (publisher, subscriber) = (server.database(), server.database());
    let (mut source, mut target) = (publisher.connect(), subscriber.connect());
    insert(&mut source, id());
    target.batch_execute(ENABLE_ALWAYS).unwrap();
    subscribe(&publisher, &subscriber, true);
    await_applied(&mut source, &subscriber);
    assert_recorded_since(&mut target, &[], "a copy of the table");
}
