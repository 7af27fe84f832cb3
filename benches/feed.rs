//! Throughput and latency of the feed and its notifications, as ratios measured in one run with fsync on.
//! Each round runs all variants in turn, so that a drift in the machine's speed affects all alike.

#[allow(dead_code)] // the tests use all of it
#[path = "../tests/server/kit/mod.rs"]
mod kit;
mod measuring;

use kit::Server;
use measuring::{private_memory, report, timed};
use postgres::fallible_iterator::FallibleIterator;
use postgres::{Client, NoTls};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const DATABASE: &str = "bench";
const ROUNDS: usize = 7;
const SECONDS: &str = "5";

/// Each script registers one customer with a new address.
const BARE: &str = "INSERT INTO bare (email, name) VALUES ('c' || :r || '@example.com', 'Customer Name') RETURNING *;";
const NOTIFYING: &str = "INSERT INTO notifying (email, name) VALUES ('c' || :r || '@example.com', 'Customer Name') RETURNING *;";
const OUTBOX: &str = "WITH customer AS (
    INSERT INTO outboxed (email, name) VALUES ('c' || :r || '@example.com', 'Customer Name') RETURNING *
), event AS (
    INSERT INTO outbox (customer_id, payload)
    SELECT customer_id, jsonb_build_object('type', 'customer-registered', 'email', email, 'name', name, 'status', status)
      FROM customer
)
SELECT * FROM customer;";
const OURS: &str =
    "SELECT * FROM customers.register_customer('c' || :r || '@example.com', 'Customer Name');";
const UNDEFENDED: &str = "SELECT * FROM undefended('c' || :r || '@example.com', 'Customer Name');";

/// Reads one of the customers registered before, by primary key.
const SELECT: &str = "SELECT customer_id, email, name, status, registered_at, updated_at, version
  FROM customers.customers WHERE customer_id = ID;";
const GET: &str = "SELECT * FROM customers.get_customer(ID);";

fn main() {
    // cargo test runs benches too, without --bench.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let server = Server::start(&[
        "fsync = on",
        "shared_buffers = 1GB",
        "max_wal_size = 8GB",
        "shared_preload_libraries = 'customer_db'",
        &format!("customer_db.databases = '{DATABASE}'"),
        "customer_db.notify = worker",
    ]);
    server.connect("postgres").batch_execute(&format!("CREATE DATABASE {DATABASE}")).unwrap();
    let mut client = server.connect(DATABASE);
    client.batch_execute("CREATE EXTENSION customer_db").unwrap();
    client.batch_execute(include_str!("plpgsql_equivalent.sql")).unwrap();
    client.batch_execute(include_str!("feed.sql")).unwrap();
    await_worker(&mut client);

    println!("\nmedian of {ROUNDS} rounds (lowest to highest)\n");
    getting(&server, &mut client);
    for clients in [16, 64] {
        bypassing(&server, clients);
    }
    for measure in [writing, defending] {
        for clients in [16, 64] {
            measure(&server, clients);
        }
    }
    latency(&server);
    importing(&mut client);
    reading(&mut client);
}

