//! customer_db beside what people would use instead of it, in one run on one cluster: each variant (benches/variants) has a
//! database of its own, and in each round every variant takes its turn, so that a drift of the machine affects all alike.
//! Writes doc/benchmarks/bench.json, and with --full doc/benchmarks/full.json; benches/page.py makes the page of them.

mod about;
mod feed;
mod growth;
#[allow(dead_code)] // the tests use all of it
#[path = "../../tests/server/kit/mod.rs"]
mod kit;
mod results;
mod session;
mod traffic;
mod variant;

use kit::Server;
use results::{Figure, Results};
use std::time::{Duration, Instant};
use variant::Variant;

const ROUNDS: usize = 3;
/// Of each run of pgbench.
const SECONDS: u64 = 2;
/// In each database before anything is measured.
const CUSTOMERS: u64 = 100_000;
const SETTINGS: [&str; 6] = [
    "fsync = on",
    "shared_buffers = 4GB",
    "max_wal_size = 16GB",
    "checkpoint_timeout = 1h",
    "shared_preload_libraries = 'customer_db'",
    "customer_db.notify = worker",
];
/// The databases that a notification worker serves.
const WORKERS: &str = "ours, without_fast_path, without_event_writer, undefended";

/// What is compared, and parts of ours that are switched off to see what they cost.
const COMPARED: [&str; 9] = [
    "bare",
    "plpgsql",
    "plpgsql_notify",
    "tcn",
    "outbox",
    "message_db",
    "graphile_worker",
    "ours",
    "ours_transaction",
];
const PARTS: [&str; 5] =
    ["bare", "ours", "without_fast_path", "without_event_writer", "undefended"];

pub struct Bench {
    server: &'static Server,
    variants: Vec<Variant>,
}

impl Bench {
    fn variant(&self, name: &str) -> Option<&Variant> {
        self.variants.iter().find(|variant| variant.name == name)
    }

    /// Those of the variants that could be had.
    fn variants(&self, names: &[&str]) -> Vec<&Variant> {
        names.iter().filter_map(|name| self.variant(name)).collect()
    }
}

struct Step {
    what: String,
    seconds: u64,
    run: Box<Measure>,
}

type Measure = dyn Fn(&Bench) -> Vec<Figure>;

fn step(what: &str, seconds: u64, run: impl Fn(&Bench) -> Vec<Figure> + 'static) -> Step {
    Step { what: what.to_owned(), seconds, run: Box::new(run) }
}

fn traffic(workload: &'static str, clients: u32, names: &'static [&str]) -> Step {
    let seconds = (ROUNDS * names.len()) as u64 * (SECONDS + 1);
    let noun = if clients == 1 { "client" } else { "clients" };
    step(&format!("{workload}, {clients} {noun}"), seconds, move |bench| {
        traffic::compare(bench, workload, clients, names)
    })
}

/// The steps of `make bench`. What only reads comes first, over the same customers and events in each variant.
fn steps() -> Vec<Step> {
    let mut steps = vec![step("catching up with the feed", 35, feed::catch_up)];
    for workload in ["get", "find"] {
        steps.extend([1, 16, 64].map(|clients| traffic(workload, clients, &["bare", "ours"])));
    }
    steps.push(step("commit to notification", 60, feed::latency));
    steps.push(traffic("update", 16, &COMPARED));
    steps.push(traffic("set_status", 16, &COMPARED));
    steps.push(traffic("mixed", 16, &COMPARED));
    steps.extend([1, 16, 64].map(|clients| traffic("register", clients, &COMPARED)));
    steps.push(traffic("parts", 16, &PARTS));
    steps.push(step("registering in one session", 30, session::registering));
    steps.push(step("200,000 by INSERT … SELECT", 80, session::bulk));
    steps.push(step("200,000 by import_customers", 20, session::import));
    steps
}

/// What `make bench-full` measures besides.
fn full_steps() -> Vec<Step> {
    let mut steps = Vec::new();
    for clients in [1, 64] {
        for workload in ["update", "set_status"] {
            steps.push(traffic(workload, clients, &COMPARED));
        }
    }
    steps.push(traffic("parts", 64, &PARTS));
    steps.push(step("memory of a session", 120, session::memory));
    for size in growth::SIZES {
        let what = format!("growth to {size} customers");
        steps.push(step(&what, 100 + size / 8_000, move |bench| growth::grow(bench, size)));
    }
    steps.push(step("dump and restore", 300, growth::dump));
    steps
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    // cargo test runs benches too, without --bench.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    stop_servers_on_interrupt();
    let full = arguments.iter().any(|argument| argument == "--full");
    let begun = Instant::now();
    let mut about = about::about();
    let growing = if full { ", growth_ours" } else { "" };
    let workers = format!("customer_db.databases = '{WORKERS}{growing}'");
    let settings: Vec<&str> = SETTINGS.into_iter().chain([&workers[..]]).collect();
    let server = kit::keep(Server::start(&settings));
    println!("\nInstalling the variants, each with {CUSTOMERS} customers");
    let mut bench = Bench { server, variants: Vec::new() };
    for name in COMPARED.iter().chain(&PARTS) {
        if bench.variant(name).is_some() {
            continue;
        }
        let variant = Variant::read(name);
        match variant.install(server, name) {
            Ok(()) => {
                variant.fill(server, name, 1, CUSTOMERS);
                bench.variants.push(variant);
            }
            Err(why) => {
                println!("SKIPPED: {name}: {why}");
                about.skipped.push(format!("{name}: {why}"));
            }
        }
    }
    if let Err(why) = variant::fetched("psycopg") {
        println!("SKIPPED: psycopg: {why}");
        about.skipped.push(format!("psycopg: {why}"));
    }
    if full {
        growth::install(server);
    }
    about.complete(server);
    run(&bench, "bench", about.clone(), steps(), begun);
    if full {
        run(&bench, "full", about, full_steps(), Instant::now());
    }
}

/// Runs the steps and writes their results.
fn run(bench: &Bench, name: &str, about: about::About, steps: Vec<Step>, begun: Instant) {
    let mut results = Results::new(about);
    let all: u64 = steps.iter().map(|step| step.seconds).sum();
    let mut done = 0;
    let since = Instant::now();
    for (number, step) in steps.iter().enumerate() {
        let pace = if done == 0 { 1.0 } else { since.elapsed().as_secs_f64() / done as f64 };
        let left = Duration::from_secs(((all - done) as f64 * pace) as u64).as_secs();
        println!(
            "\n[{} of {}] {} (about {}:{:02} min left)",
            number + 1,
            steps.len(),
            step.what,
            left / 60,
            left % 60
        );
        let figures = (step.run)(bench);
        figures.iter().for_each(Figure::print);
        results.figures.extend(figures);
        done += step.seconds;
    }
    results.write(name, begun.elapsed());
}

/// Ctrl-C ends the process by exit(), at which the kept cluster is stopped and removed.
fn stop_servers_on_interrupt() {
    // SAFETY: the set is initialised by sigemptyset(), and no other thread runs yet that could miss the mask.
    let signals = unsafe {
        let mut signals = std::mem::zeroed();
        libc::sigemptyset(&mut signals);
        for signal in [libc::SIGINT, libc::SIGTERM] {
            libc::sigaddset(&mut signals, signal);
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, &signals, std::ptr::null_mut());
        signals
    };
    std::thread::spawn(move || {
        let mut signal = 0;
        // SAFETY: both point to values of this thread.
        unsafe { libc::sigwait(&signals, &mut signal) };
        std::process::exit(128 + signal);
    });
}
