//! Promise: every SQL example of the reference runs, or is refused as it says.

use crate::kit::server;
use postgres::Client;

/// The statements of a ```sql block, each with the SQLSTATE that a line `-- ERROR …` before it gives.
pub(super) fn statements(block: &str) -> Vec<(Option<String>, String)> {
    let mut statements = Vec::new();
    let (mut error, mut statement) = (None, String::new());
    for line in block.lines() {
        if let Some(sqlstate) = line.strip_prefix("-- ERROR ") {
            error = Some(sqlstate.to_owned());
            continue;
        }
        statement.push_str(line);
        statement.push('\n');
        if line.ends_with(';') {
            statements.push((error.take(), std::mem::take(&mut statement)));
        }
    }
    assert!(statement.trim().is_empty(), "a statement without an end: {statement}");
    statements
}

/// Runs a ```sql block, whose statements succeed or are refused as it says; returns how many there are.
#[track_caller]
pub(super) fn run(client: &mut Client, block: &str) -> usize {
    let statements = statements(block);
    for (error, statement) in &statements {
        let result = client.batch_execute(statement);
        let sqlstate =
            result.as_ref().err().map(|e| e.code().expect("an answer").code().to_owned());
        assert_eq!(sqlstate, *error, "{statement}{result:?}");
    }
    statements.len()
}

#[test]
fn the_sql_of_the_reference_runs_as_it_stands() {
    let page = include_str!("../../../doc/customer_db.md");
    let database = server().empty_database("");
    let mut client = database.connect();
    let blocks = page.split("```sql\n").skip(1);
    let count: usize = blocks
        .map(|block| run(&mut client, block.split_once("```").expect("a block ends").0))
        .sum();
    assert!(count > 20, "the reference has lost its examples");
}

#[test]
fn the_readme_is_short_and_begins_with_the_quick_start() {
    let readme = include_str!("../../../README.md");
    assert!(readme.lines().count() < 200);
    assert_eq!(readme.lines().find(|line| line.starts_with("## ")), Some("## Quick start"));
}