fn await_worker(client: &mut Client) {
    let running = "SELECT count(*) FROM pg_stat_activity
                    WHERE datname = current_database() AND backend_type = 'customer_db notifications'";
    let since = Instant::now();
    while client.query_one(running, &[]).unwrap().get::<_, i64>(0) == 0 {
        assert!(since.elapsed() < Duration::from_secs(30), "no notification worker");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn writing(server: &Server, clients: u32) {
    let notifying = (NOTIFYING, "INSERT with NOTIFY in a trigger", "at least 2.5");
    let outbox = (OUTBOX, "a hand-written outbox", "at least 1.0");
    let bare = (BARE, "INSERT into bare", "at least 0.75");
    compare(server, clients, [notifying, outbox, bare]);
}

/// Each bypass of the executor against its fallback, an INSERT statement. An added column, whose own cost
/// is negligible, makes the fallback run.
fn bypassing(server: &Server, clients: u32) {
    let fallbacks = [("customers", "registering by INSERT"), ("events", "events by INSERT")];
    let mut ratios = fallbacks.map(|_| Vec::new());
    let databases = ["with_both", "without_customers", "without_events"];
    for database in databases {
        let mut postgres = server.connect("postgres");
        postgres.batch_execute(&format!("DROP DATABASE IF EXISTS {database}")).unwrap();
        postgres.batch_execute(&format!("CREATE DATABASE {database}")).unwrap();
        let mut client = server.connect(database);
        client.batch_execute("CREATE EXTENSION customer_db").unwrap();
        if let Some(table) = database.strip_prefix("without_") {
            let alter = format!("ALTER TABLE customers.{table} ADD COLUMN spare text");
            client.batch_execute(&alter).unwrap();
        }
    }
    for _ in 0..ROUNDS {
        let [with_both, rest @ ..] =
            databases.map(|database| transactions_a_second_in(server, database, clients, OURS));
        ratios.iter_mut().zip(rest).for_each(|(ratios, rate)| ratios.push(with_both / rate));
    }
    for ((_, what), ratios) in fallbacks.into_iter().zip(ratios) {
        report(&format!("{clients} clients: register_customer / {what}"), "at least 1.1", ratios);
    }
}

/// get_customer against the equivalent SELECT by primary key, with more clients than processors.
fn getting(server: &Server, client: &mut Client) {
    client
        .batch_execute(
            "SET customer_db.notify = off;
             INSERT INTO customers.customers (customer_id, email)
             SELECT lpad(to_hex(n), 32, '0')::uuid, n || '@example.net' FROM generate_series(1, 100000) AS n;
             RESET customer_db.notify",
        )
        .unwrap();
    client.batch_execute("VACUUM ANALYZE customers.customers").unwrap();
    let ratios = (0..ROUNDS)
        .map(|_| {
            let [select, get] = [SELECT, GET].map(|script| {
                let script = script.replace("ID", "lpad(to_hex(:n::bigint), 32, '0')::uuid");
                transactions_a_second(server, 16, &format!("\\set n 1 + :r % 100000\n{script}"))
            });
            get / select
        })
        .collect();
    report("16 clients: get_customer / SELECT by key", "at least 0.95", ratios);
}

/// Runs after all others: it writes to the same tables, which would then grow faster than those they are
/// compared with.
fn defending(server: &Server, clients: u32) {
    let undefended = (UNDEFENDED, "without SECURITY DEFINER, search_path", "at least 0.95");
    compare(server, clients, [undefended]);
}

/// Ratios to other ways of writing, each given as script, label and promised ratio.
fn compare<const N: usize>(server: &Server, clients: u32, others: [(&str, &str, &str); N]) {
    let mut ratios = others.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        let rates = others.map(|(script, ..)| transactions_a_second(server, clients, script));
        let ours = transactions_a_second(server, clients, OURS);
        ratios.iter_mut().zip(rates).for_each(|(ratios, rate)| ratios.push(ours / rate));
    }
    for ((_, what, promise), ratios) in others.into_iter().zip(ratios) {
        report(&format!("{clients} clients: register_customer / {what}"), promise, ratios);
    }
}

fn transactions_a_second(server: &Server, clients: u32, script: &str) -> f64 {
    transactions_a_second_in(server, DATABASE, clients, script)
}

fn transactions_a_second_in(server: &Server, database: &str, clients: u32, script: &str) -> f64 {
    let file = std::path::Path::new(server.host()).join("script.sql");
    std::fs::write(&file, format!("\\set r random(1, 1000000000000000)\n{script}\n")).unwrap();
    let output = kit::succeed(
        server
            .program("pgbench")
            .args(["--no-vacuum", "--username=postgres", "--protocol=prepared", "--jobs=2"])
            .args(["--time", SECONDS, "--client", &clients.to_string(), "--host", server.host()])
            .arg("--file")
            .arg(&file)
            .arg(database),
    );
    let tps =
        output.lines().find_map(|line| line.strip_prefix("tps = ")).expect("pgbench prints tps");
    tps.split_whitespace().next().and_then(|tps| tps.parse().ok()).expect("a number")
}

/// From the answer to a COMMIT to the notification's arrival, at 1,000 commits a second.
fn latency(server: &Server) {
    const WRITERS: u32 = 4;
    const EACH: u32 = 2_500;
    let mut listener =
        Client::connect(&format!("host={} user=postgres dbname={DATABASE}", server.host()), NoTls)
            .unwrap();
    listener.batch_execute("LISTEN customers").unwrap();
    let committed: Arc<Mutex<HashMap<String, Instant>>> = Arc::default();
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let committed = committed.clone();
            let mut client = server.connect(DATABASE);
            std::thread::spawn(move || {
                let start = Instant::now();
                for i in 0..EACH {
                    let due = start + Duration::from_millis(4) * i;
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    let row = client
                        .query_one(
                            "SELECT customer_id::text FROM customers.register_customer(gen_random_uuid() || '@example.com')",
                            &[],
                        )
                        .unwrap();
                    committed.lock().unwrap().insert(row.get(0), Instant::now());
                }
            })
        })
        .collect();
    let mut arrived = HashMap::new();
    let mut notifications = listener.notifications();
    let mut iter = notifications.timeout_iter(Duration::from_secs(2));
    while let Some(notification) = iter.next().unwrap() {
        let payload: serde_json::Value = serde_json::from_str(notification.payload()).unwrap();
        arrived.insert(payload["customerId"].as_str().unwrap().to_owned(), Instant::now());
    }
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    let committed = committed.lock().unwrap();
    let mut delays: Vec<f64> = arrived
        .iter()
        .filter_map(|(id, at)| Some(at.saturating_duration_since(*committed.get(id)?)))
        .map(|delay| delay.as_secs_f64() * 1000.0)
        .collect();
    delays.sort_by(f64::total_cmp);
    let at = |part: f64| delays[((delays.len() - 1) as f64 * part) as usize];
    println!(
        "\ncommit to notification, ms, of {} at 1,000 a second: median {:.2}, 90 % {:.2}, 99 % {:.2}, 99.9 % {:.2}, \
         longest {:.2}; promised: median under 2, 99 % under 20\n",
        delays.len(),
        at(0.5),
        at(0.9),
        at(0.99),
        at(0.999),
        at(1.0),
    );
}

