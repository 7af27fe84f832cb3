//! Readers of the feed, and notifications.

use crate::kit::{project, succeed};
use crate::results::Figure;
use crate::session::timed;
use crate::variant::{Variant, fetched};
use crate::{Bench, CUSTOMERS, ROUNDS};
use postgres::fallible_iterator::FallibleIterator;
use std::collections::HashMap;
use std::process::Command;
use std::time::{Duration, Instant};
use uuid::Uuid;

type Read = fn(&Bench, &Variant, &str);

/// One reader gets the events of all customers from the beginning, 1000 at a time. Runs before anything is written, so that
/// every feed has the same events.
pub fn catch_up(bench: &Bench) -> Vec<Figure> {
    let all =
        [("ours", "feed"), ("outbox", "feed"), ("outbox", "feed_by_id"), ("message_db", "feed")];
    let stores = [("ours", "feed"), ("message_db", "feed")];
    let mut figures = read_in_turn(bench, "catch_up", "from Rust", read_all, &all);
    if fetched("psycopg").is_ok() {
        let how = "by benches/read_feed.py";
        figures.extend(read_in_turn(bench, "catch_up_psycopg", how, read_with_psycopg, &stores));
    }
    let how = "counted in the server";
    figures.extend(read_in_turn(bench, "catch_up_in_server", how, count_in_server, &stores));
    figures
}

fn read_in_turn(
    bench: &Bench,
    workload: &str,
    how: &str,
    read: Read,
    readers: &[(&str, &str)],
) -> Vec<Figure> {
    let mut readers: Vec<_> = readers
        .iter()
        .filter_map(|(name, section)| {
            let command = format!("the section {section} of benches/variants/{name}.sql, {how}");
            let label = if *section == "feed" { name } else { "outbox_by_id" };
            let figure = Figure::new(workload, label, "events a second", &command);
            Some((bench.variant(name)?, section, figure))
        })
        .collect();
    for _ in 0..ROUNDS {
        for (variant, section, figure) in &mut readers {
            let seconds = timed(|| read(bench, variant, section));
            figure.values.push(CUSTOMERS as f64 / seconds);
        }
    }
    readers.into_iter().map(|(.., figure)| figure).collect()
}

/// The start of Python is part of what is timed.
fn read_with_psycopg(bench: &Bench, variant: &Variant, section: &str) {
    let mut python = Command::new("python3");
    python
        .arg(project().join("benches/read_feed.py"))
        .arg(variant.script(section))
        .env("PYTHONPATH", fetched("psycopg").expect("psycopg"))
        .envs([("PGHOST", bench.server.host()), ("PGUSER", "postgres")])
        .env("PGDATABASE", &variant.name);
    assert_eq!(succeed(&mut python).trim(), CUSTOMERS.to_string(), "{}", variant.name);
}

/// Without a client: what the server takes to give the rows, whose documents nobody looks at.
fn count_in_server(bench: &Bench, variant: &Variant, section: &str) {
    let query = variant.script(section).trim_end_matches(';');
    let count = format!(
        "DO $count$
         DECLARE place bigint := 0; last bigint; events bigint; total bigint := 0;
         BEGIN
             LOOP
                 EXECUTE $$SELECT count(*), max(place) FROM ({query}) AS feed (place, within, event)$$
                    INTO events, last USING place;
                 EXIT WHEN events = 0;
                 total := total + events;
                 place := last;
             END LOOP;
             ASSERT total = {CUSTOMERS}, total;
         END $count$"
    );
    bench.server.connect(&variant.name).batch_execute(&count).expect("every event");
}

/// Parses each event.
fn read_all(bench: &Bench, variant: &Variant, section: &str) {
    let mut client = bench.server.connect(&variant.name);
    let read = client.prepare(variant.script(section)).expect("a query");
    let (mut place, mut within, mut count) = (0i64, 0i64, 0);
    loop {
        let cursor: [&(dyn postgres::types::ToSql + Sync); 2] = [&place, &within];
        let rows = client.query(&read, &cursor[..read.params().len()]).expect("events");
        let Some(last) = rows.last() else { break };
        (place, within) = (last.get(0), last.get(1));
        for row in &rows {
            let event: serde_json::Value = serde_json::from_str(row.get(2)).expect("JSON");
            assert!(event["eventId"].is_string(), "{event}");
            count += 1;
        }
    }
    assert_eq!(count, CUSTOMERS, "{}: not every event was read", variant.name);
}

const WRITERS: u32 = 4;
/// By each writer in each round, one every 4 ms.
const COMMITS: u32 = 500;

/// From the answer to a COMMIT to the notification's arrival at a listener, at 1,000 commits a second. A notification that
/// comes before the writer has its answer took no time.
pub fn latency(bench: &Bench) -> Vec<Figure> {
    let command = "4 writers, 250 commits a second each; LISTEN, from Rust";
    let names = ["tcn", "plpgsql_notify", "ours", "ours_transaction"];
    let mut variants: Vec<_> = bench
        .variants(&names)
        .into_iter()
        .map(|variant| {
            let figures = ["notification_median", "notification_99"]
                .map(|workload| Figure::new(workload, &variant.name, "ms", command));
            (variant, figures)
        })
        .collect();
    for round in 0..ROUNDS {
        for (variant, [median, late]) in &mut variants {
            let delays = delays(bench, variant, round as u32);
            let at = |part: f64| delays[((delays.len() - 1) as f64 * part) as usize];
            median.values.push(at(0.5));
            late.values.push(at(0.99));
        }
    }
    variants.into_iter().flat_map(|(_, figures)| figures).collect()
}

/// The delays of all notifications in ms, in ascending order.
fn delays(bench: &Bench, variant: &Variant, round: u32) -> Vec<f64> {
    let mut listener = bench.server.connect(&variant.name);
    listener.batch_execute(variant.script("listen")).expect("LISTEN");
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let mut client = bench.server.connect(&variant.name);
            let register = variant.script("register").replace(":r", "$1::text");
            let tag = move |i| format!("-{round}-{writer}-{i}");
            std::thread::spawn(move || {
                let register = client.prepare(register.trim_end_matches(';')).expect("a query");
                let start = Instant::now();
                let mut committed = Vec::new();
                for i in 0..COMMITS {
                    let due = start + Duration::from_millis(4) * i;
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    let row = client.query_one(&register, &[&tag(i)]).expect("a customer");
                    committed.push((row.get::<_, Uuid>("customer_id"), Instant::now()));
                }
                committed
            })
        })
        .collect();
    let mut arrived = HashMap::new();
    let mut notifications = listener.notifications();
    let mut iter = notifications.timeout_iter(Duration::from_secs(10));
    while arrived.len() < (WRITERS * COMMITS) as usize {
        let notification = iter.next().expect("a connection").expect("no notification is lost");
        arrived.insert(customer(notification.payload()), Instant::now());
    }
    let mut delays: Vec<f64> = writers
        .into_iter()
        .flat_map(|writer| writer.join().expect("a writer"))
        .map(|(id, at)| arrived[&id].saturating_duration_since(at).as_secs_f64() * 1000.0)
        .collect();
    delays.sort_by(f64::total_cmp);
    delays
}

/// The id in a payload: the last UUID.
fn customer(payload: &str) -> Uuid {
    let mut words = payload.split(|c: char| !c.is_ascii_hexdigit() && c != '-');
    let id = words.rfind(|word| word.len() == 36).unwrap_or_else(|| panic!("no id: {payload}"));
    id.parse().expect("a UUID")
}
