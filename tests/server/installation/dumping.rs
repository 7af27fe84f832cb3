//! Promise: a dump contains everything, including what the owner added, and restoring it records nothing.

use crate::kit::{
    Database, address, all, assert_refused, database, one, registered, role, server, succeed,
};
use postgres::Client;
use serde_json::Value;

/// A database with two customers, their history, and additions by its owner.
fn lived_in() -> Database<'static> {
    let database = database();
    let mut client = database.connect();
    let api = role(&mut client, "");
    client
        .batch_execute(&format!(
            "SELECT customers.register_customer('ann@example.com', 'Ann');
             SELECT customers.register_customer('zoe@example.com', 'Zoé  \\ \"quoted\"');
             INSERT INTO customers.customers (email, registered_at) VALUES ('old@example.com', '2001-02-03 04:05:06.789012+00');
             SET customer_db.actor = 'clerk 7';
             SELECT customers.set_status(customer_id, 'SUSPENDED', 'a reason') FROM customers.find_customer('ann@example.com');
             SELECT customers.set_status(customer_id, 'CLOSED') FROM customers.find_customer('zoe@example.com');
             INSERT INTO customers.consumers (consumer, position) VALUES ('mailer', 3);
             INSERT INTO customers.erasures VALUES (gen_random_uuid(), now(), 'postgres', 'asked for');
             ALTER TABLE customers.customers ADD COLUMN note text;
             UPDATE customers.customers SET note = 'of ' || email;
             CREATE INDEX idx_of_the_owner ON customers.customers (note);
             ALTER TABLE customers.customers ENABLE ROW LEVEL SECURITY;
             CREATE POLICY policy_of_the_owner ON customers.customers FOR SELECT USING (status = 'ACTIVE');
             GRANT USAGE ON SCHEMA customers TO {api};
             GRANT SELECT ON customers.customers, customers.customers_masked TO {api};
             GRANT EXECUTE ON FUNCTION customers.register_customer, customers.get_customer TO {api}"
        ))
        .unwrap();
    client.batch_execute("BEGIN").unwrap();
    registered(&mut client);
    client.batch_execute("ROLLBACK").unwrap();
    database
}

/// All rows, grants and definitions of the schema.
fn contents(client: &mut Client) -> Vec<Value> {
    client.batch_execute("SET timezone = 'UTC'").unwrap();
    [
        "SELECT jsonb_agg(to_jsonb(t) ORDER BY customer_id) FROM customers.customers AS t",
        "SELECT jsonb_agg(to_jsonb(t) ORDER BY position) FROM customers.events AS t",
        "SELECT jsonb_agg(to_jsonb(t)) FROM customers.consumers AS t",
        "SELECT jsonb_agg(to_jsonb(t)) FROM customers.erasures AS t",
        "SELECT jsonb_build_object('last', last_value, 'called', is_called) FROM customers.events_position_seq",
        "SELECT jsonb_agg(relname || ' ' || relkind::text || ' ' || coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::\"char\", relowner))::text ORDER BY relname)
           FROM pg_class WHERE relnamespace = 'customers'::regnamespace",
        "SELECT jsonb_agg(oid::regprocedure || ' ' || coalesce(proacl, acldefault('f', proowner))::text ORDER BY oid::regprocedure::text)
           FROM pg_proc WHERE pronamespace = 'customers'::regnamespace",
        "SELECT jsonb_agg(typname || ' ' || coalesce(typacl, acldefault('T', typowner))::text ORDER BY typname)
           FROM pg_type WHERE typnamespace = 'customers'::regnamespace",
        "SELECT to_jsonb(nspacl::text || nspowner::regrole) FROM pg_namespace WHERE nspname = 'customers'",
        "SELECT jsonb_agg(indexdef ORDER BY indexdef) FROM pg_indexes WHERE schemaname = 'customers'",
        "SELECT jsonb_agg(to_jsonb(policy)) FROM pg_policies AS policy WHERE schemaname = 'customers'",
        "SELECT jsonb_agg(pg_get_triggerdef(oid) || tgenabled::text ORDER BY pg_get_triggerdef(oid))
           FROM pg_trigger WHERE NOT tgisinternal AND tgrelid::regclass::text LIKE 'customers.%'",
        "SELECT jsonb_agg(conname || pg_get_constraintdef(oid) ORDER BY conname)
           FROM pg_constraint WHERE connamespace = 'customers'::regnamespace",
        "SELECT jsonb_agg(pg_describe_object(classoid, objoid, objsubid) || description
                          ORDER BY pg_describe_object(classoid, objoid, objsubid))
           FROM pg_description
          WHERE pg_describe_object(classoid, objoid, objsubid) LIKE '%customers.%'",
        "SELECT jsonb_agg(pg_describe_object(classid, objid, 0) ORDER BY pg_describe_object(classid, objid, 0))
           FROM pg_depend
          WHERE deptype = 'e' AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'customer_db')",
    ]
    .into_iter()
    .map(|query| one::<Option<Value>>(client, query, &[]).unwrap_or_default())
    .collect()
}

