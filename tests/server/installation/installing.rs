//! Promise: the extension owns the functions and the database's owner owns the data, whatever is installed,
//! dropped and installed again.

use crate::kit::{
    Database, PUBLIC, Server, address, all, assert_refused, database, grants, id, one, refusal,
    registered, role, server,
};
use postgres::Client;
use uuid::Uuid;

/// A new database without the extension, in the shared cluster.
fn empty() -> Database<'static> {
    server().empty_database("")
}

const CREATE: &str = "CREATE EXTENSION customer_db";

/// Asserts that a query, which returns the deviations, returns no row.
fn assert_none(client: &mut Client, query: &str) {
    let found: Vec<String> = all(client, query, &[]);
    assert!(found.is_empty(), "{found:#?}");
}

fn tables(client: &mut Client) -> Vec<String> {
    let query = "SELECT relname::text FROM pg_class
                  WHERE relnamespace = 'customers'::regnamespace AND relkind IN ('r', 'v', 'S', 'p')
                  ORDER BY 1";
    all(client, query, &[])
}

const TABLES: [&str; 9] = [
    "consumers",
    "customers",
    "customers_masked",
    "duty_marks",
    "erasures",
    "events",
    "events_position_seq",
    "feed_epochs",
    "feed_read_seq",
];

#[test]
fn its_members_are_its_functions_and_one_type() {
    let mut client = database().connect();
    let mut members: Vec<String> = all(
        &mut client,
        "SELECT pg_describe_object(classid, objid, 0) FROM pg_depend
          WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
            AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'customer_db')",
        &[],
    );
    // From PostgreSQL 17 on, an array type is a member like its element type.
    members.retain(|member| member != "type customers.profile[]");
    let mut wanted: Vec<String> = all(
        &mut client,
        "SELECT pg_describe_object('pg_proc'::regclass, oid, 0) FROM pg_proc
          WHERE pronamespace = 'customers'::regnamespace",
        &[],
    );
    assert!(wanted.contains(&"function customers.register_customer(text,text,uuid)".to_owned()));
    wanted.push("type customers.profile".to_owned());
    wanted.sort();
    members.sort();
    assert_eq!(members, wanted);
    assert_eq!(tables(&mut client), TABLES);
}

#[test]
fn nothing_is_granted_to_public() {
    let database = database();
    let mut client = database.connect();
    assert_eq!(grants(&mut client, PUBLIC), [""; 0]);
    let stranger = role(&mut client, "");
    let mut stranger = database.connect_as(&stranger);
    for call in [
        "SELECT customers.register_customer('a@example.com')",
        "SELECT customers.attach()",
        "SELECT * FROM customers.customers",
        "SELECT * FROM customers.customers_masked",
    ] {
        assert_eq!(refusal(stranger.batch_execute(call)).code().code(), "42501", "{call}");
    }
}

#[test]
fn every_function_table_column_and_setting_says_what_it_is() {
    let mut client = database().connect();
    assert_none(
        &mut client,
        "SELECT oid::regprocedure::text FROM pg_proc
          WHERE pronamespace = 'customers'::regnamespace
            AND coalesce(obj_description(oid, 'pg_proc'), '') = ''",
    );
    assert_none(
        &mut client,
        "SELECT proname || ' does not tell of ' || argument
           FROM pg_proc, unnest(proargnames[:pronargs]) AS argument
          WHERE pronamespace = 'customers'::regnamespace
            AND obj_description(pg_proc.oid, 'pg_proc') !~ ('\\m' || argument || '\\M')",
    );
    assert_none(
        &mut client,
        "SELECT proname || ' does not tell what it refuses' FROM pg_proc
          WHERE pronamespace = 'customers'::regnamespace AND proname NOT LIKE 'record%'
            AND obj_description(oid, 'pg_proc') !~ 'Refuses (nothing|with ([0-9]{5}|PT4))'",
    );
    assert_none(
        &mut client,
        "SELECT oid::regclass::text FROM pg_class
          WHERE relnamespace = 'customers'::regnamespace AND relkind IN ('r', 'v')
            AND coalesce(obj_description(oid, 'pg_class'), '') = ''
         UNION ALL
         SELECT attrelid::regclass || '.' || attname
           FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
          WHERE relnamespace = 'customers'::regnamespace AND relkind IN ('r', 'v')
            AND attnum > 0 AND NOT attisdropped
            AND coalesce(col_description(attrelid, attnum), '') = ''
         UNION ALL
         SELECT typname::text FROM pg_type
          WHERE oid = 'customers.profile'::regtype AND obj_description(oid, 'pg_type') IS NULL
         UNION ALL
         SELECT nspname::text FROM pg_namespace
          WHERE nspname = 'customers' AND obj_description(oid, 'pg_namespace') IS NULL",
    );
    client.batch_execute("LOAD 'customer_db'").unwrap();
    assert_none(
        &mut client,
        "SELECT name FROM pg_settings
          WHERE name LIKE 'customer_db.%'
            AND (coalesce(short_desc, '') = '' OR coalesce(extra_desc, '') = '')",
    );
    let settings: Vec<String> =
        all(&mut client, "SELECT name FROM pg_settings WHERE name LIKE 'customer_db.%'", &[]);
    for setting in ["customer_db.actor", "customer_db.notify", "customer_db.notify_limit"] {
        assert!(settings.contains(&setting.to_owned()), "{settings:?}");
    }
}

