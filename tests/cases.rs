//! Promise: for 14,286 addresses and names from other projects' test suites, the rules decide as the
//! contract says.

use customer_db::rules::{email, name};
use serde_json::Value;
use std::path::Path;

fn cases(file: &str) -> Option<Vec<Value>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/cases").join(file);
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("SKIPPED: {} is not there", path.display());
        return None;
    };
    Some(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// Compares `canonical` with the expected result of each case, and checks that an accepted form is its own
/// canonical form.
fn hold(file: &str, canonical: impl Fn(&str) -> Result<String, String>) {
    let Some(cases) = cases(file) else { return };
    assert!(cases.len() > 5_000, "{file} has only {} cases", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let verdict = canonical(case["input"].as_str().unwrap());
        let expected = case["canonical"].as_str();
        let right = match (case["expect"].as_str().unwrap(), &verdict) {
            ("accept", Ok(stored)) => expected == Some(stored),
            ("refuse", Err(_)) | ("either", Err(_)) => true,
            ("either", Ok(stored)) => expected.is_none_or(|e| e == stored),
            _ => false,
        };
        let stable =
            verdict.as_ref().map_or(true, |stored| canonical(stored).as_ref() == Ok(stored));
        if !right || !stable {
            wrong.push(format!("{verdict:?} <- {case}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn every_address_gets_the_verdict_of_the_contract() {
    hold("email.jsonl", |input| {
        email::canonical(input).map_err(|broken| broken.message.to_owned())
    });
}

#[test]
fn every_name_gets_the_verdict_of_the_contract() {
    hold("name.jsonl", |input| {
        name::canonical(input)
            .map(|name| name.into_owned())
            .map_err(|broken| broken.message.to_owned())
    });
}
