//! Promise: with customer_db.notify = worker, the notification worker announces exactly the committed
//! changes, in the feed's order; it restarts whatever ends it, and blocks no other session.

use crate::feed::notifying::{announced, assert_valid, check_collapse, writer};
use crate::kit::positions;
use crate::kit::{
    Database, Server, address, await_blocked, database, eventually, keep, on_16, one, pid,
    received, refusal, register_ann, registered, role, succeed, unique,
};
use postgres::Client;
use serde_json::Value;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A cluster with notify = worker, and workers for these databases.
fn start(databases: &str, settings: &[&str]) -> Server {
    let databases = format!("customer_db.databases = '{databases}'");
    let mut all = vec![
        "shared_preload_libraries = 'customer_db'",
        "customer_db.notify = worker",
        "max_worker_processes = 40",
        &databases,
    ];
    all.extend(settings);
    Server::start(&all)
}

/// Creates a database of this name, with the extension.
fn create<'server>(server: &'server Server, name: &str) -> Database<'server> {
    let create = format!("CREATE DATABASE {name}");
    server.connect("postgres").batch_execute(&create).unwrap();
    let database = Database { server, name: name.to_owned() };
    database.connect().batch_execute("CREATE EXTENSION customer_db").unwrap();
    database
}

/// A cluster of its own, with one database that has a worker.
fn start_one(settings: &[&str]) -> (Server, String) {
    let server = start("served", settings);
    create(&server, "served");
    // Otherwise the worker would look for the database again only after five seconds.
    server.pg_ctl("restart");
    (server, "served".to_owned())
}

/// A database of its own, with a running worker, in the cluster that these tests share.
fn served() -> Database<'static> {
    const DATABASES: usize = 24;
    static CLUSTER: OnceLock<&Server> = OnceLock::new();
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let server = CLUSTER.get_or_init(|| {
        let names: Vec<String> = (0..DATABASES).map(|n| format!("served{n}")).collect();
        let server = start(&names.join(", "), &[]);
        names.iter().for_each(|name| drop(create(&server, name)));
        server.pg_ctl("restart");
        keep(server)
    });
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    assert!(number < DATABASES, "more tests than databases");
    let database = Database { server, name: format!("served{number}") };
    await_served(&mut database.connect());
    database
}

/// Whether notifications are left to a worker: PostgreSQL cannot prepare a transaction that has notified.
fn is_served(client: &mut Client) -> bool {
    let name = unique("probe");
    client.batch_execute("BEGIN").unwrap();
    registered(client);
    let prepared = client.batch_execute(&format!("PREPARE TRANSACTION '{name}'"));
    if prepared.is_ok() {
        client.batch_execute(&format!("ROLLBACK PREPARED '{name}'")).unwrap();
    }
    prepared.is_ok()
}

fn await_served(client: &mut Client) {
    eventually("a worker is at work", || is_served(client));
}

/// The process id of a database's worker.
const WORKER: &str = "SELECT max(pid) FROM pg_stat_activity
                       WHERE datname = $1 AND backend_type = 'customer_db notifications'";

fn worker(database: &Database) -> Option<i32> {
    one(&mut database.server.connect("postgres"), WORKER, &[&database.name])
}

/// Waits until this many notifications have arrived, and returns them.
fn receive(listener: &mut Client, count: usize) -> Vec<Value> {
    let mut all = Vec::new();
    eventually("the notifications have come", || {
        all.extend(received(listener));
        all.len() >= count
    });
    all
}

/// All notifications up to now: registers one more customer, and waits for its notification.
fn receive_all(listener: &mut Client, client: &mut Client) -> Vec<Value> {
    let id = registered(client).to_string();
    let mut all = Vec::new();
    eventually("the last notification has come", || {
        all.extend(received(listener));
        all.iter().any(|payload: &Value| payload["customerId"] == *id)
    });
    all
}