/// A million customers in batches of 10,000.
fn importing(client: &mut Client) {
    const PARTS: usize = 5;
    client
        .batch_execute(
            "SET customer_db.notify = off;
             CREATE TEMP TABLE batches AS
             SELECT batch, jsonb_agg(jsonb_build_object('email', batch || '-' || i || '@example.org', 'name', 'Customer Name')) AS customers
               FROM generate_series(1, 100) AS batch, generate_series(1, 10000) AS i
              GROUP BY batch",
        )
        .unwrap();
    let ratios = (0..PARTS)
        .map(|part| {
            let batches = format!("FROM batches WHERE batch % {PARTS} = {part}");
            let bare = timed(|| {
                let insert = format!(
                    "INSERT INTO bare (email, name)
                     SELECT customer ->> 'email', customer ->> 'name'
                       FROM (SELECT jsonb_array_elements(customers) AS customer {batches}) AS customers"
                );
                client.batch_execute(&insert).unwrap();
            });
            let ours = timed(|| {
                let import = format!(
                    "SELECT count(*) FROM (SELECT customers.import_customers(customers) {batches}) AS imported"
                );
                client.batch_execute(&import).unwrap();
            });
            ours / bare
        })
        .collect();
    report("200,000 by import_customers / INSERT … SELECT into bare", "at most 2.0", ratios);
}

/// Reads the whole feed.
fn reading(client: &mut Client) {
    const BATCH: i64 = 1000;
    let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).unwrap().get(0);
    let read = client
        .prepare("SELECT position, event::text FROM customers.read_events($1, 1000)")
        .unwrap();
    let total: i64 = client.query_one("SELECT count(*) FROM customers.events", &[]).unwrap().get(0);
    let (mut position, mut count) = (0i64, 0i64);
    let (mut rates, mut memory) = (Vec::new(), Vec::new());
    while count + BATCH * 100 <= total {
        let seconds = timed(|| {
            for _ in 0..100 {
                let rows = client.query(&read, &[&position]).unwrap();
                position = rows.last().expect("there is more").get(0);
                count += rows.len() as i64;
            }
        });
        rates.push(BATCH as f64 * 100.0 / seconds);
        memory.push(private_memory(pid));
    }
    println!(
        "read_events over {count} events: {:.0} a second; the first 100,000 at {:.0}, the last at {:.0}; \
         private memory {} kB, then {} kB; promised at least 200,000 a second",
        rates.len() as f64 / rates.iter().map(|rate| 1.0 / rate).sum::<f64>(),
        rates[0],
        rates[rates.len() - 1],
        memory[0],
        memory[memory.len() - 1],
    );
}