#[test]
fn functions_run_with_their_owners_rights_and_a_pinned_search_path() {
    let mut client = database().connect();
    assert_none(
        &mut client,
        "SELECT oid::regprocedure::text FROM pg_proc
          WHERE pronamespace = 'customers'::regnamespace
            AND prosecdef IS DISTINCT FROM
                proname NOT IN ('attach', 'grant_access', 'revoke_access', 'broken_rule', 'offenders', 'guard',
                                'refuse_removal', 'record_registered', 'record_updated', 'keep_erasure',
                                'get_customer', 'find_customer', 'list_customers', 'search_customers',
                                'canonical_email', 'canonical_name')",
    );
    assert_none(
        &mut client,
        "SELECT oid::regprocedure::text FROM pg_proc
          WHERE pronamespace = 'customers'::regnamespace AND prosecdef
            AND proconfig[1] IS DISTINCT FROM 'search_path=pg_catalog, pg_temp'
             OR proname IN ('verify', 'duties', 'grant_access', 'revoke_access')
                AND proconfig[2] IS DISTINCT FROM 'quote_all_identifiers=off'",
    );
}

#[test]
fn no_function_has_an_overload() {
    let mut client = database().connect();
    assert_none(
        &mut client,
        "SELECT proname::text FROM pg_proc WHERE pronamespace = 'customers'::regnamespace
          GROUP BY proname HAVING count(*) > 1",
    );
}

#[test]
fn a_trigger_function_cannot_be_called_by_hand() {
    let database = database();
    let mut client = database.connect();
    for function in ["guard", "refuse_removal", "record_registered", "record_updated"] {
        let called = refusal(client.batch_execute(&format!("SELECT customers.{function}()")));
        assert!(called.message().contains("trigger"), "{function}: {called:?}");
    }
}

#[test]
fn the_table_of_customers_is_the_specified_one() {
    let mut client = database().connect();
    let rows = client
        .query(
            "SELECT concat_ws(' ', attname, format_type(atttypid, atttypmod),
                              CASE WHEN attcollation = '\"C\"'::regcollation THEN 'C' END,
                              CASE WHEN attnotnull THEN 'NOT NULL' END,
                              pg_get_expr(adbin, adrelid))
               FROM pg_attribute
               LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
              WHERE attrelid = 'customers.customers'::regclass AND attnum > 0
              ORDER BY attnum",
            &[],
        )
        .unwrap();
    let columns: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(
        columns,
        [
            "customer_id uuid NOT NULL gen_random_uuid()",
            "email text C NOT NULL",
            "name text",
            "status text NOT NULL 'ACTIVE'::text",
            "registered_at timestamp with time zone NOT NULL now()",
            "updated_at timestamp with time zone NOT NULL now()",
            "version bigint NOT NULL 1",
        ]
    );
    let constraints: Vec<String> = all(
        &mut client,
        "SELECT conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
          WHERE conrelid = 'customers.customers'::regclass AND contype <> 'n' ORDER BY contype, conname",
        &[],
    );
    assert_eq!(
        constraints,
        [
            "customers_status_check CHECK ((status = ANY (ARRAY['ACTIVE'::text, 'SUSPENDED'::text, 'CLOSED'::text])))",
            "customers_pkey PRIMARY KEY (customer_id)",
            "customers_email_key UNIQUE (email)",
        ]
    );
    let indexes: Vec<String> = all(
        &mut client,
        "SELECT indexdef FROM pg_indexes WHERE schemaname = 'customers' AND tablename = 'customers'
          ORDER BY indexname",
        &[],
    );
    assert_eq!(
        indexes,
        [
            "CREATE UNIQUE INDEX customers_email_key ON customers.customers USING btree (email)",
            "CREATE UNIQUE INDEX customers_pkey ON customers.customers USING btree (customer_id)",
            "CREATE INDEX idx_customers_status ON customers.customers USING btree (status)",
        ]
    );
    let events: String = one(
        &mut client,
        "SELECT string_agg(indexdef, '; ' ORDER BY indexname) FROM pg_indexes
          WHERE schemaname = 'customers' AND tablename = 'events'",
        &[],
    );
    assert!(events.contains("USING btree (customer_id, version)"), "{events}");
    assert!(
        events.contains("events_pkey ON customers.events USING btree (\"position\")"),
        "{events}"
    );
    let cache = "SELECT cache_size FROM pg_sequences WHERE sequencename = 'events_position_seq'";
    assert_eq!(one::<i64>(&mut client, cache, &[]), 1, "cached positions would come out of order");
}