fn assert_same(original: &Database, copy: &Database) {
    let (original, copy) = (contents(&mut original.connect()), contents(&mut copy.connect()));
    for (wanted, found) in original.iter().zip(&copy) {
        assert_eq!(found, wanted);
    }
}

/// Asserts that the rules are in force, and that the feed continues after its last position.
fn assert_alive(original: &Database, copy: &Database) {
    let last: i64 =
        one(&mut original.connect(), "SELECT last_value FROM customers.events_position_seq", &[]);
    let mut client = copy.connect();
    let bad = "INSERT INTO customers.customers (email) VALUES ('not an address')";
    assert_refused(client.batch_execute(bad), "22023", &["not an address"]);
    assert_refused(client.batch_execute("DELETE FROM customers.customers"), "23514", &[]);
    let taken = client.query("SELECT customers.register_customer(' ANN@example.com')::text", &[]);
    assert_refused(taken, "23505", &["ann@"]);
    let id = registered(&mut client);
    let next = "SELECT position FROM customers.customer_history($1)";
    let position: i64 = one(&mut client, next, &[&id]);
    assert!(position > last, "{position} comes after {last}");
    let api = "SELECT grantee::regrole::text FROM pg_class, aclexplode(relacl)
                WHERE oid = 'customers.customers'::regclass AND grantee <> relowner";
    let api: Vec<String> = all(&mut client, api, &[]);
    let mut application = copy.connect_as(&api[0]);
    application
        .query_one("SELECT customers.register_customer($1)::text", &[&address()])
        .expect("the grants hold");
}

#[test]
fn a_plain_dump_restores_everything() {
    let original = lived_in();
    let copy = server().empty_database("TEMPLATE template0");
    let dump = original.dump(&[]);
    succeed(
        copy.program("psql")
            .args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--single-transaction"])
            .arg("--file")
            .arg(dump),
    );
    assert_same(&original, &copy);
    assert_alive(&original, &copy);
}

#[test]
fn an_archive_restores_everything_in_every_mode() {
    let original = lived_in();
    let dump = original.dump(&["--format=custom"]);
    for mode in
        [&["--exit-on-error"][..], &["--single-transaction"], &["--exit-on-error", "--jobs=2"]]
    {
        let copy = server().empty_database("TEMPLATE template0");
        succeed(copy.program("pg_restore").args(mode).arg(&dump));
        assert_same(&original, &copy);
        assert_alive(&original, &copy);
    }
}

#[test]
fn a_restore_over_what_is_there_replaces_it() {
    let original = lived_in();
    let dump = original.dump(&["--format=custom"]);
    let copy = database();
    registered(&mut copy.connect());
    let clean = ["--clean", "--if-exists", "--exit-on-error"];
    succeed(copy.program("pg_restore").args(clean).arg(&dump));
    assert_same(&original, &copy);
    assert_alive(&original, &copy);
}

#[test]
fn the_data_alone_restores_into_a_new_installation() {
    let original = database();
    let mut client = original.connect();
    for _ in 0..3 {
        registered(&mut client);
    }
    client.batch_execute("UPDATE customers.customers SET status = 'CLOSED'").unwrap();
    let dump = original.dump(&["--format=custom", "--data-only"]);
    let copy = database();
    succeed(
        copy.program("pg_restore")
            .args(["--data-only", "--disable-triggers", "--exit-on-error"])
            .arg(&dump),
    );
    assert_same(&original, &copy);
    let id = registered(&mut copy.connect());
    let next = "SELECT position FROM customers.customer_history($1)";
    // In a new epoch.
    assert_eq!(one::<i64>(&mut copy.connect(), next, &[&id]), 10_000_000_000);
}

#[test]
fn a_dump_of_an_installation_whose_extension_was_dropped_is_a_dump_of_plain_tables() {
    let original = lived_in();
    original.connect().batch_execute("DROP EXTENSION customer_db CASCADE").unwrap();
    let dump = original.dump(&["--format=custom"]);
    let copy = server().empty_database("TEMPLATE template0");
    succeed(copy.program("pg_restore").arg("--exit-on-error").arg(&dump));
    assert_same(&original, &copy);
    copy.connect()
        .batch_execute("CREATE EXTENSION customer_db; SELECT customers.attach()")
        .unwrap();
    let last = "SELECT max(position) FROM customers.events";
    let before: i64 = one(&mut copy.connect(), last, &[]);
    registered(&mut copy.connect());
    assert!(one::<i64>(&mut copy.connect(), last, &[]) > before);
}
