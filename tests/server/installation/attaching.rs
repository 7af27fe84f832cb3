//! Promise: attach() works under traffic, stops nobody without need, and says what keeps a table from being adopted.

use crate::kit::attack::past_the_triggers;
use crate::kit::traffic::SetWhenDropped;
use crate::kit::{
    Database, all, assert_feed_keeps_contract, assert_refused, await_blocked, call, database, one,
    pid, received, refusal, registered, server,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

#[test]
fn rows_that_are_younger_than_its_transaction_are_adopted() {
    let database = database();
    let (mut attaching, mut writing) = (database.connect(), database.connect());
    // On a complete installation, and with something missing.
    for missing in ["", "DROP INDEX customers.idx_customers_status"] {
        writing.batch_execute(missing).unwrap();
        attaching.batch_execute("BEGIN; SELECT 1").unwrap();
        let id = registered(&mut writing);
        call(&mut writing, "update_customer($1, name => 'Ann')", &[&id]).unwrap();
        attaching.batch_execute("SELECT customers.attach(); COMMIT").unwrap();
        let complete = "SELECT to_regclass('customers.idx_customers_status') IS NOT NULL";
        assert!(one::<bool>(&mut attaching, complete, &[]));
    }
}

#[test]
fn it_succeeds_again_and_again_while_others_write() {
    let database = database();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let write = || {
            let mut client = database.connect();
            let mut written = 0;
            while !done.load(Ordering::Acquire) {
                let id = registered(&mut client);
                call(&mut client, "set_status($1, 'SUSPENDED')", &[&id]).unwrap();
                written += 1;
            }
            written
        };
        let writers = [scope.spawn(write), scope.spawn(write)];
        {
            let _done = SetWhenDropped(&done);
            let mut client = database.connect();
            for _ in 0..20 {
                let now: i64 = one(&mut client, "SELECT count(*) FROM customers.customers", &[]);
                client.batch_execute("BEGIN; SELECT 1").unwrap();
                crate::kit::await_true(
                    &mut database.connect(),
                    "SELECT count(*) > $1 FROM customers.customers",
                    &[&now],
                );
                client.batch_execute("SELECT customers.attach(); COMMIT").unwrap();
            }
        }
        let written: u64 = writers.into_iter().map(|writer| writer.join().unwrap()).sum();
        assert!(written >= 20);
    });
}

#[test]
fn a_table_that_a_crash_would_empty_is_refused() {
    for table in ["customers", "events", "consumers", "erasures", "feed_epochs"] {
        let mut client = database().connect();
        let alter = |logged: &str| format!("ALTER TABLE customers.{table} SET {logged}");
        client.batch_execute(&alter("UNLOGGED")).unwrap();
        let attach = "SELECT customers.attach()";
        assert_refused(client.batch_execute(attach), "55000", &[]);
        client.batch_execute(&alter("LOGGED")).unwrap();
        client.batch_execute(attach).unwrap();
    }
}

/// The modes of the locks that a session holds on relations of the schema.
fn lock_modes(observer: &mut postgres::Client, holder: i32) -> Vec<String> {
    all(
        observer,
        "SELECT DISTINCT mode FROM pg_locks JOIN pg_class ON pg_class.oid = relation
          WHERE pid = $1 AND relnamespace = 'customers'::regnamespace",
        &[&holder],
    )
}

#[test]
fn on_a_whole_installation_it_stops_nobody_and_waits_for_nobody() {
    let database = database();
    let (mut attaching, mut other) = (database.connect(), database.connect());
    // Conflicts with every lock that writes or defines something.
    other
        .batch_execute(
            "BEGIN;
             LOCK TABLE customers.customers, customers.events, customers.consumers, customers.erasures,
                        customers.feed_epochs, customers.customers_masked IN SHARE ROW EXCLUSIVE MODE",
        )
        .unwrap();
    attaching.batch_execute("SET lock_timeout = '10s'; BEGIN; SELECT customers.attach()").unwrap();
    let holder = pid(&mut attaching);
    assert_eq!(lock_modes(&mut other, holder), ["AccessShareLock"]);
}

