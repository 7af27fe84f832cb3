//! Promise: the reference describes every function and setting as the catalogue does, and each of its SQL examples runs
//! or is refused as it says.

use crate::kit::calls::{functions, outcome, seeded};
use crate::kit::{Server, all, database, on_16, server};
use postgres::Client;
use std::collections::{BTreeMap, BTreeSet};

const PAGE: &str = include_str!("../../../doc/customer_db.md");

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
        let (code, _comment) = line.split_once("  -- ").unwrap_or((line, ""));
        if code.trim_end().ends_with(';') {
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

/// The blocks of SQL in a text.
fn blocks(text: &'static str) -> impl Iterator<Item = &'static str> {
    let block = |begun: &'static str| begun.split_once("```").expect("a block ends").0;
    text.split("```sql\n").skip(1).map(block)
}

/// The text under a heading of the page, up to the next of the same level.
fn section(title: &str) -> &'static str {
    let begun = PAGE.split_once(&format!("\n## {title}\n")).expect("the page has the heading").1;
    begun.split("\n## ").next().expect("split returns one part at least")
}

/// The rows of the table whose first column has this name, cell by cell.
fn table(text: &'static str, first: &str) -> Vec<Vec<&'static str>> {
    let begin = format!("| {first} |");
    let lines = text.lines().skip_while(|line| !line.starts_with(&begin));
    let rows = lines.take_while(|line| line.starts_with('|')).skip(2);
    let cell = |cell: &'static str| cell.trim().trim_matches('`');
    rows.map(|row| row.trim_matches('|').split('|').map(cell).collect()).collect()
}

/// What the page says of one function under FUNCTIONS.
struct Entry {
    name: &'static str,
    /// As in "subscribe(consumer text, after bigint DEFAULT 0) → void".
    signature: String,
    /// The rows of its parameters, in their order: name, type, default, meaning.
    parameters: Vec<Vec<&'static str>>,
    /// What stands under its heading.
    text: &'static str,
}

/// The functions of the page. One heading may have several, whose parameters share a table.
fn entries() -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for part in section("FUNCTIONS").split("\n### ").skip(1) {
        let (heading, text) = part.split_once('\n').expect("a heading is a line");
        let rows = table(text, "parameter");
        let mut named = Vec::new();
        let mut rest = heading;
        while let Some((name, more)) = rest.split_once('(') {
            let (names, more) = more.split_once(") → ").expect("a heading says what is returned");
            let (result, more) = more.split_once(", ").unwrap_or((more, ""));
            rest = more;
            let names: Vec<&str> = names.split(", ").filter(|name| !name.is_empty()).collect();
            let row = |name: &&str| rows.iter().find(|row| row[0] == *name).cloned();
            let parameters: Option<Vec<_>> = names.iter().map(row).collect();
            let parameters = parameters.unwrap_or_else(|| panic!("no row for each of {names:?}"));
            let signature =
                format!("{name}({}) → {}", declared(&parameters), returned(result, text));
            entries.push(Entry { name, signature, parameters, text });
            named.extend(names);
        }
        let surplus = rows.iter().find(|row| !named.contains(&row[0]));
        assert_eq!(surplus, None, "{heading}");
    }
    entries
}

/// Parameters as in CREATE FUNCTION.
fn declared(parameters: &[Vec<&str>]) -> String {
    let declare = |row: &Vec<&str>| match row[2] {
        "required" => format!("{} {}", row[0], row[1]),
        default => format!("{} {} DEFAULT {default}", row[0], row[1]),
    };
    parameters.iter().map(declare).collect::<Vec<_>>().join(", ")
}

/// The result that a heading names, with the columns of a table.
fn returned(result: &str, text: &'static str) -> String {
    let text = match result.strip_prefix("as ") {
        Some(other) => {
            let begin = format!("\n### {other}(");
            section("FUNCTIONS").split_once(&begin).expect("the page has the other function").1
        }
        None if result == "TABLE" => text,
        None => return result.to_owned(),
    };
    let columns = table(text, "column");
    let columns: Vec<String> = columns.iter().map(|row| format!("{} {}", row[0], row[1])).collect();
    format!("TABLE({})", columns.join(", "))
}

#[test]
fn the_sql_of_the_reference_runs_as_it_stands() {
    let database = server().empty_database("");
    let mut client = database.connect();
    let count: usize = blocks(PAGE).map(|block| run(&mut client, block)).sum();
    assert!(count > 20, "the reference has lost its examples");
}

#[test]
fn the_reference_describes_the_parameters_and_results_of_every_function_but_triggers() {
    if !on_16() {
        return;
    }
    // In the page's words for types, and without the casts of defaults.
    let query = "
        SELECT regexp_replace(replace(replace(replace(
                   format('%s(%s) → %s', proname, pg_get_function_arguments(oid), pg_get_function_result(oid)),
                   'integer', 'int'), 'timestamp with time zone', 'timestamptz'), '\"', ''), '::\\w+', '', 'g')
          FROM pg_proc
         WHERE pronamespace = 'customers'::regnamespace AND prorettype <> 'trigger'::regtype
         ORDER BY proname";
    let exist: Vec<String> = all(&mut database().connect(), query, &[]);
    let mut entries = entries();
    entries.sort_by_key(|entry| entry.name);
    let described: Vec<&str> = entries.iter().map(|entry| entry.signature.as_str()).collect();
    for (described, exists) in described.iter().zip(&exist) {
        assert_eq!(described, exists);
    }
    assert_eq!(described.len(), exist.len());
}

#[test]
fn the_reference_has_an_example_of_every_function_that_succeeds() {
    for Entry { name, text, .. } in entries() {
        let call = format!("customers.{name}(");
        let mut statements = blocks(text).flat_map(statements);
        let shown = statements.any(|(error, sql)| error.is_none() && sql.contains(&call));
        assert!(shown, "no example of {name}");
    }
}

#[test]
fn the_reference_says_of_every_parameter_whether_null_is_refused() {
    if !on_16() {
        return;
    }
    let mut client = seeded().connect();
    let entries: BTreeMap<&str, Entry> = entries().into_iter().map(|e| (e.name, e)).collect();
    for function in functions(&mut client) {
        let Some(entry) = entries.get(function.name.as_str()) else { continue };
        for row in &entry.parameters {
            let null = |name: &str, _: &str| (name == row[0]).then(|| "NULL".to_owned());
            let refused = outcome(&mut client, &function.call_with(null)) == "22023";
            let mentioned = row[2..].iter().any(|cell| cell.contains("NULL"));
            assert_eq!(refused, !mentioned, "{}: {row:?}", function.name);
        }
    }
}

#[test]
fn the_reference_names_no_function_that_does_not_exist() {
    if !on_16() {
        return;
    }
    let mut client = database().connect();
    let functions = "SELECT proname::text FROM pg_proc UNION SELECT format('%s.%s', pronamespace::regnamespace, proname)
                       FROM pg_proc WHERE pronamespace = 'customers'::regnamespace";
    let exist: BTreeSet<String> = all(&mut client, functions, &[]).into_iter().collect();
    let is_in_a_name = |c: char| c.is_ascii_alphanumeric() || "_.".contains(c);
    let called = PAGE.match_indices('(').map(|(at, _)| {
        let name = PAGE[..at].rsplit(|c| !is_in_a_name(c)).next();
        name.expect("rsplit returns one part at least")
    });
    let duties = table(PAGE, "duty");
    // Without the words "and what a reader may".
    let granted =
        duties.iter().flat_map(|row| row[1].split(", ")).filter(|name| !name.contains(' '));
    // In prose, a word with an underscore is a function, unless it is a page or a program of PostgreSQL.
    let prose = PAGE.split("```").step_by(2).flat_map(str::lines);
    let prose = prose.filter(|line| !line.starts_with(['|', '#', ' ']));
    let prose = prose.flat_map(|line| line.split('`').step_by(2));
    let words = prose.flat_map(|prose| prose.split(|c| !is_in_a_name(c)));
    let words = words.map(|word| word.trim_end_matches('.')).filter(|word| word.len() > 1);
    let written = words
        .filter(|word| word.contains('_') && !word.ends_with(".md") && !word.starts_with("pg_"));
    let title = "customer_db";
    for name in called.chain(granted).chain(written).filter(|name| !name.is_empty()) {
        assert!(exist.contains(name) || name == title, "{name}");
    }
}

#[test]
fn the_reference_says_whose_rights_a_function_has() {
    if !on_16() {
        return;
    }
    let callers = "SELECT proname::text FROM pg_proc
                    WHERE pronamespace = 'customers'::regnamespace AND prorettype <> 'trigger'::regtype
                      AND NOT prosecdef";
    let callers: BTreeSet<String> =
        all(&mut database().connect(), callers, &[]).into_iter().collect();
    let page = PAGE.replace('\n', " ");
    let (_, begun) = page.split_once("**Whose rights.** ").expect("the paragraph");
    let (names, _) = begun.split_once(" run with their caller's rights.").expect("its sentence");
    let names = names.replace(" and ", ", ");
    let named: BTreeSet<String> = names.split(", ").map(str::to_owned).collect();
    assert_eq!(named, callers);
}

#[test]
fn the_reference_describes_the_settings_as_the_server_does() {
    if !on_16() {
        return;
    }
    // Only a server that has loaded the library at its start knows who may set customer_db.databases.
    let server = Server::start(&["shared_preload_libraries = 'customer_db'"]);
    let settings = "
        SELECT array_to_string(ARRAY[name, vartype, coalesce(boot_val, 'none'),
                   CASE context WHEN 'user' THEN 'any role' WHEN 'postmaster' THEN 'server start' ELSE context END], ', ')
          FROM pg_settings WHERE name LIKE 'customer_db.%' ORDER BY name";
    let exist: Vec<String> = all(&mut server.connect("postgres"), settings, &[]);
    let mut described: Vec<String> =
        table(section("SETTINGS"), "setting").iter().map(|row| row[..4].join(", ")).collect();
    described.sort();
    assert_eq!(described, exist);
}

#[test]
fn the_readme_is_short_begins_with_the_quick_start_and_its_sql_runs_as_it_stands() {
    let readme = include_str!("../../../README.md");
    assert!(readme.lines().count() <= 150);
    assert_eq!(readme.lines().find(|line| line.starts_with("## ")), Some("## Quick start"));
    let database = database();
    let mut client = database.connect();
    let blocks = readme.split("```sql\n").skip(1);
    let run: usize = blocks
        .map(|block| run(&mut client, block.split_once("```").expect("a block ends").0))
        .sum();
    assert!(run >= 10, "an example for each of three audiences");
    let state = "SELECT (SELECT position FROM customers.consumers), count(*) FROM customers.events";
    let row = client.query_one(state, &[]).unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (2, 2));
}