#[test]
fn the_type_profile_has_the_columns_of_a_customer() {
    let mut client = database().connect();
    let columns = |relation: &str| {
        format!(
            "SELECT attname || ' ' || format_type(atttypid, atttypmod) FROM pg_attribute
              WHERE attrelid = '{relation}'::regclass AND attnum > 0 ORDER BY attnum"
        )
    };
    let profile: Vec<String> = all(&mut client, &columns("customers.profile"), &[]);
    let table: Vec<String> = all(&mut client, &columns("customers.customers"), &[]);
    assert_eq!(profile, table);
}

#[test]
fn dropping_it_is_refused_while_its_rules_are_in_force() {
    let mut client = database().connect();
    let refused = refusal(client.batch_execute("DROP EXTENSION customer_db"));
    assert_eq!(refused.code().code(), "2BP01");
    registered(&mut client);
}

#[test]
fn dropping_it_keeps_the_data_and_installing_it_again_restores_the_rules() {
    let database = database();
    let (mut client, notices) = database.connect_for_notices();
    for _ in 0..3 {
        registered(&mut client);
    }
    client.batch_execute("UPDATE customers.customers SET name = 'Ann'").unwrap();
    let data = "SELECT jsonb_build_object(
                    'customers', (SELECT jsonb_agg(c ORDER BY customer_id) FROM customers.customers AS c),
                    'events', (SELECT jsonb_agg(e ORDER BY position) FROM customers.events AS e))";
    let before: serde_json::Value = one(&mut client, data, &[]);

    client.batch_execute("DROP EXTENSION customer_db CASCADE").unwrap();
    assert_eq!(tables(&mut client), TABLES);
    assert_eq!(one::<serde_json::Value>(&mut client, data, &[]), before);
    let left = "SELECT count(*) FROM pg_proc WHERE pronamespace = 'customers'::regnamespace";
    assert_eq!(one::<i64>(&mut client, left, &[]), 0);
    assert_none(
        &mut client,
        "SELECT tgname::text FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
          WHERE relnamespace = 'customers'::regnamespace AND NOT tgisinternal",
    );

    notices.take();
    client.batch_execute(CREATE).unwrap();
    let warnings = notices.take();
    let warning = warnings.iter().find(|notice| notice.severity() == "WARNING").expect("a WARNING");
    assert!(warning.message().contains("customers"), "{warning:?}");
    assert!(warning.hint().unwrap().contains("customers.attach()"), "{warning:?}");
    assert_eq!(one::<serde_json::Value>(&mut client, data, &[]), before);

    client.batch_execute("SELECT customers.attach()").unwrap();
    assert_eq!(one::<serde_json::Value>(&mut client, data, &[]), before);
    assert_rules_hold(&mut client);
    let goes_on = "SELECT max(position) > $1 FROM customers.events";
    let last = before["events"].as_array().unwrap().last().unwrap()["position"].as_i64();
    assert!(one::<bool>(&mut client, goes_on, &[&last]), "positions go on");
}

