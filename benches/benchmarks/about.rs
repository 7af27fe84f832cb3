//! The machine, the versions and the conditions of a run.

use crate::kit::{Server, one, project, succeed};
use crate::{CUSTOMERS, ROUNDS, SECONDS, SETTINGS};
use serde::Serialize;
use std::fs;
use std::process::Command;
use std::time::Duration;

#[derive(Clone, Default, Serialize)]
pub struct About {
    pub date: String,
    pub cpu: String,
    pub cores: usize,
    pub memory_gb: u64,
    pub system: String,
    pub customer_db: String,
    pub postgresql: String,
    pub message_db: String,
    pub graphile_worker: String,
    pub settings: Vec<&'static str>,
    pub rounds: usize,
    pub seconds: u64,
    pub customers: u64,
    pub skipped: Vec<String>,
    /// Of the processors' time, before the server starts: what others use.
    pub busy_percent: u64,
    pub minutes: u64,
}

pub fn about() -> About {
    let proc = |file: &str, key: &str| {
        let text = fs::read_to_string(format!("/proc/{file}")).expect("Linux");
        let line = text.lines().find(|line| line.starts_with(key));
        let value = line.and_then(|line| line.split_once(':')).map_or("unknown", |(_, v)| v.trim());
        value.to_owned()
    };
    let memory = proc("meminfo", "MemTotal");
    let printed = |command: &[&str]| {
        succeed(Command::new(command[0]).current_dir(project()).args(&command[1..]))
            .trim()
            .to_owned()
    };
    let release = env!("CARGO_PKG_VERSION");
    let commit = printed(&["git", "describe", "--always", "--exclude=*", "--dirty"]);
    About {
        date: printed(&["date", "--utc", "+%Y-%m-%d"]),
        cpu: proc("cpuinfo", "model name"),
        cores: std::thread::available_parallelism().expect("a number").get(),
        memory_gb: memory.split(' ').next().and_then(|kb| kb.parse::<u64>().ok()).expect("kB")
            >> 20,
        system: printed(&["uname", "-sr"]),
        customer_db: format!("{release} ({commit})"),
        message_db: version(".local/message-db/package.json"),
        graphile_worker: version(
            ".local/graphile-worker/node_modules/graphile-worker/package.json",
        ),
        settings: SETTINGS.to_vec(),
        rounds: ROUNDS,
        seconds: SECONDS,
        customers: CUSTOMERS,
        busy_percent: busy(),
        ..About::default()
    }
}

impl About {
    pub fn complete(&mut self, server: &Server) {
        let mut client = server.connect("postgres");
        self.postgresql = one(&mut client, "SELECT current_setting('server_version')", &[]);
    }
}

/// The version in a package.json, or "none".
fn version(file: &str) -> String {
    let Ok(text) = fs::read_to_string(project().join(file)) else { return "none".to_owned() };
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    json["version"].as_str().expect("a version").to_owned()
}

/// How busy the processors are while this process does nothing, in percent, over three seconds.
fn busy() -> u64 {
    let jiffies = || -> (u64, u64) {
        let stat = fs::read_to_string("/proc/stat").expect("Linux");
        let numbers = stat.lines().next().expect("a line").split_whitespace().skip(1);
        let numbers: Vec<u64> = numbers.map(|number| number.parse().expect("jiffies")).collect();
        (numbers[..8].iter().sum(), numbers[3] + numbers[4])
    };
    let (all, idle) = jiffies();
    std::thread::sleep(Duration::from_secs(3));
    let (all, idle) = (jiffies().0 - all, jiffies().1 - idle);
    100 - 100 * idle.min(all) / all
}
