//! What the benchmarks share.

use std::time::Instant;

/// Seconds that the work took.
pub fn timed(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

/// Prints the median of ratios that were measured in one run, and what was promised of it.
pub fn report(what: &str, promise: &str, mut ratios: Vec<f64>) {
    ratios.sort_by(f64::total_cmp);
    let (low, median, high) = (ratios[0], ratios[ratios.len() / 2], ratios[ratios.len() - 1]);
    println!("{what:<70} {median:>5.2} ({low:.2} to {high:.2}), promised {promise}");
}

/// Resident memory that is the process's own, in kB: shared buffers that it has touched are not.
pub fn private_memory(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("Linux");
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("RssAnon");
    line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
}
