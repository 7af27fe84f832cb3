//! Promise: a call that waited while another session replaced a table, its sequence or the extension works
//! on the new objects, or is refused.

use crate::kit::history::{assert_recorded_since, recorded};
use crate::kit::{
    Database, Server, address, assert_refused, await_blocked, call, database, id, on_16, one, pid,
    refusal, register_ann, registered,
};
use postgres::error::DbError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use uuid::Uuid;

/// SQL that replaces a table by a copy.
fn swap(table: &str) -> String {
    format!(
        "DO $$
         DECLARE
             old record;
         BEGIN
             ALTER TABLE customers.{table} RENAME TO {table}_old;
             FOR old IN SELECT oid::regclass AS name, relname, relkind FROM pg_class
                         WHERE oid IN (SELECT indexrelid FROM pg_index
                                        WHERE indrelid = 'customers.{table}_old'::regclass)
                            OR oid = to_regclass('customers.{table}_position_seq')
             LOOP
                 EXECUTE format('ALTER %s %s RENAME TO %I', CASE old.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'INDEX' END,
                                old.name, 'old_' || old.relname);
             END LOOP;
         END $$;
         CREATE TABLE customers.{table} (LIKE customers.{table}_old INCLUDING ALL);
         INSERT INTO customers.{table} OVERRIDING SYSTEM VALUE SELECT * FROM customers.{table}_old;
         SELECT setval('customers.events_position_seq', (SELECT max(position) FROM customers.events));
         DROP VIEW IF EXISTS customers.customers_masked;
         SELECT customers.attach()"
    )
}

const SWAP_SEQUENCE: &str = "
    ALTER TABLE customers.events ALTER position DROP IDENTITY;
    ALTER TABLE customers.events ALTER position ADD GENERATED ALWAYS AS IDENTITY (START 1000 CACHE 1)";

fn seeded() -> (Database<'static>, Uuid) {
    let database = database();
    let mut client = database.connect();
    let ann = register_ann(&mut client).id;
    registered(&mut client);
    client.batch_execute("SELECT customers.subscribe('mailer')").unwrap();
    (database, ann)
}

/// Makes a call in a session that has made it before, while another session runs `work` in a transaction
/// that then commits; returns the call's error.
fn call_during(database: &Database, work: &str, call: &str) -> Option<DbError> {
    let mut living = database.connect();
    for _ in 0..2 {
        registered(&mut living);
        living.batch_execute(&format!("BEGIN; {call}; ROLLBACK")).expect(call);
    }
    let session = pid(&mut living);
    let mut other = database.connect();
    let mut transaction = other.transaction().unwrap();
    transaction.batch_execute(work).unwrap_or_else(|why| panic!("{work}: {why:?}"));
    let statement = call.to_owned();
    let waiting = thread::spawn(move || living.batch_execute(&statement));
    await_blocked(&mut database.connect(), session);
    transaction.commit().unwrap();
    waiting.join().unwrap().err().map(|error| refusal::<()>(Err(error)))
}

fn assert_not_ready(error: DbError, about: &str) {
    assert_eq!(error.code().code(), "55000", "{about}: {error:?}");
    assert!(error.hint().is_some(), "{about}: {error:?}");
    assert!(!format!("{error:?}").contains("late@"), "{about}: {error:?}");
}

/// Changes, each with a condition that holds if it succeeded.
const CHANGES: [(&str, &str); 7] = [
    ("SELECT customers.register_customer('late@example.com')", LATE_IS_FOUND),
    (
        "SELECT customers.register_customer('late@example.com', 'Late', gen_random_uuid())",
        LATE_IS_FOUND,
    ),
    ("INSERT INTO customers.customers (email) VALUES ('late@example.com')", LATE_IS_FOUND),
    ("SELECT customers.import_customers('[{\"email\": \"late@example.com\"}]')", LATE_IS_FOUND),
    (
        "SELECT customers.update_customer('{ann}', name => 'Late')",
        "SELECT name = 'Late' FROM customers.get_customer('{ann}')",
    ),
    (
        "SELECT customers.set_status('{ann}', 'SUSPENDED')",
        "SELECT status = 'SUSPENDED' FROM customers.get_customer('{ann}')",
    ),
    (
        "UPDATE customers.customers SET name = 'Late' WHERE customer_id = '{ann}'",
        "SELECT name = 'Late' FROM customers.get_customer('{ann}')",
    ),
];

