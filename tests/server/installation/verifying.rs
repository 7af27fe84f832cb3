//! Promise: verify() says of whatever is broken what to type, and is content again after that very statement.

use crate::kit::attack::past_the_triggers;
use crate::kit::{
    Database, Server, all, await_blocked, begin_change, caller, database, disable_notify,
    eventually, one, pid, registered, role, server, unique,
};
use postgres::Client;
use std::collections::BTreeSet;

/// One check's answer.
fn answer(client: &mut Client, check: &str) -> (bool, Option<String>) {
    let query = "SELECT ok, detail FROM customers.verify() WHERE check_name = $1";
    let row = client.query_one(query, &[&check]).expect("a check of this name");
    (row.get(0), row.get(1))
}

#[track_caller]
fn assert_content(client: &mut Client) {
    let complaints: Vec<String> = all(
        client,
        "SELECT check_name || ': ' || detail FROM customers.verify() WHERE NOT ok",
        &[],
    );
    assert_eq!(complaints, [""; 0]);
}

/// The statement that a detail's first line says to type.
fn to_type(detail: &str) -> &str {
    let line = detail.lines().next().expect("a line");
    let (_, statement) = line.split_once(": ").expect("a statement after a colon");
    statement
}

/// Breaks something as superuser, asserts that the check says so without personal data, types what it says, and
/// asserts that all is in order again.
#[track_caller]
fn assert_noticed(client: &mut Client, check: &str, breaks: &str) {
    client.batch_execute(breaks).unwrap();
    let (ok, detail) = answer(client, check);
    assert!(!ok, "{check} after {breaks}");
    let detail = detail.expect("what to type");
    assert!(!detail.contains("zyxw"), "{detail}");
    client.batch_execute(to_type(&detail)).unwrap_or_else(|e| panic!("{detail}: {e:?}"));
    let (ok, detail) = answer(client, check);
    assert!(ok, "{check} after {breaks} and mending: {detail:?}");
    assert_content(client);
}

/// A database with a customer, a consumer who has read everything, and no complaint.
fn lived_in() -> (Database<'static>, Client) {
    let database = database();
    let mut client = database.connect();
    for statement in [
        "SELECT customers.register_customer('zyxw@example.com', 'Zyxw')",
        "SELECT customers.subscribe('search-index')",
        "SELECT customers.acknowledge('search-index', customers.feed_position())",
    ] {
        client.batch_execute(statement).unwrap();
    }
    assert_content(&mut client);
    (database, client)
}

#[test]
fn every_trigger_that_is_missing_or_disabled_is_noticed() {
    let (_database, mut client) = lived_in();
    let triggers: Vec<(String, String)> = client
        .query(
            "SELECT tgrelid::regclass::text, tgname::text FROM pg_trigger
              WHERE tgrelid::regclass::text LIKE 'customers.%' AND NOT tgisinternal",
            &[],
        )
        .unwrap()
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    assert_eq!(triggers.len(), 8);
    for (table, trigger) in triggers {
        assert_noticed(&mut client, "objects", &format!("DROP TRIGGER {trigger} ON {table}"));
        for how in ["DISABLE", "ENABLE REPLICA", "ENABLE ALWAYS"] {
            let breaks = format!("ALTER TABLE {table} {how} TRIGGER {trigger}");
            assert_noticed(&mut client, "disabled_triggers", &breaks);
            assert_noticed(&mut client, "objects", &breaks);
        }
    }
}