/// Asserts the promise for a database from now on, once its worker runs.
fn assert_announces(database: &Database) {
    let mut client = database.connect();
    await_served(&mut client);
    let mut listener = database.listen();
    let before = announced(&mut client).len();
    register_ann(&mut client);
    assert_eq!(receive_all(&mut listener, &mut client), announced(&mut client)[before..]);
}

#[test]
fn verify_gives_a_worker_the_time_to_notice_a_new_installation() {
    let server = start("fresh", &[]);
    server.connect("postgres").batch_execute("CREATE DATABASE fresh").unwrap();
    server.pg_ctl("restart");
    let database = Database { server: &server, name: "fresh".to_owned() };
    let mut client = database.connect();
    eventually("the worker runs", || worker(&database).is_some());
    client.batch_execute("CREATE EXTENSION customer_db").unwrap();
    let ok = "SELECT ok FROM customers.verify() WHERE check_name = 'worker'";
    assert!(one::<bool>(&mut client, ok, &[]));
}

#[test]
fn committed_changes_are_told_once_in_the_order_of_the_feed() {
    let database = served();
    let mut listener = database.listen();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = database.connect();
                for round in 0..40 {
                    let mut transaction = client.transaction().unwrap();
                    let id = register_ann(&mut transaction).id;
                    let close = "SELECT customers.set_status($1, 'CLOSED')::text";
                    transaction.execute(close, &[&id]).unwrap();
                    match round % 4 {
                        0 => transaction.rollback().unwrap(),
                        _ => transaction.commit().unwrap(),
                    }
                }
            });
        }
    });
    let mut client = database.connect();
    let received = receive_all(&mut listener, &mut client);
    assert_eq!(received.len(), 8 * 30 * 2 + 1);
    assert_eq!(received, announced(&mut client));
    assert_valid(&received);
}

#[test]
fn savepoints_and_transactions_that_are_rolled_back_are_not_told() {
    let database = served();
    let (mut listener, mut client) = (database.listen(), database.connect());
    client
        .batch_execute(
            "BEGIN;
             SAVEPOINT s;
             INSERT INTO customers.customers (email) VALUES ('lost1@example.com');
             ROLLBACK TO s;
             INSERT INTO customers.customers (email) VALUES ('kept1@example.com');
             SAVEPOINT s;
             INSERT INTO customers.customers (email) VALUES ('lost2@example.com');
             ROLLBACK TO s;
             SAVEPOINT t;
             INSERT INTO customers.customers (email, name) VALUES ('kept2@example.com', 'B');
             RELEASE t;
             COMMIT;
             BEGIN;
             INSERT INTO customers.customers (email) VALUES ('lost3@example.com');
             ROLLBACK;
             UPDATE customers.customers SET name = NULL, status = 'SUSPENDED';
             UPDATE customers.customers SET status = status",
        )
        .unwrap();
    assert!(client.batch_execute("INSERT INTO customers.customers (email) VALUES ('x')").is_err());
    let received = receive_all(&mut listener, &mut client);
    assert_eq!(received.len(), 5);
    assert_eq!(received, announced(&mut client));
}

#[test]
fn a_prepared_transaction_is_told_within_a_second_after_its_commit() {
    let database = served();
    let (mut listener, mut client) = (database.listen(), database.connect());
    let delays = [0, 1, 2].map(|round| {
        for (name, end) in [("lost", "ROLLBACK"), ("kept", "COMMIT")] {
            let name = format!("{name}.{round}.{}", database.name);
            client.batch_execute("BEGIN").unwrap();
            registered(&mut client);
            client.batch_execute(&format!("PREPARE TRANSACTION '{name}'")).unwrap();
            assert!(received(&mut listener).is_empty());
            client.batch_execute(&format!("{end} PREPARED '{name}'")).unwrap();
        }
        let since = Instant::now();
        assert_eq!(receive(&mut listener, 1), announced(&mut client)[round..]);
        since.elapsed()
    });
    // Other tests may stretch one delay. If the worker looked less often, each after the first would be that long.
    assert!(delays[1..].iter().any(|delay| *delay < Duration::from_secs(3)), "{delays:?}");
}

