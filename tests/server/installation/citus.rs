//! Promise: beside Citus, customers work in plain tables on the coordinator, and are refused everywhere else.
//!
//! Citus is not installed here: tables with the names of its catalogue replace it.

use crate::kit::{
    Database, address, assert_refused, contents, database, id, one, refusal, register_ann,
    registered, server,
};
use postgres::Client;
use uuid::Uuid;

const ATTACH: &str = "SELECT customers.attach()";

/// Creates the Citus tables that say which tables it manages and which node this is.
fn stand_in(client: &mut Client, group: i32) {
    client
        .batch_execute(&format!(
            "SET allow_system_table_mods = on;
             CREATE TABLE pg_catalog.pg_dist_partition (logicalrelid regclass);
             CREATE TABLE pg_catalog.pg_dist_local_group (groupid int);
             GRANT SELECT ON pg_catalog.pg_dist_partition, pg_catalog.pg_dist_local_group TO PUBLIC;
             INSERT INTO pg_catalog.pg_dist_local_group VALUES ({group});
             RESET allow_system_table_mods"
        ))
        .unwrap();
}

/// Makes Citus manage a table, or stop managing it.
fn manage(client: &mut Client, table: &str, managed: bool) {
    let change = match managed {
        true => format!("INSERT INTO pg_catalog.pg_dist_partition VALUES ('{table}')"),
        false => "DELETE FROM pg_catalog.pg_dist_partition".to_owned(),
    };
    client
        .batch_execute(&format!(
            "SET allow_system_table_mods = on; {change}; RESET allow_system_table_mods"
        ))
        .unwrap();
}

/// Calls that write customers and events, that read customers, and that read events.
fn calls(ann: Uuid, email: &str) -> [Vec<String>; 3] {
    [
        vec![
            format!("register_customer('{}', 'Ann')", address()),
            format!("register_customer('{}', 'Ann', '{}')", address(), id()),
            format!("update_customer('{ann}', name => '{}')", address().replace('@', " ")),
            format!("import_customers('[{{\"email\": \"{}\"}}]')", address()),
            format!("set_status('{ann}', 'SUSPENDED')"),
            format!("patch_customer('{ann}', '{{\"name\": \"{}\"}}')", address().replace('@', " ")),
        ],
        vec![
            format!("find_customer('{email}')"),
            "list_customers()".to_owned(),
            "search_customers('person')".to_owned(),
        ],
        vec!["read_events(0)".to_owned()],
    ]
}

/// Makes each call in a session of its own.
fn make(database: &Database, calls: &[String], check: impl Fn(Result<(), postgres::Error>, &str)) {
    for call in calls {
        let result = database.connect().batch_execute(&format!("SELECT * FROM customers.{call}"));
        check(result, call);
    }
}

fn assert_works(result: Result<(), postgres::Error>, call: &str) {
    result.unwrap_or_else(|error| panic!("{call}: {error:?}"));
}

fn assert_guarded(result: Result<(), postgres::Error>, call: &str) {
    assert!(result.is_err(), "{call} works on a table of Citus's");
    assert_refused(result, "55000", &["person", "example.com"]);
}

#[test]
fn where_citus_manages_none_of_our_tables_everything_works() {
    let database = database();
    let mut client = database.connect();
    let ann = register_ann(&mut client);
    stand_in(&mut client, 0);
    client.batch_execute("CREATE TABLE public.orders (customer_id uuid)").unwrap();
    for other in [false, true] {
        manage(&mut client, "public.orders", other);
        for calls in calls(ann.id, &ann.email) {
            make(&database, &calls, assert_works);
        }
        make(&database, &["attach()".to_owned()], assert_works);
        registered(&mut client);
    }
}

#[test]
fn functions_that_find_customers_under_its_management_refuse() {
    let database = database();
    let mut client = database.connect();
    let ann = register_ann(&mut client);
    stand_in(&mut client, 0);
    manage(&mut client, "customers.customers", true);
    let before = contents(&mut client);
    let [writes, reads, _] = calls(ann.id, &ann.email);
    for calls in [writes, reads, vec!["attach()".to_owned()]] {
        make(&database, &calls, assert_guarded);
    }
    assert_eq!(contents(&mut client), before);
    manage(&mut client, "customers.customers", false);
    for calls in calls(ann.id, &ann.email) {
        make(&database, &calls, assert_works);
    }
}