#[test]
fn whatever_else_attach_makes_is_noticed_when_it_is_gone() {
    let (_database, mut client) = lived_in();
    for breaks in [
        "DROP INDEX customers.idx_customers_status",
        "DROP INDEX customers.idx_events_customer",
        "DROP VIEW customers.customers_masked",
        "CREATE OR REPLACE VIEW customers.customers_masked AS
         SELECT customer_id, email, name, status, registered_at, updated_at, version FROM customers.customers",
        "DROP TABLE customers.duty_marks; CREATE TABLE customers.duty_marks (writer boolean)",
        "ALTER TABLE customers.customers DROP CONSTRAINT customers_pkey, ADD UNIQUE (customer_id)",
        "DROP TABLE customers.duty_marks",
        "DROP TABLE customers.erasures",
        "ALTER TABLE customers.customers ALTER status DROP DEFAULT",
        "ALTER TABLE customers.customers ALTER updated_at DROP NOT NULL",
        "ALTER TABLE customers.customers DROP CONSTRAINT customers_email_key",
        "ALTER TABLE customers.customers DROP CONSTRAINT customers_status_check",
        "ALTER TABLE customers.customers DROP CONSTRAINT customers_email_key, ADD CONSTRAINT a UNIQUE (email) DEFERRABLE",
        "ALTER TABLE customers.customers DROP CONSTRAINT customers_pkey,
             ADD PRIMARY KEY (customer_id) DEFERRABLE INITIALLY DEFERRED",
        "ALTER TABLE customers.customers ADD CONSTRAINT \"A key\" UNIQUE (email, status) INCLUDE (name) DEFERRABLE",
        "DROP INDEX customers.idx_customers_status; CREATE INDEX idx_customers_status ON customers.customers (name)",
        "DROP INDEX customers.idx_events_customer; CREATE INDEX idx_events_customer ON customers.consumers (position)",
        "DROP VIEW customers.customers_masked; ALTER TABLE customers.customers ALTER email TYPE text COLLATE \"en_US\"",
    ] {
        if breaks.contains("en_US") {
            let has = "SELECT EXISTS (SELECT FROM pg_collation WHERE collname = 'en_US')";
            if !one::<bool>(&mut client, has, &[]) {
                continue;
            }
        }
        assert_noticed(&mut client, "objects", breaks);
    }
}

#[test]
fn what_surrounds_the_tables_is_noticed() {
    let (_database, mut client) = lived_in();
    let stranger = role(&mut client, "");
    client
        .batch_execute(
            "CREATE FUNCTION public.sets() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END'",
        )
        .unwrap();
    for (check, breaks) in [
        (
            "trigger_order",
            "CREATE TRIGGER zz BEFORE UPDATE ON customers.customers FOR EACH ROW EXECUTE FUNCTION public.sets()",
        ),
        (
            "indexes",
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'customers.idx_events_customer'::regclass",
        ),
        (
            "disabled_triggers",
            "CREATE RULE keeps AS ON DELETE TO customers.customers DO INSTEAD NOTHING",
        ),
        (
            "disabled_triggers",
            "CREATE RULE \"Adds\" AS ON INSERT TO customers.events DO ALSO NOTHING",
        ),
        ("inheritance", "CREATE TABLE public.child () INHERITS (customers.customers)"),
        ("inheritance", "CREATE TABLE public.child_of_events () INHERITS (customers.events)"),
        ("objects", "ALTER TABLE customers.consumers ALTER position TYPE int"),
        ("unlogged", "ALTER TABLE customers.consumers SET UNLOGGED"),
        ("strangers", "ALTER TABLE customers.consumers OWNER TO STRANGER"),
        ("strangers", "ALTER FUNCTION customers.find_customer(text) OWNER TO STRANGER"),
        (
            "strangers",
            "CREATE FUNCTION customers.planted() RETURNS void LANGUAGE sql AS ''; ALTER FUNCTION customers.planted OWNER TO STRANGER",
        ),
        (
            "strangers",
            "CREATE VIEW customers.planted AS SELECT 1 AS a; ALTER VIEW customers.planted OWNER TO STRANGER",
        ),
        ("strangers", "GRANT CREATE ON SCHEMA customers TO STRANGER"),
        ("strangers", "GRANT CREATE ON SCHEMA customers TO PUBLIC"),
        ("privileges", "GRANT SELECT ON customers.customers TO PUBLIC"),
        ("privileges", "GRANT SELECT (email) ON customers.customers TO PUBLIC"),
        ("privileges", "GRANT EXECUTE ON FUNCTION customers.find_customer(text) TO PUBLIC"),
        ("privileges", "GRANT USAGE ON TYPE customers.profile TO PUBLIC"),
        ("privileges", "GRANT USAGE ON SCHEMA customers TO PUBLIC"),
        ("privileges", "GRANT INSERT ON customers.events TO STRANGER"),
        ("privileges", "GRANT UPDATE (reason) ON customers.erasures TO STRANGER"),
        ("privileges", "GRANT USAGE ON SEQUENCE customers.events_position_seq TO STRANGER"),
        ("credentials", "ALTER TABLE customers.customers ADD COLUMN password_hash text"),
        ("credentials", "ALTER TABLE customers.events ADD COLUMN api_key text"),
    ] {
        assert_noticed(&mut client, check, &breaks.replace("STRANGER", &stranger));
    }
}

