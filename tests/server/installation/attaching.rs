//! Promise: attach() works under traffic: rows that others write after its transaction began do not count
//! as broken.

use crate::kit::traffic::SetWhenDropped;
use crate::kit::{assert_refused, call, database, one, registered};
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