#[test]
fn functions_that_find_the_feed_under_its_management_refuse() {
    let database = database();
    let mut client = database.connect();
    let ann = register_ann(&mut client);
    stand_in(&mut client, 0);
    manage(&mut client, "customers.events", true);
    let before = contents(&mut client);
    let [writes, _, feed] = calls(ann.id, &ann.email);
    for calls in [writes, feed, vec!["attach()".to_owned()]] {
        make(&database, &calls, assert_guarded);
    }
    assert_eq!(contents(&mut client), before);
}

#[test]
fn attach_is_refused_on_a_worker_node() {
    let mut client = server().empty_database("").connect();
    stand_in(&mut client, 3);
    client.batch_execute("CREATE SCHEMA customers; CREATE EXTENSION customer_db").unwrap();
    assert_refused(client.batch_execute(ATTACH), "55000", &[]);
    let made = "SELECT count(*) FROM pg_class WHERE relnamespace = 'customers'::regnamespace AND relkind = 'r'";
    assert_eq!(one::<i64>(&mut client, made, &[]), 0, "nothing has changed");
    client
        .batch_execute(
            "SET allow_system_table_mods = on; UPDATE pg_catalog.pg_dist_local_group SET groupid = 0",
        )
        .unwrap();
    client.batch_execute(ATTACH).unwrap();
    registered(&mut client);
}

/// The tables that have a trigger which depends on the extension, so that Citus refuses them.
fn marked(client: &mut Client) -> Vec<String> {
    crate::kit::all(
        client,
        "SELECT DISTINCT tgrelid::regclass::text
           FROM pg_depend JOIN pg_trigger ON pg_trigger.oid = objid
          WHERE classid = 'pg_trigger'::regclass AND tgname LIKE 'refuse_removal%'
            AND refclassid = 'pg_extension'::regclass AND deptype = 'x'
            AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'customer_db')
          ORDER BY 1",
        &[],
    )
}

const MARKED: [&str; 2] = ["customers.customers", "customers.events"];

#[test]
fn the_triggers_that_citus_refuses_depend_on_the_extension_wherever_they_come_from() {
    let original = database();
    let mut client = original.connect();
    assert_eq!(marked(&mut client), MARKED);
    let copy = original.copy();
    assert_eq!(marked(&mut copy.connect()), MARKED, "restored");
    client.batch_execute(ATTACH).unwrap();
    assert_eq!(marked(&mut client), MARKED, "attached again");
    // As if an older version had created the triggers.
    client
        .batch_execute(
            "ALTER TRIGGER refuse_removal ON customers.customers NO DEPENDS ON EXTENSION customer_db;
             ALTER TRIGGER refuse_removal ON customers.events NO DEPENDS ON EXTENSION customer_db",
        )
        .unwrap();
    client.batch_execute(ATTACH).unwrap();
    assert_eq!(marked(&mut client), MARKED, "mended");
}

#[test]
fn the_extension_is_not_dropped_for_it_and_dropping_it_with_cascade_keeps_every_row() {
    let database = database();
    let mut client = database.connect();
    for _ in 0..3 {
        register_ann(&mut client);
    }
    let before = contents(&mut client);
    let refused = refusal(client.batch_execute("DROP EXTENSION customer_db"));
    assert_eq!(refused.code().code(), "2BP01");
    assert_eq!(marked(&mut client), MARKED);
    for table in MARKED {
        let delete = client.batch_execute(&format!("DELETE FROM {table}"));
        assert_refused(delete, "23514", &[]);
    }
    client.batch_execute("DROP EXTENSION customer_db CASCADE").unwrap();
    assert_eq!(contents(&mut client), before);
    client.batch_execute(&format!("CREATE EXTENSION customer_db; {ATTACH}")).unwrap();
    assert_eq!(contents(&mut client), before);
    assert_eq!(marked(&mut client), MARKED);
}