#[test]
fn a_duty_that_has_lost_a_part_is_noticed() {
    let (_database, mut client) = lived_in();
    let quoted = unique("Role ");
    client.batch_execute(&format!("CREATE ROLE \"{quoted}\"")).unwrap();
    let duties: Vec<String> =
        ["writer", "reader", "support", "consumer", "auditor", "privacy", "operator"]
            .map(str::to_owned)
            .into();
    for duty in &duties {
        client
            .execute(
                "SELECT customers.grant_access(quote_ident($1)::regrole, $2)",
                &[&quoted, duty],
            )
            .unwrap();
        assert_content(&mut client);
        let listed: Vec<String> = all(
            &mut client,
            "SELECT duty FROM customers.duties() WHERE role = $1 AND complete",
            &[&quoted],
        );
        assert_eq!(listed, std::slice::from_ref(duty));
        // What DROP EXTENSION … CASCADE and a restore without the extension lose.
        let functions: Vec<String> = all(
            &mut client,
            "SELECT oid::regprocedure::text FROM pg_proc, aclexplode(proacl)
              WHERE pronamespace = 'customers'::regnamespace AND grantee = quote_ident($1)::regrole",
            &[&quoted],
        );
        assert!(!functions.is_empty());
        for function in &functions {
            let breaks = format!("REVOKE EXECUTE ON FUNCTION {function} FROM \"{quoted}\"");
            assert_noticed(&mut client, "duties", &breaks);
        }
        let all = functions.join(", ");
        assert_noticed(
            &mut client,
            "duties",
            &format!("REVOKE EXECUTE ON FUNCTION {all} FROM \"{quoted}\""),
        );
        assert_noticed(
            &mut client,
            "duties",
            &format!("REVOKE USAGE ON SCHEMA customers FROM \"{quoted}\""),
        );
        client
            .execute(
                "SELECT customers.revoke_access(quote_ident($1)::regrole, $2)",
                &[&quoted, duty],
            )
            .unwrap();
    }
    client.batch_execute(&format!("DROP ROLE \"{quoted}\"")).unwrap();
}

#[test]
fn a_duty_outlives_the_extension_and_is_completed() {
    let (_database, mut client) = lived_in();
    let caller = caller(&mut client);
    for duty in ["writer", "consumer", "privacy", "operator"] {
        client
            .execute("SELECT customers.grant_access($1::text::regrole, $2)", &[&caller, &duty])
            .unwrap();
    }
    client
        .batch_execute("DROP EXTENSION customer_db CASCADE; CREATE EXTENSION customer_db; SELECT customers.attach()")
        .unwrap();
    let incomplete = "SELECT count(*) FROM customers.duties() WHERE NOT complete";
    assert_eq!(one::<i64>(&mut client, incomplete, &[]), 4);
    let (_, detail) = answer(&mut client, "duties");
    for line in detail.expect("what to type").lines() {
        client.batch_execute(to_type(line)).unwrap();
    }
    assert_content(&mut client);
}

