//! Promise: a session that calls functions all day keeps a flat memory.

use crate::kit::{all, database, id, one, registered};
use postgres::Client;
use uuid::Uuid;

/// What a session may grow by after its warm-up: less than 4 bytes a call.
const ALLOWED: i64 = 64 * 1024;
const ROUNDS: usize = 9_000;

fn bytes(client: &mut Client) -> i64 {
    // PostgreSQL itself keeps the set of changed columns of every UPDATE that fires an AFTER trigger
    // in AfterTriggerEvents, until the transaction ends: some 24 bytes each.
    let query = "SELECT sum(total_bytes)::bigint FROM pg_backend_memory_contexts
                  WHERE name <> 'AfterTriggerEvents'";
    // Answering for the first time takes memory of its own.
    one::<i64>(client, query, &[]);
    one(client, query, &[])
}

/// Registers one customer, renames another and reads a third, once for each id.
fn rounds(client: &mut Client, ids: &[Uuid]) {
    let register = client
        .prepare("SELECT customers.register_customer('p' || $1::uuid || '@example.com', 'Ann', $2)::text")
        .unwrap();
    let update = client
        .prepare("SELECT customers.update_customer($1, name => 'Bob', status => 'SUSPENDED')::text")
        .unwrap();
    let get = client.prepare("SELECT version FROM customers.get_customer($1)").unwrap();
    for customer in ids {
        client.execute(&register, &[customer, &id()]).unwrap();
        client.execute(&update, &[customer]).unwrap();
        assert_eq!(client.query_one(&get, &[customer]).unwrap().get::<_, i64>(0), 2);
    }
}

/// Customers that are there before the measurement.
fn customers(client: &mut Client) -> Vec<Uuid> {
    let insert = "INSERT INTO customers.customers (email)
                  SELECT 'c' || i || '@example.com' FROM generate_series(1, $1::bigint) AS i
                  RETURNING customer_id";
    all(client, insert, &[&(ROUNDS as i64)])
}

fn assert_flat(client: &mut Client, ids: &[Uuid]) {
    // The warm-up uses up the notifications that a transaction may send one by one.
    let (warm_up, measured) = ids.split_at(ROUNDS / 4);
    rounds(client, warm_up);
    let before = bytes(client);
    rounds(client, measured);
    let after = bytes(client);
    let calls = measured.len() * 3;
    eprintln!("{calls} calls: {before} bytes before, {after} after");
    assert!(after - before < ALLOWED, "{calls} calls: {before} bytes before, {after} after");
}

#[test]
fn calls_in_one_transaction_keep_memory_flat() {
    let mut client = database().connect();
    let ids = customers(&mut client);
    client.batch_execute("BEGIN").unwrap();
    assert_flat(&mut client, &ids);
    client.batch_execute("COMMIT").unwrap();
}

#[test]
fn calls_in_many_transactions_keep_memory_flat() {
    let mut client = database().connect();
    let ids = customers(&mut client);
    assert_flat(&mut client, &ids);
}

#[test]
fn refusals_keep_memory_flat() {
    let mut client = database().connect();
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
    let before = bytes(&mut client);
    refuse(&mut client, 1_000);
    let after = bytes(&mut client);
    assert!(after - before < ALLOWED, "{before} bytes before, {after} after");
}