#[test]
fn while_rows_are_checked_and_refused_readers_go_on() {
    let database = database();
    let (mut attaching, mut reader) = (database.connect(), database.connect());
    attaching.batch_execute("DROP INDEX customers.idx_customers_status").unwrap();
    past_the_triggers(
        &mut attaching,
        "customers.customers",
        "INSERT INTO customers.customers (email) VALUES ('no address')",
    );
    reader.batch_execute("BEGIN; SELECT * FROM customers.customers").unwrap();
    attaching.batch_execute("SET lock_timeout = '10s'").unwrap();
    assert_refused(attaching.batch_execute("SELECT customers.attach()"), "55000", &["no address"]);
    past_the_triggers(&mut attaching, "customers.customers", "DELETE FROM customers.customers");
    reader.batch_execute("COMMIT").unwrap();
    attaching.batch_execute("SELECT customers.attach()").unwrap();
}

/// A live table with the types that applications choose.
const PUBLIC_CUSTOMERS: &str = "
    CREATE SCHEMA customers;
    CREATE TABLE customers.customers (
        id            uuid PRIMARY KEY,
        email         varchar(255) NOT NULL,
        name          varchar(100),
        status        varchar(20) NOT NULL,
        created_at    timestamp NOT NULL,
        updated_at    timestamptz(0) NOT NULL);
    INSERT INTO customers.customers
    SELECT gen_random_uuid(), 'person' || i || '@example.com', 'Person ' || i, 'ACTIVE', now() - interval '1 year', now()
      FROM generate_series(1, 20) AS i;
    CREATE EXTENSION customer_db";

#[test]
fn it_says_what_each_column_is_and_must_be_and_the_alter_that_makes_it_so() {
    let mut client = server().empty_database("").connect();
    client.batch_execute(PUBLIC_CUSTOMERS).unwrap();
    client
        .batch_execute(
            "ALTER TABLE customers.customers RENAME id TO customer_id;
             ALTER TABLE customers.customers RENAME created_at TO registered_at",
        )
        .unwrap();
    let error = refusal(client.batch_execute("SELECT customers.attach()"));
    assert_eq!(error.code().code(), "55000");
    let detail = error.detail().expect("what to type").to_owned();
    assert!(
        detail.contains("email is character varying(255), must be text: ALTER TABLE customers.customers ALTER email TYPE text;"),
        "{detail}"
    );
    assert_eq!(detail.lines().count(), 5, "{detail}");
    for line in detail.lines() {
        let (_, statement) = line.split_once(": ").expect("a statement");
        client.batch_execute(statement).unwrap_or_else(|e| panic!("{statement}: {e:?}"));
    }
    client.batch_execute("SELECT customers.attach()").unwrap();

    let mut client = server().empty_database("").connect();
    client.batch_execute(PUBLIC_CUSTOMERS).unwrap();
    let error = refusal(client.batch_execute("SELECT customers.attach()"));
    assert!(error.detail().is_some_and(|detail| detail.contains("customer_id is missing")));
}

#[test]
fn what_it_says_to_type_for_a_key_of_numbers_and_for_missing_columns_makes_the_table_adoptable() {
    let mut client = server().empty_database("").connect();
    client
        .batch_execute(
            "CREATE SCHEMA customers;
             CREATE TABLE customers.customers (
                 customer_id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
                 email       text NOT NULL UNIQUE,
                 name        text);
             INSERT INTO customers.customers (email) VALUES ('ann@example.com'), ('bob@example.com');
             CREATE EXTENSION customer_db",
        )
        .unwrap();
    let error = refusal(client.batch_execute("SELECT customers.attach()"));
    let detail = error.detail().expect("what to type").to_owned();
    assert!(detail.contains("customer_id is bigint") && detail.contains("updated_at is missing"));
    for line in detail.lines() {
        let (_, statements) = line.split_once(": ").expect("statements");
        let (statements, _) = statements.rsplit_once(';').expect("a semicolon");
        client.batch_execute(statements).unwrap_or_else(|e| panic!("{statements}: {e:?}"));
    }
    client.batch_execute("SELECT customers.attach()").unwrap();
    assert_eq!(
        all::<i64>(&mut client, "SELECT customer_number FROM customers.customers ORDER BY 1", &[]),
        [1, 2]
    );
}

