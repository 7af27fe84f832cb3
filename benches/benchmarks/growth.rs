//! What one server does as its customers grow. The databases grow from step to step.

use crate::kit::{Server, one, succeed};
use crate::results::Figure;
use crate::session::timed;
use crate::variant::Variant;
use crate::{Bench, traffic};

pub const SIZES: [u64; 4] = [10_000, 100_000, 1_000_000, 10_000_000];
const CLIENTS: u32 = 16;

const VARIANTS: [(&str, &str); 2] = [("bare", "growth_bare"), ("ours", "growth_ours")];

pub fn install(server: &Server) {
    for (name, database) in VARIANTS {
        Variant::read(name).install(server, database).expect("nothing is fetched");
    }
}

pub fn grow(bench: &Bench, size: u64) -> Vec<Figure> {
    let variants = VARIANTS.map(|(name, database)| (Variant::read(name), database));
    let before = SIZES.iter().take_while(|s| **s < size).last();
    let mut figures = Vec::new();
    let figure = |workload: &str, variant: &str, unit, value| Figure {
        customers: size,
        values: vec![value],
        ..Figure::new(&format!("growth: {workload}"), variant, unit, "make bench-full")
    };
    for (variant, database) in &variants {
        let from = before.map_or(1, |before| before + 1);
        let seconds = timed(|| variant.fill(bench.server, database, from, size));
        figures.push(figure("fill", &variant.name, "seconds", seconds));
    }
    let mut client = bench.server.connect("growth_ours");
    for table in ["customers", "events"] {
        let octets = format!(
            "SELECT pg_total_relation_size('customers.{table}')::float8 / count(*) FROM customers.{table}"
        );
        figures.push(figure(table, "ours", "octets each", one(&mut client, &octets, &[])));
    }
    let variants: Vec<_> =
        variants.iter().map(|(variant, database)| (variant, *database)).collect();
    for workload in ["get", "page", "mixed", "register"] {
        let measured = traffic::in_turn(bench, workload, CLIENTS, size, &variants);
        figures.extend(
            measured
                .into_iter()
                .map(|figure| Figure { workload: format!("growth: {workload}"), ..figure }),
        );
    }
    figures
}

/// Dumps the grown database and restores it.
pub fn dump(bench: &Bench) -> Vec<Figure> {
    let server = bench.server;
    let folder = std::path::Path::new(server.host()).join("dump");
    let mut client = server.connect("growth_ours");
    let customers: i64 = one(&mut client, "SELECT count(*) FROM customers.customers", &[]);
    let program = |name: &str| {
        let mut command = server.program(name);
        command.args(["--host", server.host(), "--username=postgres", "--jobs=2"]);
        command
    };
    let mut dump = program("pg_dump");
    dump.arg("--format=directory").arg("--file").arg(&folder).arg("growth_ours");
    let dumping = timed(|| drop(succeed(&mut dump)));
    server.connect("postgres").batch_execute("CREATE DATABASE growth_copy").expect("a database");
    let mut restore = program("pg_restore");
    restore.args(["--exit-on-error", "--dbname=growth_copy"]).arg(&folder);
    let restoring = timed(|| drop(succeed(&mut restore)));
    let mut copy = server.connect("growth_copy");
    assert_eq!(one::<i64>(&mut copy, "SELECT count(*) FROM customers.customers", &[]), customers);
    let figures =
        [("pg_dump", dumping, "pg_dump -Fd -j 2"), ("pg_restore", restoring, "pg_restore -j 2")];
    figures
        .map(|(workload, seconds, command)| Figure {
            customers: customers as u64,
            values: vec![seconds],
            ..Figure::new(workload, "ours", "seconds", command)
        })
        .into()
}
