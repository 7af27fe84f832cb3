//! Promise: whatever concurrent writers do and however consumers die, each consumer gets each committed
//! change, once and in order.
//!
//! `CUSTOMER_DB_STORM` sets the duration of the storm in seconds.

use crate::kit::traffic::{
    CONSUMERS, Rng, SetWhenDropped, Writer, assert_feed_is_whole, assert_replica_is_true,
    consume_all, is_deadlock, shared_customers,
};
use crate::kit::{database, major, on_16};
use postgres::Client;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

const WRITERS: u64 = 12;

#[test]
fn in_a_storm_no_consumer_loses_an_event_or_gets_one_twice() {
    if !on_16() {
        return;
    }
    if major() != 16 {
        return;
    }
    let seconds = std::env::var("CUSTOMER_DB_STORM").map_or(60, |s| s.parse().unwrap());
    let end = Instant::now() + Duration::from_secs(seconds);
    let database = database();
    let shared = shared_customers(&database);
    let (database, shared) = (&database, shared.as_slice());
    let quiet = &AtomicBool::new(false);
    let replicas = thread::scope(|scope| {
        let calm = SetWhenDropped(quiet);
        let consumers =
            CONSUMERS.map(|consumer| scope.spawn(move || consume_all(database, consumer, quiet)));
        let writers: Vec<_> = (0..WRITERS)
            .map(|seed| {
                scope.spawn(move || write_until(end, Writer::start(database, shared, seed)))
            })
            .collect();
        let mut killer = Killer { client: database.connect(), rng: Rng(200) };
        while !writers.iter().all(|writer| writer.is_finished()) {
            killer.kill();
        }
        drop(calm);
        let committed: usize = writers.into_iter().map(|writer| writer.join().unwrap()).sum();
        assert!(committed > 100, "this was no storm: {committed} transactions");
        consumers.map(|consumer| consumer.join().unwrap())
    });
    assert!(replicas.iter().all(|replica| replica.deaths > 0), "nobody was killed");
    let mut client = database.connect();
    assert_feed_is_whole(&mut client);
    for (consumer, replica) in CONSUMERS.into_iter().zip(&replicas) {
        assert_replica_is_true(&mut client, consumer, replica);
    }
}

/// Writes until `end`, and returns the number of committed transactions.
fn write_until(end: Instant, mut writer: Writer) -> usize {
    let mut committed = 0;
    while Instant::now() < end {
        match writer.write() {
            Ok(changes) => committed += usize::from(!changes.is_empty()),
            Err(error) => assert!(is_deadlock(&error), "{error:?}"),
        }
        writer.rng.sleep(10);
    }
    committed
}

/// Terminates the sessions of consumers.
struct Killer {
    client: Client,
    rng: Rng,
}

impl Killer {
    fn kill(&mut self) {
        self.rng.sleep(100);
        let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                          WHERE datname = current_database() AND application_name = $1";
        self.client.execute(terminate, &[&self.rng.pick(&CONSUMERS)]).unwrap();
    }
}