#[test]
fn a_problem_that_no_conversion_mends_is_told_before_one_that_it_does() {
    let mut client = database().connect();
    let broken = "SELECT customers.broken_rule('Ann@Example.com', $1, 'ACTIVE')";
    assert_eq!(one::<String>(&mut client, broken, &[&""]), "name is empty");
    let not_canonical = "e-mail address is not in canonical form";
    assert_eq!(one::<String>(&mut client, broken, &[&" Ann"]), not_canonical);
    let erased = "SELECT customers.broken_rule('a@ERASED.invalid', NULL, 'CLOSED')";
    let reserved = "addresses at erased.invalid are reserved for erased customers";
    assert_eq!(one::<String>(&mut client, erased, &[]), reserved);
}

/// A database that has adopted a table of customers.
fn adopted(count: i32) -> Database<'static> {
    let database = server().empty_database("");
    let mut client = database.connect();
    client
        .batch_execute(
            "CREATE SCHEMA customers;
             CREATE TABLE customers.customers (customer_id uuid PRIMARY KEY, email text, name text, status text,
                                               registered_at timestamptz, updated_at timestamptz)",
        )
        .unwrap();
    client
        .execute(
            "INSERT INTO customers.customers
             SELECT gen_random_uuid(), 'person' || i || '@example.com', CASE WHEN i % 2 = 0 THEN 'Person ' || i END,
                    (ARRAY['ACTIVE', 'SUSPENDED', 'CLOSED'])[i % 3 + 1], now() - interval '1 year', now()
               FROM generate_series(1, $1) AS i",
            &[&count],
        )
        .unwrap();
    client.batch_execute("CREATE EXTENSION customer_db; SELECT customers.attach()").unwrap();
    database
}

#[test]
fn customers_of_an_adopted_table_are_recorded_on_request() {
    let database = adopted(25);
    let mut client = database.connect();
    let rows = "SELECT md5(string_agg(customers::text, ';' ORDER BY customer_id)) FROM customers.customers";
    let before: String = one(&mut client, rows, &[]);
    let mut listener = database.listen();
    assert_eq!(one::<i64>(&mut client, "SELECT customers.record_missing_events(10)", &[]), 10);
    assert_eq!(one::<i64>(&mut client, "SELECT customers.record_missing_events()", &[]), 15);
    assert_eq!(one::<i64>(&mut client, "SELECT customers.record_missing_events()", &[]), 0);
    assert_eq!(one::<String>(&mut client, rows, &[]), before, "no customer has changed");
    assert_feed_keeps_contract(&mut client, 25);
    assert_eq!(received(&mut listener).len(), 25);
    let known = "SELECT count(*) FROM customers.read_events(0) AS event JOIN customers.customers USING (customer_id)
                  WHERE event.type = 'customer-registered' AND event.version = customers.version
                    AND event.event -> 'customer' ->> 'email' = email
                    AND event.event -> 'customer' ->> 'name' IS NOT DISTINCT FROM name
                    AND event.event -> 'customer' ->> 'status' = status";
    assert_eq!(one::<i64>(&mut client, known, &[]), 25);
    let negative = client.execute("SELECT customers.record_missing_events(-1)", &[]);
    assert_refused(negative, "22023", &[]);
    // Who was erased is not published again, nor who was pruned.
    client
        .batch_execute(
            "SELECT customers.erase_customer(customer_id) FROM customers.customers LIMIT 1;
             SELECT customers.prune_events('0 days')",
        )
        .unwrap();
    assert_eq!(one::<i64>(&mut client, "SELECT customers.record_missing_events()", &[]), 0);
}

#[test]
fn a_customer_that_breaks_a_rule_is_not_recorded_before_it_is_mended() {
    let database = adopted(4);
    let mut client = database.connect();
    let one_of_them = "UPDATE customers.customers SET email = upper(email)
                        WHERE customer_id = (SELECT max(customer_id::text)::uuid FROM customers.customers)";
    past_the_triggers(&mut client, "customers.customers", one_of_them);
    let recorded = client.execute("SELECT customers.record_missing_events()", &[]);
    assert_refused(recorded, "55000", &[]);
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM customers.events", &[]), 0);
    let mended = "UPDATE customers.customers SET email = lower(email)";
    past_the_triggers(&mut client, "customers.customers", mended);
    assert_eq!(one::<i64>(&mut client, "SELECT customers.record_missing_events()", &[]), 4);
}