#[test]
fn what_is_wrong_with_the_feed_is_noticed() {
    let (_database, mut client) = lived_in();
    for (check, breaks) in [
        ("sequence", "SELECT setval('customers.events_position_seq', 1, false)"),
        ("sequence", "ALTER SEQUENCE customers.events_position_seq CACHE 10"),
        ("sequence", "ALTER SEQUENCE customers.events_position_seq INCREMENT 2"),
        ("sequence", "ALTER SEQUENCE customers.events_position_seq MAXVALUE 100"),
        ("sequence", "SELECT setval('customers.events_position_seq', 9007199254740991)"),
        ("sequence", "SELECT setval('customers.events_position_seq', 9223372036854775807)"),
        ("epochs", "UPDATE customers.feed_epochs SET previous_end = 7"),
        ("epochs", "DELETE FROM customers.feed_epochs"),
        ("consumers", "INSERT INTO customers.consumers VALUES ('ahead', 100)"),
        // The statement to type must not say what would be noticed again.
        ("epochs", "UPDATE customers.feed_epochs SET previous_end = 7, pruned_to = 1"),
    ] {
        assert_noticed(&mut client, check, breaks);
    }
}

#[test]
fn a_consumer_that_keeps_events_from_being_pruned_is_noticed() {
    let (_database, mut client) = lived_in();
    client.batch_execute("SELECT customers.subscribe('slow')").unwrap();
    let (ok, detail) = answer(&mut client, "consumers");
    let detail = detail.expect("how far each is");
    assert!(ok && detail.contains("'slow' is 1 events behind"), "{detail}");
    past_the_triggers(
        &mut client,
        "customers.events",
        "UPDATE customers.events SET occurred_at = now() - interval '2 days'",
    );
    assert_noticed(&mut client, "consumers", "SELECT 1");
}

#[test]
fn rows_that_were_written_past_the_triggers_are_noticed() {
    let (_database, mut client) = lived_in();
    for (check, statement) in [
        ("rows_match_events", "UPDATE customers.customers SET name = 'Zyxw The Second'"),
        ("rows_match_events", "UPDATE customers.customers SET name = NULL"),
        (
            "rows_match_events",
            "UPDATE customers.customers SET email = 'zyxw' || customer_id || '@example.com'",
        ),
        ("rows_match_events", "UPDATE customers.customers SET version = version + 1"),
        ("rows_match_events", "UPDATE customers.customers SET version = 1, status = 'CLOSED'"),
    ] {
        past_the_triggers(&mut client, "customers.customers", statement);
        assert_noticed(&mut client, check, "SELECT 1");
    }
    past_the_triggers(
        &mut client,
        "customers.customers",
        "INSERT INTO customers.customers (email, name) VALUES ('ZYXW2@Example.com', ' Zyxw ')",
    );
    // Mending a row records what it changes, and not yet the rest.
    for check in ["rows_keep_rules", "rows_match_events"] {
        let (ok, detail) = answer(&mut client, check);
        assert!(!ok || check == "rows_match_events");
        client.batch_execute(to_type(&detail.expect("what to type"))).unwrap();
    }
    assert_content(&mut client);
    // What was recorded is what stands there, with versions in order.
    let behind = "SELECT count(*) FROM customers.events AS event
                   WHERE EXISTS (SELECT FROM customers.events AS later
                                  WHERE later.customer_id = event.customer_id
                                    AND later.position > event.position AND later.version <= event.version)";
    assert_eq!(one::<i64>(&mut client, behind, &[]), 0);
}

#[test]
fn a_person_whom_a_restore_has_brought_back_is_noticed() {
    let (_database, mut client) = lived_in();
    client
        .batch_execute("SELECT customers.erase_customer(customer_id) FROM customers.customers")
        .unwrap();
    assert_content(&mut client);
    past_the_triggers(
        &mut client,
        "customers.customers",
        "UPDATE customers.customers SET email = 'zyxw@example.com', name = 'Zyxw', status = 'ACTIVE'",
    );
    assert_noticed(&mut client, "erasures", "SELECT 1");
    // The name alone, at the address of the erased.
    past_the_triggers(
        &mut client,
        "customers.customers",
        "UPDATE customers.customers SET name = 'Zyxw'",
    );
    assert_noticed(&mut client, "erasures", "SELECT 1");
}

