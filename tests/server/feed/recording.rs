//! Promise: every change that commits leaves exactly one event, written in its own transaction.

use crate::kit::{
    address, all, await_blocked, caller, database, on_16, one, pid, refusal, registered, role,
    unique,
};
use postgres::Client;
use serde_json::{Value, json};
use std::io::Write;
use uuid::Uuid;

/// The number of events.
fn count(client: &mut Client) -> i64 {
    one(client, "SELECT count(*) FROM customers.events", &[])
}

/// All events in the feed's order: type, version and changes.
fn feed(client: &mut Client) -> Vec<(String, i64, Value)> {
    let query = "SELECT type, version, changes FROM customers.events ORDER BY position";
    let rows = client.query(query, &[]).unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
}

fn event(r#type: &str, version: i64, changes: Value) -> (String, i64, Value) {
    (format!("customer-{}", r#type), version, changes)
}

/// One column of the newest event, as text.
fn last(client: &mut Client, column: &str) -> Option<String> {
    let query =
        format!("SELECT {column}::text FROM customers.events ORDER BY position DESC LIMIT 1");
    one(client, &query, &[])
}

/// Asserts one event for each customer and version, none missing and none twice.
fn assert_one_event_for_each_version(client: &mut Client) {
    let differing: i64 = one(
        client,
        "SELECT count(*)
           FROM (SELECT customer_id, generate_series(1, version) AS version
                   FROM customers.customers) AS wanted
           FULL JOIN customers.events AS event USING (customer_id, version)
          WHERE event.position IS NULL OR wanted IS NULL",
        &[],
    );
    assert_eq!(differing, 0);
    let twice: i64 = one(
        client,
        "SELECT count(*) - count(DISTINCT (customer_id, version)) FROM customers.events",
        &[],
    );
    assert_eq!(twice, 0);
}

#[test]
fn an_event_commits_and_rolls_back_with_its_change() {
    let database = database();
    let mut client = database.connect();
    let mut observer = database.connect();

    let mut transaction = client.transaction().unwrap();
    let register = "SELECT customers.register_customer($1)::text";
    transaction.query_one(register, &[&address()]).unwrap();
    assert_eq!(count(&mut observer), 0, "nobody sees an event before its change commits");
    transaction.rollback().unwrap();
    assert_eq!(count(&mut observer), 0);

    let mut transaction = client.transaction().unwrap();
    transaction.query_one(register, &[&"kept1@example.com"]).unwrap();
    let mut savepoint = transaction.savepoint("s").unwrap();
    savepoint.query_one(register, &[&"lost@example.com"]).unwrap();
    savepoint.rollback().unwrap();
    let mut savepoint = transaction.savepoint("s").unwrap();
    savepoint.query_one(register, &[&"kept2@example.com"]).unwrap();
    savepoint.commit().unwrap();
    transaction.commit().unwrap();

    let emails: Vec<String> = all(
        &mut observer,
        "SELECT changes ->> 'email' FROM customers.events ORDER BY position",
        &[],
    );
    assert_eq!(emails, ["kept1@example.com", "kept2@example.com"]);
    assert_one_event_for_each_version(&mut observer);
}

#[test]
fn a_statement_that_is_refused_leaves_no_event_of_its_good_rows() {
    let mut client = database().connect();
    let insert = "INSERT INTO customers.customers (email)
                  VALUES ('good@example.com'), ('other@example.com'), ('bad')";
    assert_eq!(refusal(client.execute(insert, &[])).code().code(), "22023");
    assert_eq!(count(&mut client), 0);
}

#[test]
fn a_statement_records_one_event_for_each_customer_it_changed() {
    let mut client = database().connect();
    client
        .batch_execute(
            "INSERT INTO customers.customers (email, name)
             VALUES ('a@example.com', 'A'), ('b@example.com', 'B'), ('c@example.com', NULL);
             UPDATE customers.customers SET name = 'B' WHERE email < 'c'",
        )
        .unwrap();
    assert_eq!(
        feed(&mut client),
        [
            event(
                "registered",
                1,
                json!({"email": "a@example.com", "name": "A", "status": "ACTIVE"})
            ),
            event(
                "registered",
                1,
                json!({"email": "b@example.com", "name": "B", "status": "ACTIVE"})
            ),
            event("registered", 1, json!({"email": "c@example.com", "status": "ACTIVE"})),
            event("updated", 2, json!({"name": "B"})),
        ]
    );
    let row = client
        .query_one(
            "SELECT event.customer_id = customer.customer_id
               FROM customers.events AS event, customers.customers AS customer
              WHERE event.type = 'customer-updated' AND customer.email = 'a@example.com'",
            &[],
        )
        .unwrap();
    assert!(row.get::<_, bool>(0), "the event names the customer that changed");
}

#[test]
fn an_event_holds_the_new_values_of_what_changed_and_nothing_else() {
    let mut client = database().connect();
    let id: Uuid = one(
        &mut client,
        "SELECT customer_id FROM customers.register_customer('Ann@Example.COM', 'Ann')",
        &[],
    );
    for update in [
        "SELECT customers.patch_customer($1, '{\"name\": null}')::text",
        "SELECT customers.update_customer($1, name => ' Ann B. ', status => 'SUSPENDED')::text",
        "SELECT customers.update_customer($1, email => 'ANN2@example.com')::text",
        "SELECT customers.set_status($1, 'CLOSED')::text",
    ] {
        client.query_one(update, &[&id]).unwrap();
    }
    let registration = json!({"email": "ann@example.com", "name": "Ann", "status": "ACTIVE"});
    assert_eq!(
        feed(&mut client),
        [
            event("registered", 1, registration),
            event("updated", 2, json!({"name": null})),
            event("updated", 3, json!({"name": "Ann B.", "status": "SUSPENDED"})),
            event("updated", 4, json!({"email": "ann2@example.com"})),
            event("updated", 5, json!({"status": "CLOSED"})),
        ]
    );
    let distinct: i64 =
        one(&mut client, "SELECT count(DISTINCT event_id) FROM customers.events", &[]);
    assert_eq!(distinct, 5);
}

#[test]
fn an_event_occurred_when_the_customer_was_updated() {
    let mut client = database().connect();
    let id = registered(&mut client);
    let same = "SELECT event.occurred_at = customer.updated_at
                  FROM customers.events AS event
                  JOIN customers.customers AS customer USING (customer_id, version)
                 WHERE customer_id = $1";
    assert!(one::<bool>(&mut client, same, &[&id]));
    // Two changes in one transaction share now(), but have different moments.
    let mut transaction = client.transaction().unwrap();
    for status in ["SUSPENDED", "ACTIVE"] {
        let set = "SELECT customers.set_status($1, $2)::text";
        transaction.query_one(set, &[&id, &status]).unwrap();
    }
    transaction.commit().unwrap();
    assert!(one::<bool>(&mut client, same, &[&id]));
    let moments: i64 =
        one(&mut client, "SELECT count(DISTINCT occurred_at) FROM customers.events", &[]);
    assert_eq!(moments, 3);
    // An imported registered_at is not the event's time.
    let imported: bool = one(
        &mut client,
        "WITH imported AS (INSERT INTO customers.customers (email, registered_at)
                           VALUES ('old@example.com', '2001-02-03') RETURNING customer_id)
         SELECT true FROM imported",
        &[],
    );
    assert!(imported);
    let recent = last(&mut client, "(occurred_at > now() - interval '1 hour')");
    assert_eq!(recent.as_deref(), Some("true"));
}

#[test]
fn recorded_by_is_the_login_role_whatever_role_was_set() {
    let database = database();
    let mut client = database.connect();
    let login = caller(&mut client);
    client.batch_execute(&format!("SET ROLE {login}")).unwrap();
    registered(&mut client);
    client.batch_execute("RESET ROLE").unwrap();
    assert_eq!(last(&mut client, "recorded_by").as_deref(), Some("postgres"));

    registered(&mut database.connect_as(&login));
    assert_eq!(last(&mut client, "recorded_by").as_deref(), Some(login.as_str()));

    // Plain DML is recorded with its login role too, and requires no privilege on the feed.
    let writer = role(&mut client, "");
    client
        .batch_execute(&format!(
            "GRANT USAGE ON SCHEMA customers TO {writer};
             GRANT INSERT ON customers.customers TO {writer}"
        ))
        .unwrap();
    let mut by_dml = database.connect_as(&writer);
    by_dml
        .batch_execute("INSERT INTO customers.customers (email) VALUES ('d@example.com')")
        .unwrap();
    assert_eq!(last(&mut client, "recorded_by").as_deref(), Some(writer.as_str()));
    let read = by_dml.batch_execute("SELECT FROM customers.events");
    assert_eq!(refusal(read).code().code(), "42501");
}

#[test]
fn the_actor_is_whom_the_application_names() {
    let mut client = database().connect();
    let mut actor_after = |sql: &str| {
        client.batch_execute(sql).unwrap();
        last(&mut client, "actor")
    };
    let register = |n| format!("SELECT customers.register_customer('p{n}@example.com')");
    assert_eq!(actor_after(&register(1)), None);
    let set = "SET customer_db.actor = 'clerk 7'";
    assert_eq!(actor_after(&format!("{set}; {}", register(2))).as_deref(), Some("clerk 7"));
    let local = "BEGIN; SET LOCAL customer_db.actor = 'clerk 8'";
    let transaction = format!("{local}; {}; COMMIT", register(3));
    assert_eq!(actor_after(&transaction).as_deref(), Some("clerk 8"));
    assert_eq!(actor_after(&register(4)).as_deref(), Some("clerk 7"), "SET LOCAL has ended");
    let savepoint = format!(
        "BEGIN; SAVEPOINT s; SET LOCAL customer_db.actor = 'x'; ROLLBACK TO s; {}; COMMIT",
        register(5)
    );
    assert_eq!(actor_after(&savepoint).as_deref(), Some("clerk 7"));
    assert_eq!(actor_after(&format!("SET customer_db.actor = ''; {}", register(6))), None);
    assert_eq!(actor_after(&format!("RESET customer_db.actor; {}", register(7))), None);
}

#[test]
fn the_reason_is_kept_with_the_event_it_was_given_for_and_no_other() {
    let mut client = database().connect();
    let id = registered(&mut client);
    let set = "SELECT customers.set_status($1, $2, $3)::text";
    client.query_one(set, &[&id, &"SUSPENDED", &"chargeback"]).unwrap();
    assert_eq!(last(&mut client, "reason").as_deref(), Some("chargeback"));
    // A reason left behind by a refusal would be recorded with the next event.
    let refused = client.query_one(set, &[&Uuid::from_u128(1), &"CLOSED", &"left behind"]);
    assert_eq!(refusal(refused).code().code(), "PT404");
    let refused = client.query_one(set, &[&id, &"closed", &"left behind"]);
    assert_eq!(refusal(refused).code().code(), "22023");
    client.batch_execute("UPDATE customers.customers SET name = 'Ann'").unwrap();
    assert_eq!(last(&mut client, "reason"), None);
    client.query_one(set, &[&id, &"CLOSED", &None::<&str>]).unwrap();
    assert_eq!(last(&mut client, "reason"), None);
}

#[test]
fn a_change_that_changes_nothing_records_nothing() {
    let mut client = database().connect();
    client
        .batch_execute(
            "SELECT customers.register_customer('ann@example.com', 'Zoé');
             ALTER TABLE customers.customers ADD COLUMN note text",
        )
        .unwrap();
    let row = "SELECT to_jsonb(customer) - 'note' FROM customers.customers AS customer";
    let before: Value = one(&mut client, row, &[]);
    client
        .batch_execute(
            "UPDATE customers.customers SET name = name;
             UPDATE customers.customers SET email = ' ANN@EXAMPLE.com', name = E' Zoe\\u0301 ';
             UPDATE customers.customers SET note = 'a good customer';
             UPDATE customers.customers SET version = 99, updated_at = '2001-02-03';
             UPDATE customers.customers SET name = 'Bob' WHERE false;
             INSERT INTO customers.customers (email) VALUES ('ann@example.com') ON CONFLICT DO NOTHING;
             SELECT customers.update_customer(customer_id), customers.set_status(customer_id, 'ACTIVE'),
                    customers.patch_customer(customer_id, '{\"status\": \"ACTIVE\"}')
               FROM customers.customers;",
        )
        .unwrap();
    assert_eq!(one::<Value>(&mut client, row, &[]), before);
    assert_eq!(count(&mut client), 1);
}

#[test]
fn an_insert_that_becomes_an_update_records_an_update() {
    let mut client = database().connect();
    client
        .batch_execute(
            "SELECT customers.register_customer('ann@example.com', 'Ann');
             SELECT customers.register_customer('bob@example.com', 'Bob');
             INSERT INTO customers.customers AS c (email, name)
             VALUES ('ANN@example.com', 'Anna'), ('cid@example.com', 'Cid'), ('bob@example.com', 'Bob')
             ON CONFLICT (email) DO UPDATE SET name = excluded.name",
        )
        .unwrap();
    let mut new = feed(&mut client).split_off(2);
    new.sort_by_key(|(_, version, _)| *version);
    assert_eq!(
        new,
        [
            event(
                "registered",
                1,
                json!({"email": "cid@example.com", "name": "Cid", "status": "ACTIVE"})
            ),
            event("updated", 2, json!({"name": "Anna"})),
        ]
    );
    assert_one_event_for_each_version(&mut client);
}

#[test]
fn merge_and_statements_inside_with_record_what_they_change() {
    let mut client = database().connect();
    client
        .batch_execute(
            "INSERT INTO customers.customers (email)
             SELECT 'p' || i || '@example.com' FROM generate_series(1, 6) AS i;
             WITH named AS (UPDATE customers.customers SET name = 'N'
                             WHERE email IN ('p1@example.com', 'p2@example.com') RETURNING 1),
                  suspended AS (UPDATE customers.customers SET status = 'SUSPENDED'
                                 WHERE email = 'p3@example.com' RETURNING 1),
                  added AS (INSERT INTO customers.customers (email)
                            VALUES ('p7@example.com') RETURNING 1)
             UPDATE customers.customers SET name = 'M'
              WHERE email = 'p4@example.com' AND EXISTS (SELECT FROM added);
             MERGE INTO customers.customers AS customer
             USING (VALUES ('p5@example.com'), ('p6@example.com'), ('p8@example.com')) AS new (email)
                ON customer.email = new.email
              WHEN MATCHED AND new.email = 'p6@example.com' THEN DO NOTHING
              WHEN MATCHED THEN UPDATE SET name = 'Merged'
              WHEN NOT MATCHED THEN INSERT (email) VALUES (new.email)",
        )
        .unwrap();
    assert_eq!(count(&mut client), 6 + 5 + 2);
    assert_one_event_for_each_version(&mut client);
}

#[test]
fn copy_records_every_row() {
    let mut client = database().connect();
    let mut copy = client.copy_in("COPY customers.customers (email, name) FROM STDIN").unwrap();
    for i in 0..2500 {
        writeln!(copy, "P{i}@example.com\tPerson {i}").unwrap();
    }
    copy.finish().unwrap();
    assert_eq!(count(&mut client), 2500);
    assert_one_event_for_each_version(&mut client);
}

#[test]
fn bulk_statements_record_every_customer() {
    let mut client = database().connect();
    let insert = "INSERT INTO customers.customers (email)
                  SELECT 'p' || i || '@example.com' FROM generate_series(1, 50000) AS i";
    assert_eq!(client.execute(insert, &[]).unwrap(), 50_000);
    assert_eq!(count(&mut client), 50_000);
    let update = "UPDATE customers.customers SET name = customer_id::text";
    assert_eq!(client.execute(update, &[]).unwrap(), 50_000);
    assert_eq!(count(&mut client), 100_000);
    assert_one_event_for_each_version(&mut client);
    let of_another = "SELECT count(*) FROM customers.events
                       WHERE version = 2 AND changes IS DISTINCT FROM jsonb_build_object('name', customer_id)";
    assert_eq!(one::<i64>(&mut client, of_another, &[]), 0);
}

#[test]
fn events_of_a_large_statement_are_in_the_order_of_customer_id_whatever_work_mem() {
    let mut client = database().connect();
    client.batch_execute("SET work_mem = '64kB'").unwrap();
    let insert = "INSERT INTO customers.customers (email)
                  SELECT 'p' || i || '@example.com' FROM generate_series(1, 5000) AS i";
    for (version, statement) in
        [(1_i64, insert), (2, "UPDATE customers.customers SET name = email")]
    {
        client.execute(statement, &[]).unwrap();
        let out_of_order = "SELECT count(*)
               FROM (SELECT customer_id < lag(customer_id) OVER (ORDER BY position) AS descends
                       FROM customers.events WHERE version = $1) AS event
              WHERE descends";
        assert_eq!(one::<i64>(&mut client, out_of_order, &[&version]), 0, "{statement}");
    }
    assert_one_event_for_each_version(&mut client);
}

#[test]
fn a_large_update_of_a_table_that_has_lost_its_key_compares_each_row_with_itself() {
    let mut client = database().connect();
    client
        .batch_execute(
            "SET work_mem = '64kB';
             ALTER TABLE customers.customers DROP CONSTRAINT customers_pkey;
             INSERT INTO customers.customers (customer_id, email)
             SELECT lpad((i % 20)::text, 32, '0')::uuid, 'p' || i || '@example.com'
               FROM generate_series(1, 5000) AS i;
             UPDATE customers.customers SET name = repeat('Ann', 60)",
        )
        .unwrap();
    let of_another = "SELECT count(*) FROM customers.events
                       WHERE version = 2 AND changes IS DISTINCT FROM jsonb_build_object('name', repeat('Ann', 60))";
    assert_eq!(one::<i64>(&mut client, of_another, &[]), 0);
    assert_eq!(count(&mut client), 10_000);
}

#[test]
fn twenty_thousand_statements_in_one_transaction_do_not_run_out_of_locks() {
    if !on_16() {
        return;
    }
    let mut client = database().connect();
    client
        .batch_execute(
            "BEGIN;
             DO $$ BEGIN
                FOR i IN 1..20000 LOOP
                    INSERT INTO customers.customers (email) VALUES ('p' || i || '@example.com');
                END LOOP;
             END $$",
        )
        .unwrap();
    assert_eq!(watermarks(&mut client), 1, "one lock for the whole transaction");
    client.batch_execute("COMMIT").unwrap();
    assert_eq!(count(&mut client), 20_000);
}

#[test]
fn an_updated_event_is_never_recorded_before_the_registration() {
    let mut client = database().connect();
    client
        .batch_execute(
            "BEGIN;
             INSERT INTO customers.customers (email) VALUES ('a@example.com');
             UPDATE customers.customers SET name = 'A';
             SAVEPOINT s;
             UPDATE customers.customers SET name = 'B';
             ROLLBACK TO s;
             UPDATE customers.customers SET status = 'CLOSED';
             COMMIT",
        )
        .unwrap();
    let versions: Vec<i64> =
        all(&mut client, "SELECT version FROM customers.events ORDER BY position", &[]);
    assert_eq!(versions, [1, 2, 3]);
}

/// The number of watermark locks held in this database by any session.
fn watermarks(observer: &mut Client) -> i64 {
    one(
        observer,
        "SELECT count(*) FROM pg_locks
          WHERE locktype = 'userlock' AND mode = 'ShareLock' AND granted
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        &[],
    )
}

/// The lowest key held in this database.
fn watermark(observer: &mut Client) -> Option<i64> {
    one(
        observer,
        "SELECT min((classid::bigint & 65535) << 32 | objid::bigint) FROM pg_locks
          WHERE locktype = 'userlock'
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        &[],
    )
}

#[test]
fn the_watermark_lock_is_held_from_the_first_event_to_the_end() {
    let database = database();
    let mut observer = database.connect();
    let mut client = database.connect();
    registered(&mut observer);
    for end in ["COMMIT", "ROLLBACK"] {
        client
            .batch_execute("BEGIN; SELECT * FROM customers.get_customer(gen_random_uuid())")
            .unwrap();
        assert_eq!(watermarks(&mut observer), 0);
        registered(&mut client);
        let below: bool = one(
            &mut client,
            "SELECT max(position) > $1 AND min(position) <= $1 FROM customers.events",
            &[&watermark(&mut observer)],
        );
        assert!(below, "what it draws lies above its key, what is there does not");
        client.batch_execute("SELECT pg_advisory_unlock_all()").unwrap();
        registered(&mut client);
        assert_eq!(watermarks(&mut observer), 1);
        // Writers do not wait for one another; each holds its own lock.
        let mut other = database.connect();
        other.batch_execute("BEGIN").unwrap();
        registered(&mut other);
        assert_eq!(watermarks(&mut observer), 2);
        other.batch_execute("ROLLBACK").unwrap();
        assert_eq!(watermarks(&mut observer), 1);
        client.batch_execute(end).unwrap();
        assert_eq!(watermarks(&mut observer), 0);
    }
    // A transaction that fails releases it too.
    client.batch_execute("BEGIN").unwrap();
    registered(&mut client);
    assert!(client.batch_execute("SELECT 1 / 0").is_err());
    // The client receives the error before the abort is complete, but the answer to the next statement after it.
    assert!(client.batch_execute("SELECT 1").is_err());
    assert_eq!(watermarks(&mut observer), 0);
}

#[test]
fn the_watermark_lock_survives_the_rollback_of_the_savepoint_it_was_taken_in() {
    let database = database();
    let mut observer = database.connect();
    let mut client = database.connect();
    client.batch_execute("BEGIN; SAVEPOINT a; SAVEPOINT b").unwrap();
    registered(&mut client);
    client.batch_execute("ROLLBACK TO a").unwrap();
    assert_eq!(watermarks(&mut observer), 1);
    registered(&mut client);
    client.batch_execute("RELEASE a").unwrap();
    assert_eq!(watermarks(&mut observer), 1);
    client.batch_execute("COMMIT").unwrap();
    assert_eq!(watermarks(&mut observer), 0);

    // The same if an error inside PL/pgSQL rolled the change back and nothing was changed.
    client
        .batch_execute(
            "BEGIN;
             DO $$ BEGIN
                INSERT INTO customers.customers (email) VALUES ('a@example.com');
                PERFORM 1 / 0;
             EXCEPTION WHEN division_by_zero THEN NULL;
             END $$",
        )
        .unwrap();
    assert_eq!(watermarks(&mut observer), 1);
    registered(&mut client);
    client.batch_execute("COMMIT").unwrap();
    assert_eq!(watermarks(&mut observer), 0);
    assert_eq!(count(&mut observer), 2);
}

#[test]
fn the_watermark_lock_stays_with_a_prepared_transaction() {
    let database = database();
    let mut observer = database.connect();
    let mut client = database.connect();
    client.batch_execute("LOAD 'customer_db'; SET customer_db.notify = off").unwrap();
    for (end, events) in [("COMMIT", 1), ("ROLLBACK", 2)] {
        let prepared = unique("prepared");
        client.batch_execute("BEGIN; SAVEPOINT s").unwrap();
        registered(&mut client);
        client.batch_execute(&format!("RELEASE s; PREPARE TRANSACTION '{prepared}'")).unwrap();
        assert_eq!(watermarks(&mut observer), 1);
        // The session's next transaction takes its own lock.
        client.batch_execute("BEGIN").unwrap();
        registered(&mut client);
        assert_eq!(watermarks(&mut observer), 2);
        client.batch_execute("COMMIT").unwrap();
        assert_eq!(watermarks(&mut observer), 1);
        observer.batch_execute(&format!("{end} PREPARED '{prepared}'")).unwrap();
        assert_eq!(watermarks(&mut observer), 0);
        assert_eq!(count(&mut observer), events + 1);
    }
}

#[test]
fn a_transaction_that_only_reads_takes_no_watermark_lock() {
    let database = database();
    let mut observer = database.connect();
    let mut client = database.connect();
    let id = registered(&mut client);
    client.batch_execute("BEGIN").unwrap();
    for read in [
        "SELECT 1 FROM customers.get_customer($1)",
        "SELECT 1 FROM customers.customer_history($1)",
        "SELECT 1 FROM customers.customer_timeline($1)",
        "SELECT 1 FROM customers.list_customers(after => $1)",
        "SELECT 1 FROM customers.customers WHERE customer_id = $1 FOR UPDATE",
        "SELECT 1 FROM customers.set_status($1, 'ACTIVE')",
    ] {
        client.query(read, &[&id]).unwrap();
    }
    assert_eq!(watermarks(&mut observer), 0);
    client.batch_execute("COMMIT").unwrap();
}

#[test]
fn a_writer_that_waits_for_another_already_holds_no_lock_for_what_it_has_not_drawn() {
    let database = database();
    let mut observer = database.connect();
    let mut first = database.connect();
    let id = registered(&mut first);
    first.batch_execute("BEGIN").unwrap();
    let set = "SELECT customers.set_status($1, $2)::text";
    first.query_one(set, &[&id, &"SUSPENDED"]).unwrap();
    let mut second = database.connect();
    let second_pid = pid(&mut second);
    let waiting = std::thread::spawn(move || second.query_one(set, &[&id, &"CLOSED"]).map(|_| ()));
    await_blocked(&mut observer, second_pid);
    assert_eq!(watermarks(&mut observer), 1);
    first.batch_execute("COMMIT").unwrap();
    waiting.join().unwrap().unwrap();
    let in_order: Vec<i64> =
        all(&mut observer, "SELECT version FROM customers.events ORDER BY position", &[]);
    assert_eq!(in_order, [1, 2, 3]);
}
