//! Promise: what a reader of the feed has received survives a crash, whatever `synchronous_commit` the
//! writer chose.

use crate::kit::history::{positions_after, register};
use crate::kit::{Server, all, on_16, one, registered};
use postgres::Client;

/// Settings with which only an explicit flush brings a commit to disk within the duration of a test.
const LAZY: [&str; 6] = [
    "fsync = on",
    "synchronous_commit = off",
    "wal_writer_delay = 10s",
    "wal_writer_flush_after = 2GB",
    "bgwriter_delay = 10s",
    "autovacuum = off",
];

/// The events up to a position, as a copy would hold them.
fn events(client: &mut Client, up_to: i64) -> Vec<String> {
    let query = "SELECT concat_ws(' ', position, event_id, customer_id, version, changes)
                   FROM customers.events WHERE position <= $1 ORDER BY position";
    all(client, query, &[&up_to])
}

#[test]
fn what_a_reader_has_seen_survives_a_crash() {
    if !on_16() {
        return;
    }
    let server = Server::start(&LAZY);
    let database = server.database();
    database.connect().batch_execute("SELECT customers.subscribe('mailer'); CHECKPOINT").unwrap();
    for read in [
        "SELECT max(position) FROM customers.read_events(0, 10000)",
        "SELECT max(position) FROM customers.fetch_events('mailer', 10000)",
        "SELECT customers.feed_position()",
    ] {
        for commands in [1, 3] {
            let (mut writer, mut reader) = (database.connect(), database.connect());
            // Reads once before, so that neither the first call's catalogue look-ups nor its other effects
            // flush WAL.
            reader.batch_execute(read).unwrap();
            register(&mut writer, commands);
            let seen: i64 = one(&mut reader, read, &[]);
            // Read from memory after the call; the same must be found after the crash.
            let given = events(&mut reader, seen);
            server.crash();
            server.pg_ctl("start");

            let mut client = database.connect();
            assert_eq!(events(&mut client, seen), given, "{read}");
            let next = registered(&mut client);
            let position = "SELECT position FROM customers.events WHERE customer_id = $1";
            let position: i64 = one(&mut client, position, &[&next]);
            assert!(position > seen, "{read}: {position} was drawn again");
            assert_eq!(positions_after(&mut client, seen), [position], "{read}");
        }
    }
}