#[test]
fn whoever_holds_the_feed_back_is_named() {
    let (database, mut client) = lived_in();
    let mut writer = database.connect();
    begin_change(&mut writer);
    let holder = pid(&mut writer);
    let (ok, detail) = answer(&mut client, "held_back");
    let detail = detail.expect("who");
    assert!(!ok && detail.contains(&format!("session {holder} of the role postgres ")), "{detail}");
    client.batch_execute(to_type(&detail)).unwrap();
    eventually("the session has ended", || answer(&mut client, "held_back").0);

    let mut preparing = database.connect();
    disable_notify(&mut preparing);
    let gid = unique("it's ");
    preparing.batch_execute("BEGIN").unwrap();
    registered(&mut preparing);
    let quoted: String = one(&mut preparing, "SELECT quote_literal($1)", &[&gid]);
    preparing.batch_execute(&format!("PREPARE TRANSACTION {quoted}")).unwrap();
    let (ok, detail) = answer(&mut client, "held_back");
    let detail = detail.expect("what");
    assert!(!ok && detail.contains(&quoted), "{detail}");
    let (statement, _) = to_type(&detail).split_once(';').expect("a statement");
    client.batch_execute(statement).unwrap();
    assert_content(&mut client);
}

#[test]
fn a_worker_that_is_wanted_and_missing_is_noticed() {
    let (database, mut client) = lived_in();
    client
        .batch_execute(&format!(
            "ALTER DATABASE {} SET customer_db.notify = 'worker'",
            database.name
        ))
        .unwrap();
    let (ok, detail) = answer(&mut database.connect(), "worker");
    let detail = detail.expect("what to type");
    assert!(!ok && detail.contains("shared_preload_libraries"), "{detail}");
    let (_, statement) = detail.split_once("Or: ").expect("another way");
    client.batch_execute(statement).unwrap();
    assert_content(&mut database.connect());

    // What it says to type first does it too.
    let server = Server::start(&[]);
    let database = server.database();
    let mut client = database.connect();
    client
        .batch_execute(&format!(
            "ALTER DATABASE {} SET customer_db.notify = 'worker'",
            database.name
        ))
        .unwrap();
    let (_, detail) = answer(&mut database.connect(), "worker");
    let detail = detail.expect("what to type");
    let (statements, _) = to_type(&detail).split_once(" restart the server").expect("a restart");
    for statement in statements.split_inclusive(';') {
        client.batch_execute(statement).unwrap();
    }
    drop(client);
    server.pg_ctl("restart");
    let mut client = database.connect();
    eventually("the worker serves the database", || answer(&mut client, "worker").0);
}

#[test]
fn it_answers_where_nothing_is_attached_or_another_version_is_installed() {
    let database = server().empty_database("");
    let mut client = database.connect();
    client.batch_execute("CREATE SCHEMA customers; CREATE EXTENSION customer_db").unwrap();
    let (ok, detail) = answer(&mut client, "objects");
    assert!(!ok);
    let (unknown, _) = answer(&mut client, "rows_keep_rules");
    assert!(!unknown, "what cannot be checked is not in order");
    client.batch_execute(to_type(&detail.unwrap())).unwrap();
    assert_content(&mut client);
    client
        .batch_execute("UPDATE pg_extension SET extversion = '0.0.9' WHERE extname = 'customer_db'")
        .unwrap();
    let (ok, detail) = answer(&mut client, "version");
    assert!(!ok && detail.unwrap().contains("ALTER EXTENSION customer_db UPDATE"));
}

#[test]
fn every_check_is_shown_to_notice_something() {
    let this_file = include_str!("verifying.rs");
    let (_database, mut client) = lived_in();
    let checks: BTreeSet<String> =
        all(&mut client, "SELECT check_name FROM customers.verify()", &[]).into_iter().collect();
    assert_eq!(checks.len(), 20);
    let elsewhere = "notify_queue"; // feed::full_queue
    for check in checks.iter().filter(|check| *check != elsewhere) {
        assert!(this_file.contains(&format!("\"{check}\"")), "no test breaks {check}");
    }
}