#[test]
fn every_offender_is_listed_with_its_canonical_form_and_whom_it_collides_with() {
    let mut client = server().empty_database("").connect();
    client
        .batch_execute(
            "CREATE SCHEMA customers;
             CREATE TABLE customers.customers (customer_id uuid DEFAULT gen_random_uuid(), email text, name text,
                                               status text, registered_at timestamptz DEFAULT now(),
                                               updated_at timestamptz DEFAULT now());
             INSERT INTO customers.customers (email, name, status)
             VALUES ('Ann@Example.com', ' Ann ', 'ACTIVE'), ('ann@example.com', 'Ann', 'ACTIVE'),
                    ('Bea@example.com', 'Bea', 'ACTIVE'), ('no address', '', 'ODD'), ('good@example.com', 'Good', 'ACTIVE'),
                    (NULL, NULL, NULL);
             CREATE EXTENSION customer_db",
        )
        .unwrap();
    let error = refusal(client.batch_execute("SELECT customers.attach()"));
    assert!(error.hint().is_some_and(|hint| hint.contains("customers.offenders()")), "{error:?}");
    let listed: Vec<String> = all(
        &mut client,
        "SELECT concat_ws(' | ', email, offender.canonical_email, offender.canonical_name, cardinality(problems),
                          cardinality(collides_with))
           FROM customers.offenders() AS offender JOIN customers.customers USING (customer_id) ORDER BY 1",
        &[],
    );
    assert_eq!(
        listed,
        [
            "2",
            "Ann@Example.com | ann@example.com | Ann | 3 | 1",
            "Bea@example.com | bea@example.com | Bea | 1",
            "ann@example.com | ann@example.com | Ann | 1 | 1",
            "no address | 3",
        ]
    );
    client
        .batch_execute(
            "DELETE FROM customers.customers WHERE email IN ('ann@example.com', 'no address') OR email IS NULL;
             UPDATE customers.customers AS customer SET email = canonical_email, name = canonical_name
               FROM customers.offenders() AS offender WHERE offender.customer_id = customer.customer_id;
             SELECT customers.attach()",
        )
        .unwrap();
}

#[test]
fn triggers_of_the_owners_that_work_against_the_guard_are_named() {
    let database = server().empty_database("");
    let (mut client, notices) = database.connect_for_notices();
    client
        .batch_execute(
            "CREATE SCHEMA customers;
             CREATE TABLE customers.customers (customer_id uuid, email text, name text, status text,
                                               registered_at timestamptz, updated_at timestamptz);
             CREATE FUNCTION public.touch() RETURNS trigger LANGUAGE plpgsql
                 AS 'BEGIN new.updated_at = now(); RETURN new; END';
             CREATE FUNCTION public.late() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
             CREATE TRIGGER touch BEFORE UPDATE ON customers.customers FOR EACH ROW EXECUTE FUNCTION public.touch();
             CREATE TRIGGER late BEFORE INSERT ON customers.customers FOR EACH ROW EXECUTE FUNCTION public.late();
             CREATE EXTENSION customer_db;
             SELECT 1",
        )
        .unwrap();
    notices.take();
    client.batch_execute("SELECT customers.attach()").unwrap();
    let warnings: Vec<String> = notices
        .take()
        .iter()
        .filter(|notice| notice.severity() == "WARNING")
        .map(|warning| format!("{} {}", warning.message(), warning.hint().unwrap()))
        .collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("late") && warnings[0].contains("RENAME TO before_late"));
    assert!(warnings[1].contains("updated_at") && warnings[1].contains("DROP TRIGGER touch"));
}

#[test]
fn a_customer_that_changed_before_it_was_recorded_is_recorded_as_a_whole() {
    let database = adopted(6);
    let mut client = database.connect();
    let active =
        "SELECT customer_id FROM customers.customers WHERE status = 'ACTIVE' ORDER BY 1 LIMIT 1";
    let id: uuid::Uuid = one(&mut client, active, &[]);
    call(&mut client, "update_customer($1, name => 'Changed')", &[&id]).unwrap();
    assert_eq!(one::<i64>(&mut client, "SELECT customers.record_missing_events()", &[]), 6);
    let last: String = one(
        &mut client,
        "SELECT version || ' ' || (event -> 'changes')::text FROM customers.read_events(0)
          WHERE customer_id = $1 ORDER BY position DESC LIMIT 1",
        &[&id],
    );
    assert!(last.starts_with("3 ") && last.contains("email") && last.contains("Changed"), "{last}");
    assert_eq!(one::<i64>(&mut client, "SELECT customers.record_missing_events()", &[]), 0);
}