const LATE_IS_FOUND: &str =
    "SELECT EXISTS (SELECT FROM customers.find_customer('late@example.com'))";

fn assert_change_is_kept(work: &str) {
    for (change, is_done) in CHANGES {
        let (database, ann) = seeded();
        let of_ann = |text: &str| text.replace("{ann}", &ann.to_string());
        let mut client = database.connect();
        let about = format!("{change} during {work}");
        let refused = call_during(&database, work, &of_ann(change));
        let done: bool = one(&mut client, &of_ann(is_done), &[]);
        assert_eq!(done, refused.is_none(), "{about}: {refused:?}");
        refused.into_iter().for_each(|error| assert_not_ready(error, &about));
        assert_recorded_since(&mut client, &[], &about);
        // Whatever the outcome, the same change is possible now.
        if !done {
            client.batch_execute(&of_ann(change)).unwrap();
            assert_recorded_since(&mut client, &[], &about);
        }
    }
}

#[test]
fn a_change_that_waited_for_a_table_of_customers_is_in_the_one_that_is_there_now() {
    assert_change_is_kept(&swap("customers"));
}

#[test]
fn a_change_that_waited_for_a_feed_is_in_the_one_that_is_there_now() {
    assert_change_is_kept(&swap("events"));
}

#[test]
fn a_change_that_waited_for_another_sequence_draws_from_the_one_that_is_there_now() {
    assert_change_is_kept(SWAP_SEQUENCE);
    let (database, _) = seeded();
    let register = "SELECT customers.register_customer('late@example.com')";
    if call_during(&database, SWAP_SEQUENCE, register).is_none() {
        let last = "SELECT max(position) FROM customers.events";
        // It is another sequence, so an epoch begins.
        let mut client = database.connect();
        let last: i64 = one(&mut client, last, &[]);
        assert!(last >= 10_000_000_000, "{last}");
        let drawn = "SELECT last_value FROM customers.events_position_seq";
        assert_eq!(one::<i64>(&mut client, drawn, &[]), last);
    }
}

#[test]
fn a_reader_that_waited_for_a_feed_reads_the_one_that_is_there_now() {
    let (database, ann) = seeded();
    let mark = "SET LOCAL session_replication_role = replica;
                UPDATE customers.events SET reason = 'new' WHERE position = 1";
    let swap = format!("{}; {mark}", swap("events"));
    for read in
        ["read_events(0, 1)", "fetch_events('mailer', 1)", &format!("customer_history('{ann}')")]
    {
        // Succeeds only if it reads the new table, where event 1 has a reason.
        let read = format!("CREATE TEMP TABLE told AS SELECT * FROM customers.{read}");
        if let Some(error) = call_during(&database, &swap, &read) {
            assert_not_ready(error, &read);
        }
        let clear = "DROP TABLE customers.events_old";
        database.connect().batch_execute(clear).unwrap();
    }
}

#[test]
fn a_consumer_that_waited_for_its_place_has_it_in_the_table_that_is_there_now() {
    for (call, is_done) in [
        ("acknowledge('mailer', 2)", "SELECT position = 2 FROM customers.consumers"),
        ("subscribe('late', 1)", "SELECT count(*) = 2 FROM customers.consumers"),
        ("unsubscribe('mailer')", "SELECT count(*) = 0 FROM customers.consumers"),
    ] {
        let (database, _) = seeded();
        let work = swap("consumers");
        let refused = call_during(&database, &work, &format!("SELECT customers.{call}"));
        let done: bool = one(&mut database.connect(), is_done, &[]);
        assert_eq!(done, refused.is_none(), "{call}: {refused:?}");
        refused.into_iter().for_each(|error| assert_not_ready(error, call));
    }
}

/// Locks the tables before the DROP, so that calls wait inside the functions and not at their look-up.
const DROP_WHILE_ALL_WAIT: &str = "
    LOCK TABLE customers.customers, customers.events, customers.consumers, customers.erasures;
    DROP EXTENSION customer_db CASCADE";

