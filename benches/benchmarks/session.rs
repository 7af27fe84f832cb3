//! Work of a single session.

use crate::results::Figure;
use crate::variant::Variant;
use crate::{Bench, ROUNDS};
use postgres::Client;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// The duration of `work` in seconds.
pub fn timed(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

/// A section's SQL, with a tag that makes its addresses new.
fn tagged(variant: &Variant, section: &str) -> String {
    static TAG: AtomicU32 = AtomicU32::new(0);
    let tag = TAG.fetch_add(1, Ordering::Relaxed);
    variant.script(section).replace(":tag", &tag.to_string())
}

/// The time of a section in each of the variants in turn, in rounds; `prepare` comes before it and is not measured.
fn seconds(
    bench: &Bench,
    section: &str,
    names: &[&str],
    mut prepare: impl FnMut(&mut Client),
) -> Vec<Figure> {
    let variants = bench.variants(names);
    let command = format!("the variant's section {section}, in psql");
    let mut sessions: Vec<_> = variants
        .into_iter()
        .map(|variant| {
            let client = bench.server.connect(&variant.name);
            (variant, client, Figure::new(section, &variant.name, "seconds", &command))
        })
        .collect();
    for _ in 0..ROUNDS {
        for (variant, client, figure) in &mut sessions {
            prepare(client);
            let sql = tagged(variant, section);
            figure.values.push(timed(|| client.batch_execute(&sql).expect("it runs")));
        }
    }
    sessions.into_iter().map(|(.., figure)| figure).collect()
}

/// 10,000 registrations in one transaction: what they cost in the server, without the client and the commit.
pub fn registering(bench: &Bench) -> Vec<Figure> {
    let names = ["bare", "plpgsql", "undefended", "ours", "ours_transaction"];
    seconds(bench, "one_session", &names, |_| ())
}

pub fn bulk(bench: &Bench) -> Vec<Figure> {
    let names = [
        "bare",
        "plpgsql",
        "plpgsql_notify",
        "tcn",
        "outbox",
        "ours",
        "ours_transaction",
        "without_event_writer",
    ];
    seconds(bench, "bulk", &names, |_| ())
}

/// 20 batches of 10,000.
pub fn import(bench: &Bench) -> Vec<Figure> {
    let mut round = 0;
    seconds(bench, "import", &["bare", "ours", "ours_transaction"], |client| {
        round += 1;
        let batches = format!(
            "DROP TABLE IF EXISTS batches;
             CREATE TEMP TABLE batches AS
             SELECT jsonb_agg(jsonb_build_object('email', 'i{round}-' || batch || '-' || i || '@example.com',
                                                 'name', 'Customer Name')) AS customers
               FROM generate_series(1, 20) AS batch, generate_series(1, 10000) AS i
              GROUP BY batch"
        );
        client.batch_execute(&batches).expect("batches");
    })
}

/// A million registrations in one session: half in one transaction, half in a transaction each.
pub fn memory(bench: &Bench) -> Vec<Figure> {
    let Some(ours) = bench.variant("ours") else { return Vec::new() };
    let mut client = bench.server.connect("ours");
    // Nothing is timed here.
    client.batch_execute("SET synchronous_commit = off").expect("a superuser may");
    let pid = crate::kit::pid(&mut client);
    let mut figures = Vec::new();
    let mut repeat = |section: &str, times: u32, transaction: [&str; 2], what: &str| {
        client.batch_execute(transaction[0]).expect("BEGIN");
        for _ in 0..times {
            client.batch_execute(&tagged(ours, section)).expect("it runs");
        }
        client.batch_execute(transaction[1]).expect("COMMIT");
        let contexts = "SELECT sum(total_bytes)::bigint / 1024 FROM pg_backend_memory_contexts";
        let contexts: i64 = crate::kit::one(&mut client, contexts, &[]);
        for (part, kb) in [("contexts", contexts as f64), ("private", private_memory(pid))] {
            let workload = format!("memory: {what}");
            figures.push(Figure {
                values: vec![kb],
                ..Figure::new(&workload, part, "kB", "make bench-full")
            });
        }
    };
    repeat("one_session", 1, ["", ""], "10,000 in one transaction");
    repeat("one_session", 50, ["BEGIN", "COMMIT"], "500,000 more in one transaction");
    repeat("one_session_committing", 25, ["", ""], "250,000 more in a transaction each");
    repeat("one_session_committing", 25, ["", ""], "again 250,000 in a transaction each");
    figures
}

/// The process's private resident memory in kB, without the shared buffers that it has touched.
fn private_memory(pid: i32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("Linux");
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("RssAnon");
    line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
}
