//! Promise: the memory of a session that calls functions over and over does not grow.

use crate::kit::{Server, all, id, on_16, one, pid, registered};
use postgres::Client;
use serde_json::{Value, json};
use std::fs;
use uuid::Uuid;

/// How much a session's memory contexts may grow after its warm-up: less than 16 bytes a round, the least
/// that PostgreSQL allocates.
const ALLOWED: i64 = 100 * 1024;
/// The same for the whole process, Rust's allocations included, which the system reports in pages.
const ALLOWED_IN_ALL: i64 = 1024 * 1024;
const ROUNDS: usize = 9_000;

fn bytes(client: &mut Client) -> i64 {
    // Without AfterTriggerEvents, where PostgreSQL keeps the set of changed columns of every UPDATE that
    // fires an AFTER trigger until the transaction ends: some 24 bytes each.
    let query = "SELECT sum(total_bytes)::bigint FROM pg_backend_memory_contexts
                  WHERE name <> 'AfterTriggerEvents'";
    // The first execution of the query allocates memory itself.
    one::<i64>(client, query, &[]);
    one(client, query, &[])
}

/// The private resident memory of the session: RssAnon of /proc.
fn bytes_in_all(client: &mut Client) -> i64 {
    let status = fs::read_to_string(format!("/proc/{}/status", pid(client))).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<i64>().unwrap() * 1024
}

/// Asserts that `work` does not make the session's memory grow.
fn assert_flat(client: &mut Client, work: impl FnOnce(&mut Client)) {
    let before = (bytes(client), bytes_in_all(client));
    work(client);
    let after = (bytes(client), bytes_in_all(client));
    let told = format!("in contexts and in all: {before:?} bytes before, {after:?} after");
    eprintln!("{told}");
    assert!(after.0 - before.0 < ALLOWED && after.1 - before.1 < ALLOWED_IN_ALL, "{told}");
}

/// For each id, registers two customers, one of them under this id, renames another and reads it.
fn rounds(client: &mut Client, ids: &[Uuid]) {
    let register = client
        .prepare("SELECT customers.register_customer('p' || $1::uuid || '@example.com', 'Ann', $2)::text")
        .unwrap();
    let register_anybody = client
        .prepare(
            "SELECT customers.register_customer('q' || $1::uuid || '@example.com', 'Ann')::text",
        )
        .unwrap();
    let update = client
        .prepare("SELECT customers.update_customer($1, name => 'Bob', status => 'SUSPENDED')::text")
        .unwrap();
    let get = client.prepare("SELECT version FROM customers.get_customer($1)").unwrap();
    for customer in ids {
        client.execute(&register, &[customer, &id()]).unwrap();
        client.execute(&register_anybody, &[customer]).unwrap();
        client.execute(&update, &[customer]).unwrap();
        assert_eq!(client.query_one(&get, &[customer]).unwrap().get::<_, i64>(0), 2);
    }
}

/// Customers that are registered before the measurement.
fn customers(client: &mut Client) -> Vec<Uuid> {
    let insert = "INSERT INTO customers.customers (email)
                  SELECT 'c' || i || '@example.com' FROM generate_series(1, $1::bigint) AS i
                  RETURNING customer_id";
    all(client, insert, &[&(ROUNDS as i64)])
}

fn assert_calls_keep_memory_flat(client: &mut Client, ids: &[Uuid]) {
    // The warm-up exhausts the number of notifications that a transaction sends one by one.
    let (warm_up, measured) = ids.split_at(ROUNDS / 4);
    rounds(client, warm_up);
    assert_flat(client, |client| rounds(client, measured));
}

#[test]
fn calls_in_one_transaction_keep_memory_flat() {
    if !on_16() {
        return;
    }
    // A cluster of its own: catalogue changes by other sessions would rebuild this one's caches.
    let server = Server::start(&[]);
    let mut client = server.database().connect();
    let ids = customers(&mut client);
    client.batch_execute("BEGIN").unwrap();
    assert_calls_keep_memory_flat(&mut client, &ids);
    client.batch_execute("COMMIT").unwrap();
}

#[test]
fn calls_in_many_transactions_keep_memory_flat() {
    if !on_16() {
        return;
    }
    // A cluster of its own: catalogue changes by other sessions would rebuild this one's caches.
    let server = Server::start(&[]);
    let mut client = server.database().connect();
    let ids = customers(&mut client);
    assert_calls_keep_memory_flat(&mut client, &ids);
}

#[test]
fn refusals_keep_memory_flat() {
    // A cluster of its own: catalogue changes by other sessions would rebuild this one's caches.
    let server = Server::start(&[]);
    let mut client = server.database().connect();
    let id = registered(&mut client);
    let calls = [
        "SELECT customers.register_customer('not an address')",
        "SELECT customers.set_status($1, 'closed')",
        "SELECT customers.patch_customer($1, '{\"password\": \"secret\"}')",
        "SELECT customers.update_customer($1, expected_version => 7)",
    ]
    .map(|call| client.prepare(call).unwrap());
    let refuse = |client: &mut Client, rounds: usize| {
        for _ in 0..rounds {
            for call in &calls {
                let with_id: &[&(dyn postgres::types::ToSql + Sync)] = &[&id];
                let params = if call.params().is_empty() { &[] } else { with_id };
                assert!(client.execute(call, params).is_err());
            }
        }
    };
    refuse(&mut client, 200);
    assert_flat(&mut client, |client| refuse(client, 1_000));
}

/// Imports batches of which some customers are registered, some exist and some are refused.
fn import(client: &mut Client, batches: std::ops::Range<usize>) {
    let import = client.prepare("SELECT count(*) FROM customers.import_customers($1)").unwrap();
    for batch in batches {
        let email = |n: usize| match n % 10 {
            0 => "not an address".to_owned(),
            _ => format!("i{batch}.{}@example.com", n / 2),
        };
        let customers: Value =
            (0..100).map(|n| json!({"email": email(n), "name": "Ann"})).collect();
        assert_eq!(client.query_one(&import, &[&customers]).unwrap().get::<_, i64>(0), 100);
    }
}

#[test]
fn imports_keep_memory_flat() {
    if !on_16() {
        return;
    }
    // A cluster of its own: catalogue changes by other sessions would rebuild this one's caches.
    let server = Server::start(&[]);
    let mut client = server.database().connect();
    for (begin, end) in [("", ""), ("BEGIN", "COMMIT")] {
        client.batch_execute(begin).unwrap();
        let first = if begin.is_empty() { 0 } else { 1_000 };
        import(&mut client, first..first + 50);
        assert_flat(&mut client, |client| import(client, first + 50..first + 200));
        client.batch_execute(end).unwrap();
    }
}