#[test]
fn a_consumer_beyond_the_last_event_is_noticed_however_far_the_sequence_is() {
    let (_database, mut client) = lived_in();
    client.batch_execute("SELECT setval('customers.events_position_seq', 1000)").unwrap();
    assert_content(&mut client);
    assert_noticed(&mut client, "consumers", "UPDATE customers.consumers SET position = 500");
}

#[test]
fn a_standby_and_a_read_only_transaction_are_answered() {
    let (_database, mut client) = lived_in();
    client.batch_execute("BEGIN READ ONLY").unwrap();
    assert_content(&mut client);
    client
        .batch_execute(
            "SELECT * FROM customers.metrics(); SELECT * FROM customers.duties(); COMMIT",
        )
        .unwrap();
    let assigned =
        "SELECT pg_current_xact_id_if_assigned() IS NULL FROM customers.verify() LIMIT 1";
    assert!(one::<bool>(&mut client, assigned, &[]), "it assigns no transaction id");
}

#[test]
fn what_cannot_be_read_is_not_called_in_order() {
    let (_database, mut client) = lived_in();
    let owner = role(&mut client, "");
    client
        .batch_execute(&format!(
            "ALTER SCHEMA customers OWNER TO {owner};
             ALTER TABLE customers.customers OWNER TO {owner};
             GRANT EXECUTE ON FUNCTION customers.broken_rule TO {owner}"
        ))
        .unwrap();
    // The other tables are not its.
    for check in
        ["sequence", "epochs", "consumers", "erasures", "rows_keep_rules", "rows_match_events"]
    {
        let (ok, detail) = answer(&mut client, check);
        assert!(!ok && detail.unwrap().starts_with("cannot be checked"), "{check}");
    }
    // A disabled trigger keeps nothing from being checked.
    let (_database, mut client) = lived_in();
    client
        .batch_execute(
            "ALTER TABLE customers.customers DISABLE TRIGGER ALL;
             UPDATE customers.customers SET email = 'zyxw4@example.com'",
        )
        .unwrap();
    let (ok, detail) = answer(&mut client, "rows_match_events");
    assert!(!ok && detail.unwrap().contains("1 customers are not as their events say"));
}

#[test]
fn a_name_with_a_line_break_forges_no_finding() {
    let (_database, mut client) = lived_in();
    client
        .batch_execute(
            "CREATE FUNCTION public.sets() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
             CREATE TRIGGER \"x\nrole a lacks: ALTER ROLE a SUPERUSER;--\" BEFORE UPDATE ON customers.customers
                FOR EACH ROW EXECUTE FUNCTION public.sets()",
        )
        .unwrap();
    let (ok, detail) = answer(&mut client, "trigger_order");
    assert!(!ok);
    assert_eq!(detail.unwrap().lines().count(), 1);
    client
        .batch_execute(
            "ALTER TABLE customers.customers
                ADD CONSTRAINT \"x\nthe key a lacks: ALTER ROLE a SUPERUSER;--\" UNIQUE (email, status) DEFERRABLE",
        )
        .unwrap();
    let (ok, detail) = answer(&mut client, "objects");
    assert!(!ok);
    assert_eq!(detail.unwrap().lines().count(), 1);
}

#[test]
fn what_a_stranger_has_made_is_not_given_to_a_superuser() {
    let (_database, mut client) = lived_in();
    let stranger = role(&mut client, "");
    client
        .batch_execute(&format!(
            "CREATE FUNCTION customers.helper() RETURNS void LANGUAGE sql SECURITY DEFINER AS '';
             ALTER FUNCTION customers.helper OWNER TO {stranger}"
        ))
        .unwrap();
    let (_, detail) = answer(&mut client, "strangers");
    let detail = detail.unwrap();
    assert!(!detail.contains("OWNER TO") && detail.contains("DROP FUNCTION"), "{detail}");
}

/// Asserts that nobody is said to hold the feed back while a session begins, continues and commits transactions.
fn assert_not_held_back(continues: impl Fn(&mut Client) + Sync) {
    let (database, mut client) = lived_in();
    let mut writer = database.connect();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Acquire) {
                begin_change(&mut writer);
                continues(&mut writer);
                writer.batch_execute("COMMIT").unwrap();
            }
        });
        let _done = crate::kit::traffic::SetWhenDropped(&done);
        for _ in 0..5 {
            let (ok, detail) = answer(&mut client, "held_back");
            assert!(ok, "{detail:?}");
        }
    });
}