/// Asserts that the guard refuses, changes are recorded and nothing can be removed.
fn assert_rules_hold(client: &mut Client) {
    let insert = "INSERT INTO customers.customers (email) VALUES ($1)";
    assert_refused(client.execute(insert, &[&"not an address"]), "22023", &["not an address"]);
    let count = "SELECT count(*) FROM customers.events";
    let events: i64 = one(client, count, &[]);
    let id = registered(client);
    let update = "UPDATE customers.customers SET name = 'Eve' WHERE customer_id = $1";
    client.execute(update, &[&id]).unwrap();
    assert_eq!(one::<i64>(client, count, &[]), events + 2);
    for removal in [
        "DELETE FROM customers.customers",
        "TRUNCATE customers.customers",
        "DELETE FROM customers.events",
        "UPDATE customers.events SET reason = NULL",
        "TRUNCATE customers.events",
    ] {
        assert_refused(client.batch_execute(removal), "23514", &[]);
    }
}

#[test]
fn attaching_twice_changes_nothing() {
    let mut client = database().connect();
    registered(&mut client);
    let objects = "SELECT string_agg(oid::text || relname, ',' ORDER BY oid)
                     FROM pg_class WHERE relnamespace = 'customers'::regnamespace";
    let before: String = one(&mut client, objects, &[]);
    client.batch_execute("SELECT customers.attach(); SELECT customers.attach()").unwrap();
    assert_eq!(one::<String>(&mut client, objects, &[]), before);
    let triggers = "SELECT count(*) FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
                     WHERE relnamespace = 'customers'::regnamespace AND NOT tgisinternal";
    assert_eq!(one::<i64>(&mut client, triggers, &[]), 8);
    assert_rules_hold(&mut client);
}

fn assert_not_installed(client: &mut Client) {
    assert_none(client, "SELECT extname::text FROM pg_extension WHERE extname = 'customer_db'");
    assert_none(
        client,
        "SELECT proname::text FROM pg_proc
          WHERE pronamespace = to_regnamespace('customers') AND probin IS NOT NULL",
    );
}

#[test]
fn a_schema_that_a_stranger_planted_is_refused() {
    let mut client = empty().connect();
    let stranger = role(&mut client, "");
    client.batch_execute(&format!("CREATE SCHEMA customers AUTHORIZATION {stranger}")).unwrap();
    assert_refused(client.batch_execute(CREATE), "42501", &[]);
    assert_not_installed(&mut client);
}

#[test]
fn an_object_that_a_stranger_planted_is_refused() {
    let database = empty();
    let mut client = database.connect();
    let stranger = role(&mut client, "");
    let grant = format!("CREATE SCHEMA customers; GRANT ALL ON SCHEMA customers TO {stranger}");
    client.batch_execute(&grant).unwrap();
    let mut planter = database.connect_as(&stranger);
    for (plant, remove) in [
        ("TABLE customers.events (position bigint)", "TABLE customers.events"),
        ("TABLE customers.x (a int) PARTITION BY LIST (a)", "TABLE customers.x"),
        ("VIEW customers.customers_masked AS SELECT 1 AS a", "VIEW customers.customers_masked"),
        ("MATERIALIZED VIEW customers.x AS SELECT 1 AS a", "MATERIALIZED VIEW customers.x"),
        ("SEQUENCE customers.events_position_seq", "SEQUENCE customers.events_position_seq"),
        ("TYPE customers.profile AS (email text)", "TYPE customers.profile"),
        ("TYPE customers.x AS ENUM ('a')", "TYPE customers.x"),
        ("DOMAIN customers.x AS text", "DOMAIN customers.x"),
        (
            "FUNCTION customers.guard() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
            "FUNCTION customers.guard()",
        ),
        (
            "FUNCTION customers.verify(text) RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "FUNCTION customers.verify(text)",
        ),
        ("PROCEDURE customers.x() LANGUAGE sql AS 'SELECT 1'", "PROCEDURE customers.x()"),
        (
            "AGGREGATE customers.x (int) (SFUNC = int4pl, STYPE = int)",
            "AGGREGATE customers.x (int)",
        ),
        (
            "OPERATOR customers.= (LEFTARG = text, RIGHTARG = text, FUNCTION = starts_with)",
            "OPERATOR customers.= (text, text)",
        ),
        ("COLLATION customers.x (LOCALE = 'C')", "COLLATION customers.x"),
        (
            "TEXT SEARCH CONFIGURATION customers.x (COPY = simple)",
            "TEXT SEARCH CONFIGURATION customers.x",
        ),
    ] {
        planter.batch_execute(&format!("CREATE {plant}")).unwrap();
        let error = refusal(client.batch_execute(CREATE));
        assert_eq!(error.code().code(), "42501", "{plant}: {error:?}");
        assert!(error.hint().is_some(), "{plant}: {error:?}");
        assert_not_installed(&mut client);
        planter.batch_execute(&format!("DROP {remove}")).unwrap();
    }
    let refused = client.batch_execute(CREATE);
    assert_refused(refused, "42501", &[]);
    client.batch_execute(&format!("REVOKE CREATE ON SCHEMA customers FROM {stranger}")).unwrap();
    client.batch_execute(CREATE).unwrap();
    client.batch_execute(&format!("GRANT CREATE ON SCHEMA customers TO {stranger}")).unwrap();
    // attach() refuses objects planted later, even under a name that it would leave unchanged.
    planter.batch_execute("CREATE TABLE customers.events (position bigint)").unwrap();
    assert_refused(client.batch_execute("SELECT customers.attach()"), "42501", &[]);
    assert_eq!(tables(&mut client), ["events"]);
    planter.batch_execute("DROP TABLE customers.events").unwrap();
    client.batch_execute(&format!("REVOKE CREATE ON SCHEMA customers FROM {stranger}")).unwrap();
    client.batch_execute("SELECT customers.attach()").unwrap();
}