#[test]
fn where_no_worker_runs_the_transaction_tells() {
    // Not preloaded; preloaded, but with another database named.
    let elsewhere = served().server.database();
    for database in [database(), elsewhere] {
        let (mut listener, mut client) = (database.listen(), database.connect());
        client.batch_execute("LOAD 'customer_db'; SET customer_db.notify = worker").unwrap();
        registered(&mut client);
        assert_eq!(received(&mut listener), announced(&mut client));
        assert!(!is_served(&mut client));
    }
}

/// A cluster in which a commit that waits for its synchronous standby holds the lock of NOTIFY.
fn start_with_replica_awaited() -> (Server, String) {
    start_one(&["synchronous_standby_names = 'nobody'", "synchronous_commit = local"])
}

/// Runs a statement in a session of its own.
fn start_statement(database: &Database, statement: &'static str) -> (i32, JoinHandle<()>) {
    let mut client = database.connect();
    (pid(&mut client), thread::spawn(move || client.batch_execute(statement).unwrap()))
}

/// Makes a session hold that lock.
fn hold_lock(database: &Database) -> (i32, JoinHandle<()>) {
    let (holder, thread) = start_statement(
        database,
        "SET synchronous_commit = on; CREATE TABLE public.written (); NOTIFY elsewhere",
    );
    let mut client = database.connect();
    let holds = "SELECT coalesce(wait_event = 'SyncRep', false)
                   FROM pg_stat_activity WHERE pid = $1";
    eventually("a commit waits for its replica", || one(&mut client, holds, &[&holder]));
    (holder, thread)
}

#[test]
fn a_writer_does_not_wait_for_who_holds_the_lock_of_notify() {
    if !on_16() {
        return;
    }
    let (server, name) = start_with_replica_awaited();
    let database = Database { server: &server, name };
    let (mut listener, mut client) = (database.listen(), database.connect());
    await_served(&mut client);
    let (holder, holding) = hold_lock(&database);
    let (waiter, waiting) = start_statement(
        &database,
        "SET customer_db.notify = transaction;
         SELECT customers.register_customer('person@example.com')",
    );
    await_blocked(&mut client, waiter);

    client.batch_execute("SET lock_timeout = '10s'").unwrap();
    for _ in 0..3 {
        registered(&mut client);
    }
    assert!(received(&mut listener).is_empty(), "the worker is what waits");
    client.execute("SELECT pg_cancel_backend($1)", &[&holder]).unwrap();
    holding.join().unwrap();
    waiting.join().unwrap();
    let mut received = receive(&mut listener, 4);
    received.sort_by_key(|payload| payload["position"].as_i64());
    assert_eq!(received, announced(&mut client));
}

#[test]
fn a_lock_timeout_of_the_database_does_not_hurt_the_worker() {
    if !on_16() {
        return;
    }
    let (server, name) = start_with_replica_awaited();
    let database = Database { server: &server, name };
    let set = "ALTER DATABASE served SET lock_timeout = '1ms'";
    database.connect().batch_execute(set).unwrap();
    server.pg_ctl("restart");
    let (mut listener, mut client) = (database.listen(), database.connect());
    await_served(&mut client);
    let first = worker(&database);
    let (holder, holding) = hold_lock(&database);
    registered(&mut client);
    await_blocked(&mut client, first.unwrap());
    client.execute("SELECT pg_cancel_backend($1)", &[&holder]).unwrap();
    holding.join().unwrap();
    assert_eq!(receive(&mut listener, 1), announced(&mut client));
    assert_eq!(worker(&database), first);
}