#[test]
fn a_call_that_waited_while_the_extension_was_dropped_is_refused_cleanly() {
    let writes = [
        "register_customer('late@example.com')",
        "register_customer('late@example.com', 'Late', gen_random_uuid())",
        "import_customers('[{\"email\": \"late@example.com\"}]')",
        "update_customer('{ann}', name => 'Late')",
        "patch_customer('{ann}', '{\"name\": \"Late\"}')",
        "set_status('{ann}', 'SUSPENDED')",
        "erase_customer('{ann}')",
    ];
    // These fire no trigger, so they may have succeeded.
    let others = [
        "read_events(0)",
        "fetch_events('mailer')",
        "acknowledge('mailer', 1)",
        "subscribe('late')",
        "unsubscribe('mailer')",
        "prune_events('1 day')",
        "customer_history('{ann}')",
        "customer_timeline('{ann}')",
        "reapply_erasures()",
        "export_customer('{ann}')",
    ];
    for call in writes.iter().chain(&others) {
        let (database, ann) = seeded();
        let statement = format!("SELECT customers.{}", call.replace("{ann}", &ann.to_string()));
        let mut client = database.connect();
        let refused = call_during(&database, DROP_WHILE_ALL_WAIT, &statement);
        assert!(refused.is_some() || others.contains(call), "{call} succeeded");
        refused.into_iter().for_each(|error| assert_not_ready(error, call));
        client.batch_execute("CREATE EXTENSION customer_db; SELECT customers.attach()").unwrap();
        assert_recorded_since(&mut client, &[], call);
    }
}

/// Whether a call ended with an error that is allowed if its function is gone or its tables are not ready.
fn is_clean(error: &DbError) -> bool {
    match error.code().code() {
        // 40P01: DROP takes its locks in any order, so it can deadlock.
        "55000" | "40P01" => true,
        "42883" | "42P01" | "42704" | "3F000" => error.message().contains("does not exist"),
        // Raised by PostgreSQL before the call: it takes no lock on a function between looking it up and
        // calling it.
        "XX000" => {
            error.message().starts_with("cache lookup failed for function")
                && error.routine() == Some("fmgr_info_cxt_security")
        }
        _ => false,
    }
}

#[test]
fn the_extension_may_come_and_go_under_traffic() {
    if !on_16() {
        return;
    }
    let server = Server::start(&[]);
    let database = &server.database();
    let over = &AtomicBool::new(false);
    let ann = id();
    let register = "SELECT FROM customers.register_customer('ann@example.com', 'Ann', $1)";
    database.connect().execute(register, &[&ann]).unwrap();
    database.connect().batch_execute("SELECT customers.subscribe('mailer')").unwrap();
    thread::scope(|scope| {
        for session in 0..4 {
            scope.spawn(move || {
                let mut client = database.connect();
                let mut refused = 0;
                for round in 0.. {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    let status = ["ACTIVE", "SUSPENDED"][round % 2];
                    // Not in FROM, where PostgreSQL opens the result's type itself before the call.
                    let statement = match (session + round) % 4 {
                        0 => format!("SELECT customers.register_customer('{}')", address()),
                        1 => format!("SELECT customers.set_status('{ann}', '{status}')"),
                        2 => "SELECT FROM customers.read_events(0)".to_owned(),
                        _ => "SELECT FROM customers.fetch_events('mailer', 10)".to_owned(),
                    };
                    let Err(error) = client.batch_execute(&statement) else { continue };
                    let error = refusal::<()>(Err(error));
                    assert!(is_clean(&error), "{statement}: {error:?}");
                    refused += 1;
                }
                assert!(refused > 0, "no round of this session met a drop");
            });
        }
        let mut owner = database.connect();
        let mut rounds = 0;
        while rounds < 15 {
            let again = owner.batch_execute("BEGIN; DROP EXTENSION customer_db CASCADE; COMMIT");
            if let Err(error) = again {
                assert_eq!(refusal::<()>(Err(error)).code().code(), "40P01");
                owner.batch_execute("ROLLBACK").unwrap();
                continue;
            }
            owner.batch_execute("CREATE EXTENSION customer_db").unwrap();
            while let Err(error) = owner.batch_execute("SELECT customers.attach()") {
                assert_eq!(refusal::<()>(Err(error)).code().code(), "40P01");
            }
            rounds += 1;
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(!server.log().contains("was terminated by signal"), "{}", server.log());
    let mut client = database.connect();
    assert_recorded_since(&mut client, &[], "after all of it");
    let before = recorded(&mut client).len();
    call(&mut client, "update_customer($1, name => 'Anna')", &[&ann]).unwrap();
    assert_eq!(recorded(&mut client).len(), before + 1);
    let taken = call(&mut client, "register_customer('ann@example.com')", &[]);
    assert_refused(taken, "23505", &["ann@"]);
}
