//! What was measured, as JSON: one line for each figure.

use crate::CUSTOMERS;
use crate::about::About;
use crate::kit::project;
use serde::Serialize;
use std::time::Duration;

#[derive(Serialize)]
pub struct Figure {
    pub workload: String,
    pub variant: String,
    pub clients: u32,
    /// How many there were to begin with.
    pub customers: u64,
    pub unit: &'static str,
    /// One for each round.
    pub values: Vec<f64>,
    pub command: String,
}

impl Figure {
    /// Of one client, over the customers that each database has.
    pub fn new(workload: &str, variant: &str, unit: &'static str, command: &str) -> Self {
        Self {
            workload: workload.to_owned(),
            variant: variant.to_owned(),
            clients: 1,
            customers: CUSTOMERS,
            unit,
            values: Vec::new(),
            command: command.to_owned(),
        }
    }

    pub fn print(&self) {
        let mut values = self.values.clone();
        values.sort_by(f64::total_cmp);
        let (low, median, high) = (values[0], values[values.len() / 2], values[values.len() - 1]);
        let Self { workload, variant, unit, .. } = self;
        println!("    {workload:<22} {variant:<22} {median:>10.2} ({low:.2} to {high:.2}) {unit}");
    }
}

pub struct Results {
    about: About,
    pub figures: Vec<Figure>,
}

impl Results {
    pub fn new(about: About) -> Self {
        Self { about, figures: Vec::new() }
    }

    pub fn write(mut self, name: &str, duration: Duration) {
        self.about.minutes = (duration.as_secs_f64() / 60.0).ceil() as u64;
        let about = serde_json::to_string_pretty(&self.about).expect("JSON");
        let figure = |figure| serde_json::to_string(figure).expect("JSON");
        let figures: Vec<String> = self.figures.iter().map(figure).collect();
        let json = format!("{{\"about\": {about},\n\"figures\": [\n{}\n]}}\n", figures.join(",\n"));
        let file = project().join(format!("doc/benchmarks/{name}.json"));
        std::fs::write(&file, json).unwrap_or_else(|error| panic!("{file:?}: {error}"));
        println!("\nWritten: {}, after {} min", file.display(), self.about.minutes);
    }
}
