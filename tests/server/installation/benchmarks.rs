//! Promise: each variant that `make bench` compares does what doc/benchmarks.md says of it.

use crate::kit::{Server, eventually, on_16, skipped};
use postgres::Client;
use postgres::fallible_iterator::FallibleIterator;
use postgres::types::ToSql;
use variant::Variant;

#[path = "../../../benches/benchmarks/variant.rs"]
mod variant;

const FILLED: u64 = 100;
/// The feeds of variants that have one, and whether a listener is notified.
const VARIANTS: [(&str, &[&str], bool); 12] = [
    ("bare", &[], false),
    ("plpgsql", &[], false),
    ("plpgsql_notify", &[], true),
    ("tcn", &[], true),
    ("outbox", &["feed", "feed_by_id"], false),
    ("message_db", &["feed"], false),
    ("graphile_worker", &[], false),
    ("ours", &["feed"], true),
    ("ours_transaction", &["feed"], true),
    ("without_fast_path", &["feed"], true),
    ("without_event_writer", &["feed"], true),
    ("undefended", &["feed"], true),
];

#[test]
fn every_variant_of_the_benchmarks_does_its_work() {
    if !on_16() {
        return;
    }
    let server = Server::start(&["shared_preload_libraries = 'customer_db'"]);
    for (name, feeds, notifies) in VARIANTS {
        let variant = Variant::read(name);
        if let Err(why) = variant.install(&server, name) {
            skipped(&format!("{name}: {why}"));
            continue;
        }
        variant.fill(&server, name, 1, FILLED);
        let mut client = server.connect(name);
        assert_works(&mut client, &variant, feeds);
        if notifies {
            client.batch_execute(variant.script("listen")).unwrap();
            client.batch_execute(&of_customer(&variant, "register", 9)).unwrap();
            let mut notifications = client.notifications();
            eventually(name, || notifications.iter().next().unwrap().is_some());
        }
    }
}

/// Reads, changes and registers customers, and counts the events of it.
fn assert_works(client: &mut Client, variant: &Variant, feeds: &[&str]) {
    let mut run = |section| {
        let row = client.query_one(&of_customer(variant, section, 7), &[]);
        let row = row.unwrap_or_else(|error| panic!("{}, {section}: {error}", variant.name));
        let name: Option<String> = row.get("name");
        (row.get("email"), name.unwrap(), row.get("status"), row.get("version"))
    };
    let is = |email: &str, name: &str, status: &str, version: i64| {
        (email.to_owned(), name.to_owned(), status.to_owned(), version)
    };
    let steps = [
        ("get", is("c7@example.com", "Customer Name", "ACTIVE", 1)),
        ("find", is("c7@example.com", "Customer Name", "ACTIVE", 1)),
        ("update", is("c7@example.com", "Name 7", "ACTIVE", 2)),
        ("set_status", is("c7@example.com", "Name 7", "SUSPENDED", 3)),
        ("set_status", is("c7@example.com", "Name 7", "ACTIVE", 4)),
        ("get", is("c7@example.com", "Name 7", "ACTIVE", 4)),
        ("register", is("r7@example.com", "Customer Name", "ACTIVE", 1)),
    ];
    for (section, expected) in steps {
        assert_eq!(run(section), expected, "{}, {section}", variant.name);
    }
    for feed in feeds {
        let read = client.prepare(variant.script(feed)).unwrap();
        let begin: [&(dyn ToSql + Sync); 2] = [&0i64, &0i64];
        eventually(&format!("{}, {feed}: {FILLED} registered, 4 changes", variant.name), || {
            let events = client.query(&read, &begin[..read.params().len()]).unwrap();
            events.len() as u64 == FILLED + 4
        });
    }
}

/// A workload's script, for the customer of a number.
fn of_customer(variant: &Variant, section: &str, n: u32) -> String {
    let n = n.to_string();
    variant.script(section).replace(":r", &n).replace(":n", &n)
}