#[test]
fn in_a_schema_of_the_installing_role_only_functions_are_installed() {
    let database = empty();
    let (mut client, notices) = database.connect_for_notices();
    let installer = role(&mut client, "SUPERUSER");
    let schema = format!("CREATE SCHEMA customers AUTHORIZATION {installer}; SET ROLE {installer}");
    client.batch_execute(&schema).unwrap();
    client.batch_execute("CREATE TABLE customers.notes (note text)").unwrap();
    client.batch_execute(CREATE).unwrap();
    assert!(notices.take().iter().any(|notice| notice.severity() == "WARNING"));
    assert_eq!(tables(&mut client), ["notes"]);
    client.batch_execute("SELECT customers.attach()").unwrap();
    assert_eq!(tables(&mut client).len(), TABLES.len() + 1);
    assert_rules_hold(&mut client);
    // Tables that attach() creates are no members either.
    assert_none(
        &mut client,
        "SELECT pg_describe_object(classid, objid, 0) FROM pg_depend
          WHERE deptype = 'e' AND classid = 'pg_class'::regclass AND objid::regclass::text LIKE 'customers.%'",
    );
}

const PLAIN: &str = "CREATE SCHEMA customers;
    CREATE TABLE customers.customers (
        customer_id   uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
        email         text        NOT NULL UNIQUE,
        name          text,
        status        text        NOT NULL DEFAULT 'ACTIVE',
        registered_at timestamptz NOT NULL DEFAULT now(),
        updated_at    timestamptz NOT NULL DEFAULT now());";

#[test]
fn a_plain_table_of_customers_is_adopted_with_its_rows() {
    let mut client = empty().connect();
    client.batch_execute(PLAIN).unwrap();
    client
        .batch_execute(
            "INSERT INTO customers.customers (email, name, status, registered_at, updated_at)
             VALUES ('a@example.com', 'A', 'ACTIVE', '2001-02-03', '2002-03-04'),
                    ('b@example.com', NULL, 'CLOSED', '2003-04-05', '2004-05-06')",
        )
        .unwrap();
    let rows =
        "SELECT jsonb_agg(to_jsonb(c) - 'version' ORDER BY email) FROM customers.customers AS c";
    let before: serde_json::Value = one(&mut client, rows, &[]);
    client.batch_execute(CREATE).unwrap();
    client.batch_execute("SELECT customers.attach()").unwrap();
    assert_eq!(one::<serde_json::Value>(&mut client, rows, &[]), before);
    let versions: Vec<i64> = all(&mut client, "SELECT version FROM customers.customers", &[]);
    assert_eq!(versions, [1, 1]);
    assert_eq!(tables(&mut client), TABLES);
    let closed =
        client.batch_execute("UPDATE customers.customers SET name = 'X' WHERE status = 'CLOSED'");
    assert_refused(closed, "23514", &[]);
    client
        .batch_execute("UPDATE customers.customers SET name = 'X' WHERE status = 'ACTIVE'")
        .unwrap();
    let found = "SELECT version FROM customers.find_customer('A@Example.com')";
    assert_eq!(one::<i64>(&mut client, found, &[]), 2);
    assert_rules_hold(&mut client);
}

