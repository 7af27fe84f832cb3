//! A reader that catches up: read_events beside message-db's get_category_messages, over the same events, a thousand at
//! a time; in the server, and through psycopg.

#[allow(dead_code)] // the tests use all of it
#[path = "../tests/server/kit/mod.rs"]
mod kit;
#[allow(dead_code)] // the other benchmarks use all of it
mod measuring;

use kit::{Server, home, project, succeed};
use measuring::{report, timed};
use postgres::Client;
use std::process::Command;

const EVENTS: i64 = 200_000;
const ROUNDS: usize = 5;

const OURS: &str = "DO $$
DECLARE place bigint = 0; last bigint;
BEGIN
    LOOP
        SELECT max(position) INTO last FROM customers.read_events(place, 1000);
        EXIT WHEN last IS NULL;
        place = last;
    END LOOP;
END $$";
const THEIRS: &str = "DO $$
DECLARE place bigint = 1; last bigint;
BEGIN
    LOOP
        SELECT max(global_position) INTO last FROM message_store.get_category_messages('customer', place, 1000);
        EXIT WHEN last IS NULL;
        place = last + 1;
    END LOOP;
END $$";

fn main() {
    // cargo test runs benches too, without --bench.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let message_db = project().join(".local/message-db/database");
    if !message_db.exists() {
        println!("SKIPPED: message-db is missing, see bin/fetch-message-db");
        return;
    }
    let server = Server::start(&["shared_buffers = 1GB", "max_wal_size = 8GB"]);
    let database = server.database();
    let path = std::env::var("PATH").unwrap_or_default();
    succeed(
        Command::new("bash")
            .current_dir(&message_db)
            .arg("install.sh")
            .env("PATH", format!("{}:{path}", home("16").join("bin").display()))
            .env("LD_LIBRARY_PATH", home("16").join("lib"))
            .env("PGHOST", server.host())
            .env("PGUSER", "postgres")
            .env("PGDATABASE", &database.name)
            .env("DATABASE_NAME", &database.name)
            .env("CREATE_DATABASE", "off"),
    );
    // message-db's functions name its objects without the schema.
    let path = format!("ALTER DATABASE {} SET search_path = message_store, public", database.name);
    database.connect().batch_execute(&path).unwrap();
    let mut client = database.connect();
    fill(&mut client);
    println!("\nmedian of {ROUNDS} rounds (lowest to highest)\n");

    let rounds = |mut ours: Box<dyn FnMut() -> f64 + '_>,
                  mut theirs: Box<dyn FnMut() -> f64 + '_>| {
        let measured: Vec<_> = (0..ROUNDS).map(|_| (ours(), theirs())).collect();
        let rates = measured.iter().map(|(ours, _)| EVENTS as f64 / ours).collect::<Vec<_>>();
        (rates, measured.iter().map(|(ours, theirs)| theirs / ours).collect::<Vec<_>>())
    };
    let mut other = database.connect();
    let (rates, ratios) = rounds(
        Box::new(|| timed(|| client.batch_execute(OURS).unwrap())),
        Box::new(|| timed(|| other.batch_execute(THEIRS).unwrap())),
    );
    report("in the server: read_events, events a second", "at least 240,000", rates);
    report("in the server: time of message-db / read_events", "at least 5", ratios);

    let psycopg = project().join(".local/clients/python");
    if !psycopg.exists() {
        println!("SKIPPED: psycopg is missing, see bin/fetch-clients");
        return;
    }
    let through = |feed: &'static str| {
        let connection = format!("host={} user=postgres dbname={}", server.host(), database.name);
        let psycopg = psycopg.clone();
        move || {
            let script = project().join("benches/catch_up.py");
            let printed = succeed(
                Command::new("python3")
                    .env("PYTHONPATH", &psycopg)
                    .arg(script)
                    .args([&connection, feed]),
            );
            let (count, seconds) = printed.trim().split_once(' ').expect("count and seconds");
            assert_eq!(count.parse(), Ok(EVENTS), "{feed}");
            seconds.parse::<f64>().expect("seconds")
        }
    };
    let (_, ratios) = rounds(Box::new(through("ours")), Box::new(through("theirs")));
    report("through psycopg: time of message-db / read_events", "at least 1.7", ratios);
}

/// Gives both feeds the same events.
fn fill(client: &mut Client) {
    client
        .batch_execute(&format!(
            "SET customer_db.notify = off;
             INSERT INTO customers.customers (email, name)
             SELECT 'c' || n || '@example.com', 'Customer Name' FROM generate_series(1, {EVENTS}) AS n;
             INSERT INTO message_store.messages (id, stream_name, type, position, data, metadata)
             SELECT event_id, 'customer-' || customer_id, type, version - 1,
                    jsonb_build_object('eventId', event_id, 'occurredAt', occurred_at, 'version', version,
                        'customer', jsonb_build_object('customerId', customer_id) || changes), NULL
               FROM customers.events ORDER BY position"
        ))
        .unwrap();
    for table in ["customers.events", "message_store.messages"] {
        client.batch_execute(&format!("VACUUM ANALYZE {table}")).unwrap();
    }
}
