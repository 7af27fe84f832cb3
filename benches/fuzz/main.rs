//! Hostile input in large numbers: the rules in this process, documents in a real server. Prints the seed and how many
//! cases of which kind were run; a failure is printed as the smallest case that proptest finds for it.
//!
//! `CUSTOMER_DB_SEED` repeats a run.

mod documents;
#[allow(dead_code)] // the tests use all of it
#[path = "../../tests/server/kit/mod.rs"]
mod kit;
mod rules;
mod texts;

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

type Verdict = Result<(), TestCaseError>;

/// How many cases of this kind were accepted: a kind of which none is has tested little.
static ACCEPTED: AtomicU64 = AtomicU64::new(0);

fn accepted(count: usize) {
    ACCEPTED.fetch_add(count as u64, Ordering::Relaxed);
}

/// The cases of an input that is one.
fn one<T>(_: &T) -> usize {
    1
}

/// What all kinds have in common.
struct Fuzzer {
    seed: u64,
    cases: u64,
    failures: usize,
}

impl Fuzzer {
    /// Runs `runs` inputs, shared among the processors; each thread has a checker of its own. `cases` counts those of
    /// an input.
    fn run<S: Strategy, C: FnMut(S::Value) -> Verdict>(
        &mut self,
        kind: &str,
        (runs, cases): (u64, fn(&S::Value) -> usize),
        strategy: impl Fn() -> S + Sync,
        checker: impl Fn() -> C + Sync,
    ) where
        S::Value: Debug,
    {
        let chunk = (runs / 100).clamp(1, 10_000);
        let (next, done) = (AtomicU64::new(0), AtomicU64::new(0));
        let counted = AtomicU64::new(0);
        let failure = Mutex::new(None);
        let start = Instant::now();
        let told = Mutex::new(start);
        let work = || {
            let (strategy, mut checker) = (strategy(), checker());
            let mut check = |input| {
                counted.fetch_add(cases(&input) as u64, Ordering::Relaxed);
                checker(input)
            };
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n * chunk >= runs || failure.lock().unwrap().is_some() {
                    return;
                }
                if let Err(error) = self.chunk(kind, n, chunk, &strategy, &mut check) {
                    *failure.lock().unwrap() = Some(error);
                    return;
                }
                let done = chunk + done.fetch_add(chunk, Ordering::Relaxed);
                let mut told = told.lock().unwrap();
                if told.elapsed() > Duration::from_secs(5) {
                    *told = Instant::now();
                    println!("    {kind}: {} %", done * 100 / runs);
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
                // The strategy of a batch of documents and its values are large.
                let thread = thread::Builder::new().stack_size(256 << 20);
                thread.spawn_scoped(scope, work).expect("a thread");
            }
        });
        let counted = counted.into_inner();
        let (accepted, seconds) = (ACCEPTED.swap(0, Ordering::Relaxed), start.elapsed().as_secs());
        println!("{kind}: {counted} cases, {accepted} of them accepted, in {seconds} s");
        assert!(accepted > counted / 100, "too few are accepted");
        self.cases += counted;
        if let Some(failure) = failure.into_inner().unwrap() {
            self.failures += 1;
            println!("FAILED, seed {}: {kind}: {failure}", self.seed);
        }
    }

    /// One runner's cases; its random numbers depend on the seed, the kind and the number of the chunk.
    fn chunk<S: Strategy>(
        &self,
        kind: &str,
        n: u64,
        cases: u64,
        strategy: &S,
        check: &mut impl FnMut(S::Value) -> Verdict,
    ) -> Result<(), String>
    where
        S::Value: Debug,
    {
        let mut seed = [0; 32];
        for (i, part) in seed.chunks_mut(8).enumerate() {
            let mut hasher = DefaultHasher::new();
            (self.seed, kind, n, i).hash(&mut hasher);
            part.copy_from_slice(&hasher.finish().to_le_bytes());
        }
        let config = Config {
            cases: cases as u32,
            failure_persistence: None,
            max_shrink_iters: 20_000,
            ..Config::default()
        };
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
        // proptest calls a Fn, from one thread.
        let check = std::cell::RefCell::new(check);
        let result =
            TestRunner::new_with_rng(config, rng).run(strategy, |input| check.borrow_mut()(input));
        result.map_err(|error| match error {
            TestError::Fail(why, input) => format!("{why}\n    smallest case: {input:?}"),
            TestError::Abort(why) => why.to_string(),
        })
    }
}

fn main() {
    // cargo test runs benches too, without --bench.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let seed = std::env::var("CUSTOMER_DB_SEED").ok().map_or_else(
        || std::time::UNIX_EPOCH.elapsed().expect("a clock").as_micros() as u64,
        |seed| seed.parse().expect("CUSTOMER_DB_SEED is a number"),
    );
    println!("seed {seed}");
    let mut fuzzer = Fuzzer { seed, cases: 0, failures: 0 };
    rules::run(&mut fuzzer);
    documents::run(&mut fuzzer);
    println!("{} cases, {} failures, seed {seed}", fuzzer.cases, fuzzer.failures);
    assert_eq!(fuzzer.failures, 0, "see FAILED above");
}