#[test]
fn writers_of_short_transactions_do_not_hold_the_feed_back() {
    // Long enough for the looks to meet transactions, and for the table to stay small.
    assert_not_held_back(|writer| writer.batch_execute("SELECT pg_sleep(0.002)").unwrap());
}

#[test]
fn a_transaction_of_many_statements_does_not_hold_the_feed_back() {
    // It takes longer than a transaction may wait for its client, and never waits that long.
    assert_not_held_back(|writer| {
        for _ in 0..100 {
            std::thread::sleep(std::time::Duration::from_millis(4));
            writer.batch_execute("SELECT 1").unwrap();
        }
    });
}

#[test]
fn an_index_that_is_being_built_is_not_called_invalid() {
    let (database, mut client) = lived_in();
    let (mut writer, mut builder) = (database.connect(), database.connect());
    // The build waits for it.
    begin_change(&mut writer);
    let building = pid(&mut builder);
    std::thread::scope(|scope| {
        let build = "CREATE INDEX CONCURRENTLY by_name ON customers.customers (name)";
        let built = scope.spawn(move || builder.batch_execute(build));
        await_blocked(&mut client, building);
        let answered = answer(&mut client, "indexes");
        writer.batch_execute("COMMIT").unwrap();
        built.join().unwrap().unwrap();
        assert_eq!(answered, (true, None));
    });
}

#[test]
fn the_age_of_an_event_younger_than_the_transaction_that_measures_is_not_negative() {
    let (database, mut client) = lived_in();
    client.batch_execute("BEGIN; SELECT 1").unwrap();
    registered(&mut database.connect());
    let ages =
        "SELECT min(value), max(value) FILTER (WHERE name = 'customer_db_consumer_unread_events')
                  FROM customers.metrics() WHERE name LIKE 'customer_db_consumer_unread_%'";
    let row = client.query_one(ages, &[]).unwrap();
    let (least, unread): (f64, f64) = (row.get(0), row.get(1));
    assert!(least >= 0.0 && unread == 1.0, "{least} {unread}");
}

#[test]
fn a_broken_event_and_a_deleted_customer_are_survived_and_told() {
    let (_database, mut client) = lived_in();
    past_the_triggers(
        &mut client,
        "customers.events",
        "UPDATE customers.events SET changes = '\"s\"'",
    );
    let (ok, _) = answer(&mut client, "rows_match_events");
    assert!(!ok);
    past_the_triggers(&mut client, "customers.customers", "DELETE FROM customers.customers");
    let (ok, detail) = answer(&mut client, "rows_match_events");
    assert!(!ok && detail.unwrap().contains("deleted past the triggers"));
}

#[test]
fn what_was_granted_by_hand_is_no_duty() {
    let (_database, mut client) = lived_in();
    let role = role(&mut client, "");
    client
        .batch_execute(&format!(
            "GRANT USAGE ON SCHEMA customers TO {role};
             GRANT EXECUTE ON FUNCTION customers.prune_events, customers.customer_timeline TO {role};
             GRANT SELECT ON customers.customers_masked TO {role}"
        ))
        .unwrap();
    assert_content(&mut client);
    let duties = "SELECT count(*) FROM customers.duties() WHERE role = $1";
    assert_eq!(one::<i64>(&mut client, duties, &[&role]), 0);
}

#[test]
fn what_verify_says_does_not_depend_on_how_literals_are_read() {
    let (database, _client) = lived_in();
    let (mut client, notices) = database.connect_for_notices();
    client
        .batch_execute("SET standard_conforming_strings = off; SET escape_string_warning = on")
        .unwrap();
    assert_content(&mut client);
    client.batch_execute("SELECT customers.attach(); SELECT customers.metrics()").unwrap();
    registered(&mut client);
    assert!(notices.take().is_empty());
}