#[test]
fn more_events_than_the_limit_are_told_by_one_notification_for_the_rest() {
    if !on_16() {
        return;
    }
    let database = served();
    let (mut listener, mut client) = (database.listen(), writer(&database, 3));
    let insert = "INSERT INTO customers.customers (email)
                  SELECT $1 || i || '@example.com' FROM generate_series(1, 10) AS i";
    client.execute(insert, &[&"a"]).unwrap();
    check_collapse(&receive(&mut listener, 4), &positions(&mut client), 3);

    // A rollback to a savepoint discards its notifications.
    let mut transaction = client.transaction().unwrap();
    let mut savepoint = transaction.savepoint("s").unwrap();
    savepoint.execute(insert, &[&"b"]).unwrap();
    savepoint.rollback().unwrap();
    transaction.execute(insert, &[&"c"]).unwrap();
    transaction.commit().unwrap();
    check_collapse(&receive(&mut listener, 4), &positions(&mut client)[10..], 3);
    assert_eq!(receive_all(&mut listener, &mut client), announced(&mut client)[20..]);
}

#[test]
fn more_events_than_fit_into_one_of_its_transactions_are_told() {
    if !on_16() {
        return;
    }
    let database = served();
    let (mut listener, mut client) = (database.listen(), writer(&database, 100_000));
    let insert = "INSERT INTO customers.customers (email)
                  SELECT i || '@example.com' FROM generate_series(1, 25000) AS i";
    client.batch_execute(insert).unwrap();
    let received = receive_all(&mut listener, &mut client);
    assert!(received == announced(&mut client), "{} of 25001 were told", received.len());
}

/// The size of the worker's memory contexts, from the server log.
fn memory(database: &Database) -> i64 {
    let pid = worker(database).unwrap();
    let totals = || -> Vec<i64> {
        let log = database.server.log();
        let lines = log.lines().filter(|line| line.starts_with(&format!("{pid} ")));
        // "… Grand total: 1792424 bytes in 220 blocks; 442648 free (204 chunks); 1349776 used"
        let totals = lines.filter(|line| line.contains("Grand total: "));
        let totals = totals.filter_map(|line| line.strip_suffix(" used")?.split(' ').next_back());
        totals.map(|bytes| bytes.parse().unwrap()).collect()
    };
    let before = totals().len();
    let log = "SELECT pg_log_backend_memory_contexts($1)";
    database.server.connect("postgres").execute(log, &[&pid]).unwrap();
    eventually("the worker has logged its memory", || totals().len() > before);
    *totals().last().unwrap()
}

#[test]
fn a_worker_keeps_its_memory_flat() {
    if !on_16() {
        return;
    }
    let database = served();
    let (mut listener, mut client) = (database.listen(), database.connect());
    let mut work = |rounds: usize| {
        for round in 0..rounds {
            let insert = "INSERT INTO customers.customers (email)
                          SELECT gen_random_uuid() || '@example.com' FROM generate_series(1, $1)";
            client.execute(insert, &[&if round % 100 == 0 { 900 } else { 1 }]).unwrap();
        }
        receive_all(&mut listener, &mut client);
    };
    work(200);
    let before = memory(&database);
    work(1000);
    let after = memory(&database);
    assert!(after - before < 8 * 1024, "{before} bytes before, {after} after");
}

#[test]
fn a_session_may_tell_by_itself_or_not_at_all() {
    if !on_16() {
        return;
    }
    let database = served();
    let (mut listener, mut client) = (database.listen(), database.connect());
    client.batch_execute("SET customer_db.notify = off").unwrap();
    registered(&mut client);
    client.batch_execute("SET customer_db.notify = transaction").unwrap();
    registered(&mut client);
    assert_eq!(received(&mut listener), announced(&mut client)[1..]);
    client.batch_execute("SET customer_db.notify = worker").unwrap();
    assert_eq!(receive_all(&mut listener, &mut client), announced(&mut client)[2..]);
}

