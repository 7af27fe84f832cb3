//! Helpers of the benchmarks.

use std::time::Instant;

/// The duration of `work` in seconds.
pub fn timed(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

/// Prints the median of ratios measured in one run, beside the promised ratio.
pub fn report(what: &str, promise: &str, mut ratios: Vec<f64>) {
    ratios.sort_by(f64::total_cmp);
    let (low, median, high) = (ratios[0], ratios[ratios.len() / 2], ratios[ratios.len() - 1]);
    println!("{what:<70} {median:>5.2} ({low:.2} to {high:.2}), promised {promise}");
}

/// The process's private resident memory in kB, without the shared buffers that it has touched.
pub fn private_memory(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("Linux");
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("RssAnon");
    line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
}
