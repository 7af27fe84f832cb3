//! Promise: after any crash the feed holds exactly the committed changes, and consumers continue without loss.

use crate::kit::traffic::{
    CONSUMERS, Change, SetWhenDropped, Writer, assert_died, assert_feed_is_whole,
    assert_replica_is_true, connect_again, consume_all, is_deadlock, shared_customers,
};
use crate::kit::{Database, Server, all, kill, major, on_16, one, pid};
use postgres::Client;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use uuid::Uuid;

#[test]
fn after_a_crash_the_feed_holds_exactly_what_was_committed() {
    if !on_16() {
        return;
    }
    if major() != 16 {
        return;
    }
    let server = Server::start(&["fsync = on"]);
    let database = &server.database();
    let shared = shared_customers(database);
    let quiet = &AtomicBool::new(false);
    let consumer = CONSUMERS[0];
    let replica = thread::scope(|scope| {
        let calm = SetWhenDropped(quiet);
        let replica = scope.spawn(move || consume_all(database, consumer, quiet));
        for round in 0..20 {
            let committed = write_until_a_crash(&server, database, &shared, round);
            let mut client = connect_again(database);
            end_prepared(&mut client);
            assert_feed_is_whole(&mut client);
            assert_recorded(&mut client, &committed);
        }
        drop(calm);
        replica.join().unwrap()
    });
    assert_replica_is_true(&mut database.connect(), consumer, &replica);
}

/// Runs writers until one of their sessions or the whole server is killed, and returns the changes whose
/// COMMIT was answered.
fn write_until_a_crash(
    server: &Server,
    database: &Database,
    shared: &[Uuid],
    round: u64,
) -> Vec<Change> {
    let mut writers: Vec<_> =
        (0..6).map(|number| Writer::start(database, shared, round * 10 + number)).collect();
    let victim = pid(&mut writers[0].client);
    thread::scope(|scope| {
        let (sender, receiver) = channel();
        for writer in writers {
            let sender = sender.clone();
            scope.spawn(move || write_until_it_dies(writer, &sender));
        }
        drop(sender);
        let mut committed = Vec::new();
        while committed.len() < 100 {
            committed.extend(receiver.recv().expect("the writers live"));
        }
        if round.is_multiple_of(2) {
            kill(victim, libc::SIGKILL);
        } else {
            server.crash();
            server.pg_ctl("start");
        }
        committed.extend(receiver.into_iter().flatten());
        committed
    })
}

fn write_until_it_dies(mut writer: Writer, committed: &Sender<Vec<Change>>) {
    loop {
        match writer.write() {
            Ok(changes) => committed.send(changes).expect("the test goes on"),
            Err(error) if is_deadlock(&error) => {}
            Err(error) => return assert_died(&error),
        }
    }
}

/// Commits prepared transactions that the crash left: they would hold back the watermark, and the customers
/// they changed.
fn end_prepared(client: &mut Client) {
    let prepared = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()";
    for name in all::<String>(client, prepared, &[]) {
        client.batch_execute(&format!("COMMIT PREPARED '{name}'")).unwrap();
    }
}

fn assert_recorded(client: &mut Client, changes: &[Change]) {
    let (ids, versions): (Vec<Uuid>, Vec<i64>) = changes.iter().copied().unzip();
    let lost: i64 = one(
        client,
        "SELECT count(*) FROM unnest($1::uuid[], $2::bigint[]) AS c (customer_id, version)
          WHERE NOT EXISTS (SELECT FROM customers.events AS e
                             WHERE (e.customer_id, e.version) = (c.customer_id, c.version))",
        &[&ids, &versions],
    );
    assert_eq!(lost, 0, "changes whose COMMIT was answered");
}