#[test]
fn an_adopted_table_may_have_its_columns_in_any_order_among_others() {
    let mut client = empty().connect();
    client
        .batch_execute(
            "CREATE SCHEMA customers;
             CREATE TABLE customers.customers (
                 gone          int,
                 updated_at    timestamptz NOT NULL DEFAULT now(),
                 note          text DEFAULT 'kept',
                 status        text        NOT NULL DEFAULT 'ACTIVE',
                 name          text,
                 registered_at timestamptz NOT NULL DEFAULT now(),
                 email         text        COLLATE \"C\" NOT NULL UNIQUE,
                 customer_id   uuid        PRIMARY KEY DEFAULT gen_random_uuid());
             ALTER TABLE customers.customers DROP COLUMN gone;
             INSERT INTO customers.customers (email, name) VALUES ('old@example.com', 'Old');
             CREATE EXTENSION customer_db;
             SELECT customers.attach()",
        )
        .unwrap();
    let profile: serde_json::Value = one(
        &mut client,
        "SELECT to_jsonb(r) - '{customer_id,registered_at,updated_at}'::text[]
           FROM customers.register_customer(' NEW@example.com', ' New ') AS r",
        &[],
    );
    let wanted = serde_json::json!(
        {"email": "new@example.com", "name": "New", "status": "ACTIVE", "version": 1}
    );
    assert_eq!(profile, wanted);
    for reader in ["find_customer('old@example.com')", "search_customers('old')"] {
        let name = format!("SELECT name FROM customers.{reader}");
        assert_eq!(one::<String>(&mut client, &name, &[]), "Old", "{reader}");
    }
    let id: Uuid =
        one(&mut client, "SELECT customer_id FROM customers.find_customer('old@example.com')", &[]);
    let get = "SELECT email || ' ' || version FROM customers.get_customer($1)";
    assert_eq!(one::<String>(&mut client, get, &[&id]), "old@example.com 1");
    client.batch_execute("UPDATE customers.customers SET note = 'changed'").unwrap();
    assert_eq!(one::<String>(&mut client, get, &[&id]), "old@example.com 1");
    assert_rules_hold(&mut client);
}

#[test]
fn a_table_with_rows_that_break_the_rules_is_refused_and_left_alone() {
    let mut client = empty().connect();
    client.batch_execute(PLAIN).unwrap();
    client
        .batch_execute(
            "INSERT INTO customers.customers (email, name, status)
             VALUES ('Upper@example.com', 'A', 'ACTIVE'), ('no address', 'B', 'ACTIVE'),
                    ('c@example.com', '', 'ACTIVE'), ('d@example.com', 'D', 'ODD'),
                    ('good@example.com', 'Good', 'ACTIVE')",
        )
        .unwrap();
    client.batch_execute(CREATE).unwrap();
    let error = refusal(client.batch_execute("SELECT customers.attach()"));
    assert_eq!(error.code().code(), "55000");
    assert!(format!("{error:?}").contains('4'), "it counts the offenders: {error:?}");
    assert_eq!(tables(&mut client), ["customers"]);
}

#[test]
fn an_adopted_table_gets_the_constraints_and_defaults_it_lacks() {
    let mut client = empty().connect();
    client
        .batch_execute(
            "CREATE SCHEMA customers;
             CREATE TABLE customers.customers (customer_id uuid, email text, name text, status text,
                                               registered_at timestamptz, updated_at timestamptz);
             CREATE EXTENSION customer_db;
             SELECT customers.attach();
             INSERT INTO customers.customers (email) VALUES ('a@example.com')",
        )
        .unwrap();
    let twice =
        client.batch_execute("INSERT INTO customers.customers (email) VALUES ('a@example.com')");
    assert_eq!(refusal(twice).code().code(), "23505");
}