#[test]
fn the_workers_of_two_databases_do_not_mix() {
    if !on_16() {
        return;
    }
    let databases = [served(), served()];
    let mut listeners = databases.each_ref().map(|database| database.listen());
    let mut clients = databases.each_ref().map(|database| database.connect());
    for n in 0..30 {
        registered(&mut clients[usize::from(n % 3 == 0)]);
    }
    for (listener, client) in listeners.iter_mut().zip(&mut clients) {
        assert_eq!(receive_all(listener, client), announced(client));
    }
}

#[test]
fn a_worker_shows_under_a_name_of_its_own() {
    if !on_16() {
        return;
    }
    let database = served();
    assert!(worker(&database).is_some());
    let workers = "SELECT count(*) FROM pg_stat_activity
                    WHERE datname = current_database() AND backend_type <> 'client backend'";
    assert_eq!(one::<i64>(&mut database.connect(), workers, &[]), 1);
}

#[test]
fn a_worker_that_is_terminated_comes_back_and_goes_on() {
    if !on_16() {
        return;
    }
    let database = served();
    let (mut listener, mut client) = (database.listen(), database.connect());
    // Left to the worker that runs now, and committed while none runs.
    let prepared = format!("left.{}", database.name);
    client.batch_execute("BEGIN").unwrap();
    registered(&mut client);
    client.batch_execute(&format!("PREPARE TRANSACTION '{prepared}'")).unwrap();

    let first = worker(&database);
    client.execute("SELECT pg_terminate_backend($1, 10000)", &[&first]).unwrap();
    assert_eq!(worker(&database), None);
    assert!(!is_served(&mut client));
    registered(&mut client);
    assert_eq!(received(&mut listener), announced(&mut client), "told by the transaction");
    client.batch_execute(&format!("COMMIT PREPARED '{prepared}'")).unwrap();

    assert_eq!(receive(&mut listener, 1), announced(&mut client)[..1]);
    await_served(&mut client);
    assert_ne!(worker(&database), first);
    assert_eq!(receive_all(&mut listener, &mut client), announced(&mut client)[2..]);
}

#[test]
fn a_worker_lives_through_a_reload_of_the_configuration() {
    if !on_16() {
        return;
    }
    let database = served();
    let first = worker(&database);
    let mut client = database.connect();
    for _ in 0..3 {
        client.execute("SELECT pg_reload_conf()", &[]).unwrap();
        assert_announces(&database);
    }
    assert_eq!(worker(&database), first);
}

#[test]
fn settings_of_the_database_do_not_hurt_the_worker() {
    if !on_16() {
        return;
    }
    let database = served();
    let (mut listener, mut client) = (database.listen(), database.connect());
    let stranger = role(&mut client, "");
    for setting in [
        "default_transaction_isolation = 'serializable'",
        "default_transaction_read_only = on",
        "default_transaction_deferrable = on",
        "statement_timeout = '1ms'",
        "idle_session_timeout = '1ms'",
        "idle_in_transaction_session_timeout = '1ms'",
        "synchronous_commit = remote_apply",
        "search_path = pg_temp",
        "enable_indexscan = off",
        "customer_db.notify = off",
        "row_security = off",
        &format!("role = {stranger}"),
    ] {
        let set = format!("ALTER DATABASE {} SET {setting}", database.name);
        client.batch_execute(&set).unwrap();
    }
    let first = worker(&database);
    client.execute("SELECT pg_terminate_backend($1, 10000)", &[&first]).unwrap();
    eventually("another worker runs", || worker(&database).is_some_and(|pid| Some(pid) != first));

    // These sessions are older than the settings.
    await_served(&mut client);
    let second = worker(&database);
    registered(&mut client);
    assert_eq!(receive_all(&mut listener, &mut client), announced(&mut client));
    assert_eq!(worker(&database), second);
}

