//! Workloads by pgbench: transactions a second of a number of clients.

use crate::results::Figure;
use crate::variant::Variant;
use crate::{Bench, CUSTOMERS, ROUNDS, SECONDS, kit};

/// The settings of a workload's sessions. What parts of ours cost is processor time: where commits wait for the disk, it
/// would hide in the waiting.
fn settings(workload: &str) -> Option<&'static str> {
    (workload == "parts").then_some("-c synchronous_commit=off")
}

/// Runs a workload on each of the variants in turn, in rounds.
pub fn compare(bench: &Bench, workload: &str, clients: u32, names: &[&str]) -> Vec<Figure> {
    let variants: Vec<_> =
        bench.variants(names).into_iter().map(|variant| (variant, &variant.name[..])).collect();
    in_turn(bench, workload, clients, CUSTOMERS, &variants)
}

/// The same on databases of other names and sizes.
pub fn in_turn(
    bench: &Bench,
    workload: &str,
    clients: u32,
    customers: u64,
    variants: &[(&Variant, &str)],
) -> Vec<Figure> {
    let command = format!(
        "{}pgbench -n -M prepared -j 2 -T {SECONDS} -c {clients} {}",
        settings(workload).map_or(String::new(), |settings| format!("PGOPTIONS='{settings}' ")),
        parts(workload)
    );
    let mut figures: Vec<Figure> = variants
        .iter()
        .map(|(variant, _)| Figure {
            clients,
            customers,
            ..Figure::new(workload, &variant.name, "a second", &command)
        })
        .collect();
    for _ in 0..ROUNDS {
        for ((variant, database), figure) in variants.iter().zip(&mut figures) {
            let rate =
                transactions_a_second(bench, variant, database, workload, clients, customers);
            figure.values.push(rate);
        }
    }
    figures
}

/// The sections of a variant that a workload consists of, and how many parts each is of it.
fn scripts(workload: &str) -> Vec<(&str, u32)> {
    match workload {
        "mixed" => vec![("get", 90), ("update", 10)],
        "parts" => vec![("register", 1)],
        section => vec![(section, 1)],
    }
}

fn parts(workload: &str) -> String {
    let files = scripts(workload).into_iter().map(|(section, part)| format!("-f {section}@{part}"));
    files.collect::<Vec<_>>().join(" ")
}

fn transactions_a_second(
    bench: &Bench,
    variant: &Variant,
    database: &str,
    workload: &str,
    clients: u32,
    customers: u64,
) -> f64 {
    let server = bench.server;
    let mut pgbench = server.program("pgbench");
    pgbench
        .args(["--no-vacuum", "--username=postgres", "--protocol=prepared", "--jobs=2"])
        .args(["--time", &SECONDS.to_string(), "--client", &clients.to_string()])
        .args(["--host", server.host(), "--define", &format!("customers={customers}")]);
    pgbench.env("PGOPTIONS", settings(workload).unwrap_or_default());
    for (section, part) in scripts(workload) {
        let file = std::path::Path::new(server.host()).join(section);
        let script = variant.script(section);
        let script = format!(
            "\\set r random(1, 1000000000000000)\n\\set n random(1, :customers)\n{script}\n"
        );
        std::fs::write(&file, script).expect("a script");
        pgbench.arg("--file").arg(format!("{}@{part}", file.display()));
    }
    let output = kit::succeed(pgbench.arg(database));
    // It prints no rate where no transaction has ended.
    if output.contains("number of transactions actually processed: 0") {
        return 0.0;
    }
    let tps = output.lines().find_map(|line| line.strip_prefix("tps = "));
    let tps = tps.and_then(|tps| tps.split_whitespace().next()?.parse().ok());
    tps.expect("pgbench prints tps")
}