#[test]
fn a_table_of_other_columns_is_refused() {
    for columns in [
        "id int",
        "customer_id uuid, email varchar, name text, status text, registered_at timestamptz, updated_at timestamptz",
        "customer_id uuid, email text, name text, status text, registered_at timestamp, updated_at timestamptz",
        "customer_id uuid, email text, name text, status text, registered_at timestamptz",
    ] {
        let mut client = empty().connect();
        let table =
            format!("CREATE SCHEMA customers; CREATE TABLE customers.customers ({columns})");
        client.batch_execute(&table).unwrap();
        client.batch_execute(CREATE).unwrap();
        assert_refused(client.batch_execute("SELECT customers.attach()"), "55000", &[]);
        assert_eq!(tables(&mut client), ["customers"], "nothing has changed");
    }
}

#[test]
fn something_else_named_customers_is_refused() {
    for (kind, plant) in [
        ("a view", "CREATE VIEW customers.customers AS SELECT 1 AS a"),
        (
            "a view of the right columns",
            "CREATE VIEW customers.customers AS
             SELECT NULL::uuid AS customer_id, ''::text AS email, ''::text AS name, ''::text AS status,
                    now() AS registered_at, now() AS updated_at, 1::bigint AS version",
        ),
    ] {
        let mut client = empty().connect();
        client.batch_execute(&format!("CREATE SCHEMA customers; {plant}; {CREATE}")).unwrap();
        let error = refusal(client.batch_execute("SELECT customers.attach()"));
        assert_eq!(error.code().code(), "55000", "{kind}: {error:?}");
    }
}

#[test]
fn a_database_that_is_not_in_utf8_is_refused() {
    for encoding in ["LATIN1", "SQL_ASCII"] {
        let options = format!("ENCODING '{encoding}' TEMPLATE template0 LOCALE 'C'");
        let mut client = server().empty_database(&options).connect();
        client.batch_execute("SET client_encoding = 'UTF8'").unwrap();
        assert_refused(client.batch_execute(CREATE), "0A000", &[]);
        assert_not_installed(&mut client);
        assert!(!one::<bool>(&mut client, "SELECT to_regnamespace('customers') IS NOT NULL", &[]));
    }
}

#[test]
fn two_databases_of_one_cluster_know_nothing_of_each_other() {
    let (one_database, other_database) = (database(), database());
    let mut client = one_database.connect();
    let mut other = other_database.connect();
    let email = address();
    let register = "SELECT customers.register_customer($1)::text";
    let mut listener = other_database.listen();
    client.query_one(register, &[&email]).unwrap();
    assert!(crate::kit::received(&mut listener).is_empty());
    other.query_one(register, &[&email]).unwrap();
    let first = "SELECT min(position) = 1 AND max(position) = 1 FROM customers.events";
    assert!(one::<bool>(&mut client, first, &[]));
    assert!(one::<bool>(&mut other, first, &[]));
    client.batch_execute("DROP EXTENSION customer_db CASCADE").unwrap();
    registered(&mut other);
}

#[test]
fn it_is_neither_relocatable_nor_trusted() {
    let database = empty();
    let mut client = database.connect();
    let traits: String = one(
        &mut client,
        "SELECT superuser || ' ' || trusted || ' ' || relocatable
           FROM pg_available_extension_versions AS available JOIN pg_available_extensions USING (name)
          WHERE name = 'customer_db' AND version = default_version",
        &[],
    );
    assert_eq!(traits, "true false false");
    client.batch_execute("CREATE SCHEMA elsewhere").unwrap();
    let elsewhere = format!("{CREATE} SCHEMA elsewhere");
    assert!(client.batch_execute(&elsewhere).is_err());
    assert_not_installed(&mut client);

    let owner = role(&mut client, "");
    let alter = format!("ALTER DATABASE {} OWNER TO {owner}", database.name);
    client.batch_execute(&alter).unwrap();
    let refused = database.connect_as(&owner).batch_execute(CREATE);
    assert_eq!(
        refusal(refused).code().code(),
        "42501",
        "the owner of the database is no superuser"
    );
    client.batch_execute(CREATE).unwrap();
    let moved = client.batch_execute("ALTER EXTENSION customer_db SET SCHEMA elsewhere");
    assert_eq!(refusal(moved).code().code(), "0A000");
}

