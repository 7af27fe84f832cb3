//! Promise: a dump is loaded with --disable-triggers, or refused with a HINT that says so.

use crate::kit::{
    Database, assert_refused, call, contents, database, one, printed, refusal, register_ann,
    registered, stored, succeed,
};
use std::io::Write;
use std::path::Path;
use std::process::Command;

const FLAG: &str = "--disable-triggers";

/// Asserts that a row with a version above 1 is refused, with a HINT to load it like a dump.
fn assert_hinted(mut attempt: impl FnMut() -> Result<u64, postgres::Error>) {
    assert_refused(attempt(), "22023", &["zyxw"]);
    let error = refusal(attempt());
    assert!(error.hint().is_some_and(|hint| hint.contains(FLAG)), "{error:?}");
}

#[test]
fn an_insert_with_a_version_above_1_is_refused() {
    let mut client = database().connect();
    let before = contents(&mut client);
    for version in ["2", "17", "9223372036854775807"] {
        let row = format!("VALUES ('zyxw@example.com', {version})");
        let insert = format!("INSERT INTO customers.customers (email, version) {row}");
        assert_hinted(|| client.execute(&insert, &[]));
    }
    let several = "INSERT INTO customers.customers (email, version)
                   VALUES ('a@example.com', 1), ('zyxw@example.com', 2)";
    assert_hinted(|| client.execute(several, &[]));
    assert_eq!(contents(&mut client), before);
    client
        .execute(
            "INSERT INTO customers.customers (email, version) VALUES ('a@example.com', 1)",
            &[],
        )
        .unwrap();
}

#[test]
fn a_copy_with_a_version_above_1_is_refused() {
    let mut client = database().connect();
    let mut copy = |lines: &str| {
        let copy = "COPY customers.customers (email, version) FROM STDIN";
        let mut writer = client.copy_in(copy)?;
        writer.write_all(lines.as_bytes()).unwrap();
        writer.finish()
    };
    // PostgreSQL's CONTEXT contains the row, which this client has sent itself.
    let error = refusal(copy("zyxw@example.com\t2\n"));
    assert_eq!(error.code().code(), "22023", "{error:?}");
    assert!(error.hint().is_some_and(|hint| hint.contains(FLAG)), "{error:?}");
    assert_eq!(copy("a@example.com\t1\n").unwrap(), 1);
}

/// A database with customers of several versions.
fn lived_in() -> (Database<'static>, uuid::Uuid) {
    let database = database();
    let mut client = database.connect();
    let ann = register_ann(&mut client).id;
    registered(&mut client);
    for status in ["SUSPENDED", "ACTIVE", "CLOSED"] {
        call(&mut client, "set_status($1, $2)", &[&ann, &status]).unwrap();
    }
    (database, ann)
}

fn load(into: &Database, dump: &Path) -> Command {
    let mut psql = into.program("psql");
    psql.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--single-transaction"])
        .arg("--file")
        .arg(dump);
    psql
}

#[test]
fn a_dump_of_the_data_loads_with_triggers_disabled() {
    let (original, ann) = lived_in();
    let dump = original.dump(&["--data-only", FLAG]);
    let copy = database();
    succeed(&mut load(&copy, &dump));
    let mut client = copy.connect();
    assert_eq!(contents(&mut client), contents(&mut original.connect()));
    assert_eq!(stored(&mut client, ann).version, 4);
    // The rules are in force again, and the feed continues.
    assert_refused(client.batch_execute("DELETE FROM customers.customers"), "23514", &[]);
    let last: i64 = one(&mut client, "SELECT max(position) FROM customers.events", &[]);
    registered(&mut client);
    let next: i64 = one(&mut client, "SELECT max(position) FROM customers.events", &[]);
    assert!(next > last);
}

#[test]
fn a_dump_of_the_data_that_meets_the_rules_is_refused_and_says_how_to_load_it() {
    let (original, _) = lived_in();
    let dump = original.dump(&["--data-only", "--table=customers.customers"]);
    let copy = database();
    let before = contents(&mut copy.connect());
    let output = load(&copy, &dump).output().unwrap();
    assert!(!output.status.success());
    let said = printed(&output);
    assert!(said.contains("HINT") && said.contains(FLAG), "{said}");
    assert_eq!(contents(&mut copy.connect()), before);
}