#[test]
fn a_database_with_a_worker_can_be_copied_and_dropped_and_made_anew() {
    if !on_16() {
        return;
    }
    let (copied, dropped) = (served(), served());
    let (server, copy) = (copied.server, unique("copy"));
    registered(&mut copied.connect());
    assert!(worker(&copied).is_some() && worker(&dropped).is_some());
    let mut other = server.connect("postgres");
    other.batch_execute(&format!("CREATE DATABASE {copy} TEMPLATE {}", copied.name)).unwrap();
    other.batch_execute(&format!("DROP DATABASE {}", dropped.name)).unwrap();
    assert_eq!(announced(&mut server.connect(&copy)).len(), 1);
    assert_announces(&create(server, &dropped.name));
    assert_announces(&copied);
}

#[test]
fn a_database_that_is_made_later_gets_its_worker() {
    if !on_16() {
        return;
    }
    let server = start("late", &[]);
    let database = create(&server, "late");
    let (mut listener, mut client) = (database.listen(), database.connect());
    registered(&mut client);
    await_served(&mut client);
    assert_eq!(receive_all(&mut listener, &mut client), announced(&mut client));
}

#[test]
fn an_extension_that_comes_and_goes_is_served_while_it_is_there() {
    if !on_16() {
        return;
    }
    let database = served();
    let (mut listener, mut client) = (database.listen(), database.connect());
    registered(&mut client);
    for _ in 0..2 {
        client.batch_execute("DROP EXTENSION customer_db CASCADE").unwrap();
        let silent = "INSERT INTO customers.customers (email) VALUES ($1)";
        client.execute(silent, &[&address()]).unwrap();
        client.batch_execute("CREATE EXTENSION customer_db; SELECT customers.attach()").unwrap();
        registered(&mut client);
    }
    assert_eq!(receive_all(&mut listener, &mut client), announced(&mut client));
    let first = worker(&database);

    // Drops and creates the extension and its tables.
    make_tables_anew(&mut client);
    eventually("the worker has found out", || {
        registered(&mut client);
        !received(&mut listener).is_empty()
    });
    receive_all(&mut listener, &mut client);
    assert_announces(&database);
    assert_eq!(worker(&database), first);
}

fn make_tables_anew(client: &mut Client) {
    client
        .batch_execute(
            "DROP EXTENSION customer_db CASCADE;
             DROP SCHEMA customers CASCADE;
             CREATE EXTENSION customer_db",
        )
        .unwrap();
}

#[test]
fn tables_that_are_made_anew_at_once_lose_no_notification() {
    if !on_16() {
        return;
    }
    let database = served();
    let (mut listener, mut client) = (database.listen(), database.connect());
    receive_all(&mut listener, &mut client);
    make_tables_anew(&mut client);
    registered(&mut client);
    await_served(&mut client);
    assert_eq!(receive_all(&mut listener, &mut client), announced(&mut client));
}

#[test]
fn a_database_that_is_named_twice_is_told_once() {
    if !on_16() {
        return;
    }
    let server = start("twice, twice", &[]);
    create(&server, "twice");
    server.pg_ctl("restart");
    let database = Database { server: &server, name: "twice".to_owned() };
    let (mut listener, mut client) = (database.listen(), database.connect());
    await_served(&mut client);
    // Longer than a worker sleeps if nothing wakes it.
    let since = Instant::now();
    let mut received = Vec::new();
    while since.elapsed() < Duration::from_secs(3) {
        received.extend(receive_all(&mut listener, &mut client));
    }
    assert_eq!(received, announced(&mut client));
}

