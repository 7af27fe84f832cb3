//! Promise: the newest ledger can be loaded over a restored database that holds part of it, as the
//! reference says, and every customer in it is erased again.

use crate::kit::{Database, all, database, one, printed, project, server, succeed};
use postgres::Client;
use std::path::Path;

const A: &str = "00000000-0000-4000-8000-00000000000a";
const B: &str = "00000000-0000-4000-8000-00000000000b";

/// A database in which a was erased on Monday and b on Tuesday, and a copy restored from Monday.
fn newest_and_monday() -> (Database<'static>, Database<'static>) {
    let newest = database();
    let mut client = newest.connect();
    client
        .batch_execute(&format!(
            "SELECT customers.register_customer('a@example.com', 'A', '{A}');
             SELECT customers.register_customer('b@example.com', 'B', '{B}');
             SELECT customers.erase_customer('{A}', 'asked for on Monday')"
        ))
        .unwrap();
    let monday = newest.copy();
    let tuesday = format!("SELECT customers.erase_customer('{B}', 'asked for on Tuesday')");
    client.batch_execute(&tuesday).unwrap();
    (newest, monday)
}

/// The options that the reference gives.
const RECIPE: [&str; 3] = ["--data-only", "-t", "customers.erasures"];

fn load(database: &Database, file: &Path) {
    let output = database
        .program("psql")
        .args(["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--file"])
        .arg(file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", printed(&output));
}

fn ledger(client: &mut Client) -> Vec<String> {
    let query = "SELECT concat_ws(' ', customer_id, erased_at, erased_by, reason)
                   FROM customers.erasures ORDER BY customer_id";
    all(client, query, &[])
}

fn reapply(client: &mut Client) -> i64 {
    one(client, "SELECT customers.reapply_erasures()", &[])
}

fn addresses(client: &mut Client) -> Vec<String> {
    all(client, "SELECT email FROM customers.customers ORDER BY customer_id", &[])
}

fn both_erased() -> [String; 2] {
    [A, B].map(|id| format!("erased+{id}@erased.invalid"))
}

#[test]
fn the_recipe_is_the_one_that_the_reference_prints() {
    let reference = std::fs::read_to_string(project().join("doc/customer_db.md")).unwrap();
    let recipe = format!("pg_dump {}", RECIPE.join(" "));
    assert!(reference.contains(&recipe), "{recipe} is not in the reference");
}

#[test]
fn a_ledger_is_loaded_over_a_restore_that_holds_part_of_it() {
    let (newest, monday) = newest_and_monday();
    let dump = newest.dump(&RECIPE);
    let mut client = monday.connect();
    assert_eq!(addresses(&mut client)[1], "b@example.com");
    // It can be loaded repeatedly.
    for erased in [1, 0] {
        load(&monday, &dump);
        assert_eq!(ledger(&mut client), ledger(&mut newest.connect()));
        assert_eq!(reapply(&mut client), erased);
        assert_eq!(addresses(&mut client), both_erased());
    }
    // And over the database that it was dumped from.
    load(&newest, &dump);
    assert_eq!(reapply(&mut newest.connect()), 0);
}

#[test]
fn an_entry_that_is_there_stays_as_it_is() {
    let (newest, monday) = newest_and_monday();
    let mut client = monday.connect();
    client
        .batch_execute(
            "SET session_replication_role = replica;
             UPDATE customers.erasures SET reason = 'as it is here';
             RESET session_replication_role",
        )
        .unwrap();
    let here = ledger(&mut client);
    for options in [&RECIPE[..], &["--data-only", "--inserts", "-t", "customers.erasures"]] {
        load(&monday, &newest.dump(options));
        assert_eq!(ledger(&mut client)[0], here[0]);
        assert_eq!(ledger(&mut client)[1], ledger(&mut newest.connect())[1]);
    }
    assert_eq!(reapply(&mut client), 1);
    assert_eq!(addresses(&mut client), both_erased());
}

/// A dump of the whole database restores the ledger unchanged.
#[test]
fn a_whole_dump_restores_its_ledger_into_an_empty_database() {
    let (newest, _) = newest_and_monday();
    let dump = newest.dump(&["--format=custom"]);
    for options in [&["--single-transaction"][..], &["--jobs=2"], &["--disable-triggers"]] {
        let restored = server().empty_database("TEMPLATE template0");
        let mut restore = restored.program("pg_restore");
        succeed(restore.args(["--exit-on-error"]).args(options).arg(&dump));
        let mut client = restored.connect();
        assert_eq!(ledger(&mut client), ledger(&mut newest.connect()));
        assert_eq!(reapply(&mut client), 0);
    }
}

/// A ledger may be loaded before the customers in it are restored: the parts of a restore come in any order.
#[test]
fn a_ledger_is_kept_for_those_who_come_back_later() {
    let (newest, _) = newest_and_monday();
    let later = database();
    load(&later, &newest.dump(&RECIPE));
    let mut client = later.connect();
    assert_eq!(reapply(&mut client), 0);
    let come_back = format!(
        "SET session_replication_role = replica;
         INSERT INTO customers.customers (customer_id, email, name) VALUES ('{B}', 'b@example.com', 'B');
         RESET session_replication_role"
    );
    client.batch_execute(&come_back).unwrap();
    assert_eq!(reapply(&mut client), 1);
    assert_eq!(addresses(&mut client), both_erased()[1..]);
}
