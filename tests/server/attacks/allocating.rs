//! Promise: a session that cannot allocate memory ends at most itself, and no call is so large that it
//! cannot be refused.

use crate::kit::attack::{SECRET, Session, Watch, limit, past_the_triggers};
use crate::kit::{
    Database, Server, assert_refused, contents, database, event_count, on_16, one, refusal,
    register_ann,
};
use postgres::SimpleQueryMessage;

const MEGABYTE: u64 = 1024 * 1024;

/// Makes the stack grow.
const DEEP: &str = "
    CREATE FUNCTION pg_temp.deep(levels int) RETURNS int LANGUAGE plpgsql AS $$
    BEGIN
        RETURN CASE WHEN levels > 0 THEN pg_temp.deep(levels - 1) ELSE 0 END;
    END $$;
    SELECT pg_temp.deep(100)";

/// Runs a statement in a session of its own that may allocate `more` octets, and rolls it back; returns
/// whether that sufficed.
fn is_enough(database: &Database, more: u64, warm_up: &str, statement: &str) -> bool {
    let session = Session::of(database);
    session.run("SET jit = off; BEGIN").unwrap();
    // Allocates beforehand what the library, the catalogue caches and the stack take once: the extension
    // cannot recover from a stack that cannot grow.
    session.run(DEEP).unwrap();
    session.run(warm_up).unwrap();
    limit(session.pid, more);
    let result = session.run(statement);
    if result.is_err() {
        let error = refusal(result);
        assert_eq!(error.code().code(), "53200", "{statement} in {more}: {error:?}");
        assert!(["ERROR", "FATAL"].contains(&error.severity()), "{error:?}");
        assert!(!format!("{error:?}").to_lowercase().contains(SECRET), "{error:?}");
        return false;
    }
    session.run("ROLLBACK").unwrap();
    true
}

#[test]
fn an_import_that_gets_no_memory_ends_its_session_and_no_other() {
    if !on_16() {
        return;
    }
    let server = Server::start(&[]);
    let database = server.database();
    let mut client = database.connect();
    client
        .batch_execute(
            "CREATE TABLE public.batches AS
             SELECT size, (SELECT jsonb_agg(jsonb_build_object('email', 'zyxw' || i || '@example.com',
                                                               'name', repeat('Zyxw ', 30)))
                             FROM generate_series(1, size) AS i) AS customers
               FROM (VALUES (2000), (100000)) AS sizes (size)",
        )
        .unwrap();
    let mut watch = Watch::over(&server);
    let before = contents(&mut client);
    let import =
        "SELECT count(*) FROM public.batches, LATERAL customers.import_customers(customers)
                   WHERE size =";
    let (small, large) = (format!("{import} 2000"), format!("{import} 100000"));
    let sizes = [1, 4, 16, 32, 48, 64, 96, 128, 192, 256, 384].map(|size| size * MEGABYTE);
    let enough = sizes.iter().position(|size| {
        let is_enough = is_enough(&database, *size, &small, &large);
        watch.assert_stayed_up();
        is_enough
    });
    assert!(enough.is_none_or(|enough| enough > 2), "the limit has never struck");
    assert_eq!(contents(&mut client), before);
    assert!(!server.log().to_lowercase().contains(SECRET), "{}", server.log());
}

/// The memory of one value, in a document, in an event or as an argument.
#[test]
fn a_call_that_gets_no_memory_ends_its_session_and_no_other() {
    let server = Server::start(&[]);
    let database = server.database();
    let mut client = database.connect();
    let ann = register_ann(&mut client);
    client
        .batch_execute(&format!(
            "CREATE TABLE public.vast AS
             SELECT repeat('zyxwzyxw', 4000000) AS text,
                    jsonb_build_object('name', repeat('zyxwzyxw', 4000000)) AS patch;
             CREATE VIEW public.known AS SELECT '{}'::uuid AS id",
            ann.id
        ))
        .unwrap();
    past_the_triggers(
        &mut client,
        "customers.events",
        "UPDATE customers.events SET reason = (SELECT text FROM public.vast) || 'Ann'",
    );
    let mut watch = Watch::over(&server);
    let before = event_count(&mut client);
    let refused = |call: &str| {
        format!(
            "DO $$ BEGIN PERFORM {call}; EXCEPTION WHEN invalid_parameter_value THEN NULL; END $$"
        )
    };
    let known = "(SELECT id FROM public.known)";
    for statement in [
        refused("customers.find_customer(text) FROM public.vast"),
        refused("customers.register_customer(text) FROM public.vast"),
        refused("customers.register_customer('other@example.com', text) FROM public.vast"),
        refused(&format!("customers.set_status({known}, 'SUSPENDED', text) FROM public.vast")),
        refused(&format!("customers.patch_customer({known}, patch) FROM public.vast")),
        refused("customers.import_customers(jsonb_build_array(patch)) FROM public.vast"),
        format!("SELECT customers.export_customer({known})"),
        format!("SELECT * FROM customers.customer_history({known})"),
        format!("SELECT * FROM customers.customer_timeline({known})"),
        "SELECT * FROM customers.read_events(0)".to_owned(),
        format!("SELECT customers.erase_customer({known})"),
    ] {
        let warm_up = "SELECT customers.find_customer('nobody@example.com')";
        for size in [1, 24, 40, 72, 104, 136, 264].map(|size| size * MEGABYTE) {
            is_enough(&database, size, warm_up, &statement);
            watch.assert_stayed_up();
        }
    }
    assert_eq!(event_count(&mut client), before);
}

#[test]
fn an_import_takes_100000_customers_and_refuses_more() {
    let mut client = database().connect();
    let before = contents(&mut client);
    let import = "SELECT count(*) FROM customers.import_customers(
                      (SELECT jsonb_agg(jsonb_build_object('email', 'zyxw')) FROM generate_series(1, $1)))";
    assert_eq!(one::<i64>(&mut client, import, &[&100_000]), 100_000);
    assert_refused(client.query(import, &[&100_001]), "22023", &[SECRET]);
    assert_refused(client.query(import, &[&1_000_000]), "22023", &[SECRET]);
    assert_eq!(contents(&mut client), before);
    let rows = client.simple_query("SELECT * FROM customers.import_customers('[]')").unwrap();
    assert!(!rows.iter().any(|row| matches!(row, SimpleQueryMessage::Row(_))));
}