#[test]
fn a_crash_loses_neither_the_worker_nor_what_commits_after_it() {
    if !on_16() {
        return;
    }
    let (server, name) = start_one(&["restart_after_crash = on"]);
    let database = Database { server: &server, name };
    let mut client = database.connect();
    await_served(&mut client);
    client.batch_execute("BEGIN").unwrap();
    let prepared = registered(&mut client).to_string();
    client.batch_execute("PREPARE TRANSACTION 'prepared'").unwrap();
    registered(&mut client);

    let killed = worker(&database).unwrap();
    // SAFETY: kill() takes any arguments; the process belongs to the server that this test started.
    unsafe { libc::kill(killed, libc::SIGKILL) };
    eventually("the server is back", || {
        server.connect_as("served", "postgres").is_ok_and(|mut client| {
            let worker = client.query_one(WORKER, &[&database.name]);
            worker.is_ok_and(|row| row.get::<_, Option<i32>>(0) != Some(killed))
        })
    });
    let (mut listener, mut client) = (database.listen(), database.connect());
    await_served(&mut client);
    client.batch_execute("COMMIT PREPARED 'prepared'").unwrap();
    assert_eq!(receive(&mut listener, 1)[0]["customerId"], *prepared);
    assert_announces(&database);
}

#[test]
fn a_standby_that_is_promoted_gets_its_worker() {
    if !on_16() {
        return;
    }
    let (server, name) = start_one(&[]);
    let primary = Database { server: &server, name: name.clone() };
    await_served(&mut primary.connect());
    let standby = server.standby();
    registered(&mut primary.connect());
    let database = Database { server: &standby, name };
    let count = "SELECT count(*) FROM customers.events";
    let mut client = database.connect();
    eventually("it has followed", || one::<i64>(&mut client, count, &[]) == 1);
    assert_eq!(worker(&database), None);
    let in_order = "SELECT ok FROM customers.verify() WHERE check_name = 'worker'";
    assert!(one::<bool>(&mut client, in_order, &[]), "it starts with the promotion");
    assert!(
        refusal(client.batch_execute("SELECT * FROM customers.read_events(0)")).hint().is_some()
    );
    standby.pg_ctl("promote");
    assert_announces(&database);
    assert_announces(&primary);
}

#[test]
fn a_database_that_the_settings_name_is_not_to_be_named_again() {
    if !on_16() {
        return;
    }
    let server = Server::start(&[
        "shared_preload_libraries = 'customer_db'",
        "customer_db.databases = 'shop, postgres'",
        "customer_db.notify = worker",
        // Not even the worker's.
        "max_worker_processes = 0",
    ]);
    let mut client = server.connect("postgres");
    client.batch_execute("CREATE EXTENSION customer_db").unwrap();
    let detail = "SELECT detail FROM customers.verify() WHERE check_name = 'worker' AND NOT ok";
    let detail: String = one(&mut client, detail, &[]);
    assert!(detail.contains("see the server log") && !detail.contains("ALTER SYSTEM"), "{detail}");
}

#[test]
fn what_a_restore_loads_is_not_told_and_what_follows_in_a_new_epoch_once() {
    let (original, copy) = (served(), served());
    let mut source = original.connect();
    for _ in 0..5 {
        registered(&mut source);
    }
    let dump = original.dump(&["--format=custom", "--data-only"]);
    let (mut listener, mut client) = (copy.listen(), copy.connect());
    let load = ["--data-only", "--disable-triggers", "--exit-on-error"];
    succeed(copy.program("pg_restore").args(load).arg(dump));
    assert_eq!(announced(&mut client).len(), 5);
    for _ in 0..3 {
        registered(&mut client);
    }
    let after_load = |client: &mut Client| announced(client)[5..].to_vec();
    assert_eq!(receive_all(&mut listener, &mut client), after_load(&mut client));

    client.batch_execute("UPDATE customers.feed_epochs SET history = 'ended'").unwrap();
    let before = announced(&mut client).len();
    let mut new = copy.connect();
    for _ in 0..3 {
        registered(&mut new);
    }
    let told = receive_all(&mut listener, &mut new);
    assert_eq!(told, announced(&mut client)[before..]);
    assert!(told[0]["position"].as_i64().unwrap() >= 20_000_000_000, "{told:?}");
}