#[test]
fn what_others_record_or_erase_meanwhile_is_not_recorded_again() {
    let database = adopted(6);
    let (mut client, mut other) = (database.connect(), database.connect());
    let ids: Vec<uuid::Uuid> = all(
        &mut client,
        "SELECT customer_id FROM customers.customers WHERE status <> 'CLOSED' ORDER BY 1",
        &[],
    );
    client.batch_execute("BEGIN").unwrap();
    call(&mut client, "erase_customer($1)", &[&ids[0]]).unwrap();
    call(&mut client, "update_customer($1, name => 'Changed')", &[&ids[1]]).unwrap();
    assert_eq!(one::<i64>(&mut client, "SELECT customers.record_missing_events(2)", &[]), 2);
    let waiting = pid(&mut other);
    let mut observer = database.connect();
    std::thread::scope(|scope| {
        let recording =
            scope.spawn(|| one::<i64>(&mut other, "SELECT customers.record_missing_events()", &[]));
        await_blocked(&mut observer, waiting);
        client.batch_execute("COMMIT").unwrap();
        let recorded = recording.join().unwrap();
        assert!(recorded <= 4, "{recorded}");
    });
    let twice = "SELECT count(*) FROM (SELECT FROM customers.events GROUP BY customer_id, version HAVING count(*) > 1) AS twice";
    assert_eq!(one::<i64>(&mut client, twice, &[]), 0);
    let last =
        "SELECT type FROM customers.events WHERE customer_id = $1 ORDER BY position DESC LIMIT 1";
    assert_eq!(one::<String>(&mut client, last, &[&ids[0]]), "customer-erased");
    let unordered = "SELECT count(*) FROM customers.events AS event
                      WHERE EXISTS (SELECT FROM customers.events AS later
                                     WHERE later.customer_id = event.customer_id
                                       AND later.position > event.position AND later.version <= event.version)";
    assert_eq!(one::<i64>(&mut client, unordered, &[]), 0);
}

#[test]
fn what_a_trigger_writes_while_customers_are_recorded_is_recorded_as_what_it_is() {
    let database = adopted(4);
    let mut client = database.connect();
    let id: uuid::Uuid = {
        let row = client
            .query_one(
                "SELECT customer_id FROM customers.register_customer('parent@example.com')",
                &[],
            )
            .unwrap();
        row.get(0)
    };
    client
        .batch_execute(&format!(
            "CREATE FUNCTION public.notes() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN
                 IF new.customer_id <> '{id}' THEN
                     PERFORM customers.update_customer('{id}', name => 'after ' || new.customer_id);
                 END IF;
                 RETURN new;
             END $$;
             CREATE TRIGGER notes AFTER UPDATE ON customers.customers FOR EACH ROW EXECUTE FUNCTION public.notes()"
        ))
        .unwrap();
    assert_eq!(one::<i64>(&mut client, "SELECT customers.record_missing_events(2)", &[]), 2);
    let types: Vec<String> = all(
        &mut client,
        "SELECT type || ' ' || version FROM customers.events WHERE customer_id = $1 ORDER BY position",
        &[&id],
    );
    assert_eq!(types, ["customer-registered 1", "customer-updated 2", "customer-updated 3"]);
}

#[test]
fn a_transaction_that_has_read_and_then_writes_does_not_deadlock_with_it() {
    let database = database();
    let (mut attaching, mut other) = (database.connect(), database.connect());
    let id = registered(&mut other);
    attaching.batch_execute("DROP TRIGGER guard ON customers.customers").unwrap();
    other.batch_execute("BEGIN; SELECT * FROM customers.customers").unwrap();
    // Nothing that readers wait for is missing, so it does not wait for this one.
    attaching.batch_execute("SET lock_timeout = '10s'; SELECT customers.attach()").unwrap();
    call(&mut other, "update_customer($1, name => 'Ann')", &[&id]).unwrap();
    other.batch_execute("COMMIT").unwrap();
    // An old snapshot would not show it what others have written.
    attaching.batch_execute("DROP TRIGGER guard ON customers.customers").unwrap();
    attaching.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").unwrap();
    assert_refused(attaching.batch_execute("SELECT customers.attach()"), "25001", &[]);
}