/// Calls every function that applications call, and checks the results.
fn assert_every_function_works(client: &mut Client) {
    let (email, other) = (address(), address());
    let id = id();
    let given: &[&(dyn postgres::types::ToSql + Sync)] = &[&email, &id];
    let register = "SELECT version FROM customers.register_customer($1, 'Ann', $2)";
    assert_eq!(one::<i64>(client, register, given), 1);
    assert_eq!(one::<i64>(client, register, given), 1, "the retry");
    let plain = "SELECT version FROM customers.register_customer($1)";
    assert_eq!(one::<i64>(client, plain, &[&address()]), 1);
    for (call, version) in [
        ("update_customer($1, name => 'Bob')", 2),
        ("patch_customer($1, '{\"name\": null}')", 3),
        ("set_status($1, 'SUSPENDED', 'a reason')", 4),
    ] {
        let query = format!("SELECT version FROM customers.{call}");
        assert_eq!(one::<i64>(client, &query, &[&id]), version, "{call}");
    }
    let stale =
        client.query("SELECT customers.update_customer($1, expected_version => 1)::text", &[&id]);
    assert_eq!(refusal(stale).code().code(), "PT409");
    let taken = client.query("SELECT customers.update_customer($2, email => $1)::text", given);
    assert!(taken.is_ok(), "its own address");
    let nobody =
        client.query("SELECT customers.set_status(gen_random_uuid(), 'CLOSED')::text", &[]);
    assert_eq!(refusal(nobody).code().code(), "PT404");
    let update = "UPDATE customers.customers SET email = $1 WHERE customer_id = $2";
    assert_eq!(client.execute(update, &[&other, &id]).unwrap(), 1);
    for (call, rows) in [
        ("get_customer($2)", 1),
        ("find_customer($1)", 1),
        ("search_customers($1)", 1),
        ("list_customers('SUSPENDED', NULL, 1)", 1),
        ("list_customers(page_size => 1)", 1),
        ("customer_history($2)", 5),
        ("customer_timeline($2)", 5),
    ] {
        let query = format!(
            "WITH given AS (SELECT $1::text, $2::uuid) SELECT count(*) FROM given, customers.{call}"
        );
        assert_eq!(one::<i64>(client, &query, &[&other, &id]), rows, "{call}");
    }
    assert_rules_hold(client);
}

#[test]
fn a_living_session_outlives_a_new_installation() {
    let database = database();
    let mut living = database.connect();
    let mut other = database.connect();
    assert_every_function_works(&mut living);
    let again = "DROP EXTENSION customer_db CASCADE; CREATE EXTENSION customer_db; SELECT customers.attach()";
    let anew = "DROP EXTENSION customer_db CASCADE; DROP SCHEMA customers CASCADE; CREATE EXTENSION customer_db";
    let straight = "DROP SCHEMA customers CASCADE; DROP EXTENSION IF EXISTS customer_db; CREATE EXTENSION customer_db";
    for install in [again, anew, straight] {
        other.batch_execute(install).unwrap();
        assert_every_function_works(&mut living);
        living.batch_execute(install).unwrap();
        assert_every_function_works(&mut living);
        // The same if nothing was called in between.
        living.batch_execute(install).unwrap();
        living.batch_execute(&format!("BEGIN; {install}; COMMIT")).unwrap();
        assert_every_function_works(&mut living);
    }
}

#[test]
fn a_session_without_the_schema_is_told_so() {
    let database = database();
    let mut client = database.connect();
    let id = registered(&mut client);
    client.batch_execute("ALTER TABLE customers.events RENAME TO hidden").unwrap();
    let insert = "INSERT INTO customers.customers (email) VALUES ('x@example.com')";
    assert!(client.batch_execute(insert).is_err(), "no change without its event");
    client.batch_execute("ALTER TABLE customers.hidden RENAME TO events").unwrap();
    client.batch_execute(insert).unwrap();
    client.batch_execute("ALTER TABLE customers.customers RENAME TO hidden").unwrap();
    assert!(client.query("SELECT * FROM customers.get_customer($1)", &[&id]).is_err());
    client.batch_execute("ALTER TABLE customers.hidden RENAME TO customers").unwrap();
    assert_eq!(client.query("SELECT * FROM customers.get_customer($1)", &[&id]).unwrap().len(), 1);
}

#[test]
fn it_installs_in_a_cluster_where_it_is_preloaded() {
    let server = Server::start(&["shared_preload_libraries = 'customer_db'"]);
    let database = server.database();
    let mut client = database.connect();
    assert_every_function_works(&mut client);
    let login = role(&mut client, "");
    let refused = database.connect_as(&login).batch_execute("SET customer_db.notify = off");
    assert_eq!(refusal(refused).code().code(), "42501");
}
