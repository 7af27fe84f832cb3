//! Promise: whatever the owner does to the tables and the type, calls do their work or are refused, and the
//! server stays up.

use crate::kit::calls::{attempt, functions, outcome, seed, seeded};
use crate::kit::{
    Database, Params, Server, address, all, assert_refused, call, contents, database, event_count,
    on_16, one, pid, refusal, register_ann, registered, role, server, stored,
};
use postgres::Client;
use postgres::error::DbError;
use serde_json::json;
use uuid::Uuid;

/// Plain statements and calls that write.
const PLAIN: [&str; 5] = [
    "SELECT customers.erase_customer(customer_id) FROM customers.customers WHERE status = 'CLOSED'",
    "INSERT INTO customers.customers (email) VALUES ('somebody@example.com'::text)",
    "UPDATE customers.customers SET name = 'Bea'::text WHERE status <> 'CLOSED'",
    "SELECT customers.register_customer('somebody@example.com', 'Bea')",
    "SELECT customers.update_customer((SELECT id FROM public.known), 'somebody@example.com', 'Bea', 'SUSPENDED')",
];

fn all_calls(client: &mut Client) -> Vec<String> {
    let functions = functions(client);
    functions.iter().map(|function| function.call()).chain(PLAIN.map(str::to_owned)).collect()
}

/// Asserts that an error is a refusal with a HINT or an ordinary PostgreSQL error, and neither a failed
/// assertion nor an internal error.
fn assert_clean(error: &DbError, about: &str) {
    let code = error.code().code();
    assert!(!["XX", "57", "58"].contains(&&code[..2]), "{about}: {error:?}");
    assert!(code != "55000" || error.hint().is_some(), "{about}: {error:?}");
    let everything = format!("{error:?}").to_lowercase();
    for untold in ["somebody", "bea", "backtrace", "panicked"] {
        assert!(!everything.contains(untold), "{about}: {error:?}");
    }
}

/// Every way to alter a column of this type.
fn tamperings(table: &str, column: &str, r#type: &str) -> Vec<String> {
    let of_type = table == "profile";
    let (alter, what) = if of_type {
        (format!("ALTER TYPE customers.{table}"), "ATTRIBUTE")
    } else {
        (format!("ALTER TABLE customers.{table}"), "COLUMN")
    };
    // With values that would be invalid pointers.
    let others: &[(&str, &str)] = match r#type {
        "uuid" => &[("text", "{}::text"), ("bigint", "hashtext({}::text)")],
        "text" => &[("varchar", "{}"), ("int", "hashtext({}::text)")],
        "bigint" if column == "position" && table == "events" => &[("int", "{}")],
        "bigint" => &[("int", "{}"), ("text", "{}::text")],
        "jsonb" => &[("json", "{}"), ("int", "hashtext({}::text)")],
        "boolean" => &[("int", "hashtext({}::text)")],
        "integer" => &[("bigint", "{}"), ("text", "{}::text")],
        _ => &[("timestamp", "{}"), ("bigint", "hashtext({}::text)")],
    };
    let retype = |(other, value): &(&str, &str)| {
        let value = value.replace("{}", column);
        let no_default = match column {
            "position" => String::new(),
            _ => format!("ALTER {column} DROP DEFAULT,"),
        };
        if of_type {
            format!("{alter} ALTER ATTRIBUTE {column} TYPE {other}")
        } else {
            format!("{alter} {no_default} ALTER {column} TYPE {other} USING {value}")
        }
    };
    let mut tamperings: Vec<String> = others.iter().map(retype).collect();
    tamperings.push(format!("{alter} RENAME {what} {column} TO other"));
    tamperings.push(format!("{alter} DROP {what} {column}"));
    let again = match (table, column) {
        (_, "customer_id" | "event_id") if !of_type => "uuid DEFAULT gen_random_uuid()",
        ("events", "position") => "bigint GENERATED ALWAYS AS IDENTITY",
        _ => r#type,
    };
    tamperings.push(format!("{alter} DROP {what} {column}, ADD {what} {column} {again}"));
    tamperings
}

/// Drops what would keep columns from being altered.
const LOOSEN: &str = "
    DROP VIEW customers.customers_masked;
    ALTER TABLE customers.customers DROP CONSTRAINT customers_status_check";

/// Every alteration of every column of every table and of the type.
fn all_tamperings(client: &mut Client) -> Vec<String> {
    let columns = "SELECT relname::text, attname::text, format_type(atttypid, NULL)
                     FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
                    WHERE relnamespace = 'customers'::regnamespace AND relkind IN ('r', 'c') AND attnum > 0
                    ORDER BY relname, attnum";
    let columns = client.query(columns, &[]).unwrap();
    let mut tamperings: Vec<String> = Vec::new();
    for row in columns {
        tamperings.extend(self::tamperings(row.get(0), row.get(1), row.get(2)));
    }
    tamperings.push("ALTER TYPE customers.profile ADD ATTRIBUTE extra text".to_owned());
    for table in ["customers", "events", "consumers", "erasures", "feed_epochs"] {
        tamperings.push(format!("DROP TABLE customers.{table} CASCADE"));
        tamperings.push(format!("ALTER TABLE customers.{table} SET SCHEMA public"));
        tamperings.push(format!("ALTER TABLE customers.{table} RENAME TO other"));
        tamperings
            .push(format!("ALTER TABLE customers.{table} ADD COLUMN extra int NOT NULL DEFAULT 7"));
    }
    tamperings.push("ALTER TABLE customers.events ALTER position DROP IDENTITY".to_owned());
    tamperings.push("ALTER SEQUENCE customers.events_position_seq RENAME TO other".to_owned());
    tamperings.push("ALTER TABLE customers.customers DROP CONSTRAINT customers_pkey".to_owned());
    tamperings
        .push("ALTER TABLE customers.customers DROP CONSTRAINT customers_email_key".to_owned());
    tamperings.push("ALTER SCHEMA customers RENAME TO other".to_owned());
    tamperings
}

/// A cluster of its own, so that a crash does not affect other tests.
struct Fragile(Server);

impl Fragile {
    fn start() -> Self {
        Self(Server::start(&[]))
    }

    fn seeded(&self) -> Database<'_> {
        let database = self.0.database();
        let mut owner = database.connect();
        owner.batch_execute("SET customer_db.actor = 'clerk 7'").unwrap();
        seed(&mut owner);
        // One customer who is erased, and one whom a restore has brought back.
        let gone = register_ann(&mut owner).id;
        call(&mut owner, "erase_customer($1, 'a reason')", &[&gone]).unwrap();
        owner
            .batch_execute(
                "INSERT INTO customers.erasures
                 SELECT id, now(), 'postgres', 'a reason' FROM public.known",
            )
            .unwrap();
        database
    }

    /// Asserts that no backend crashed.
    fn assert_stayed_up(&self) {
        assert!(!self.0.log().contains("was terminated by signal"), "{}", self.0.log());
    }
}

/// Makes these calls in one session, before and after every alteration of the tables.
fn assert_no_tampering_crashes(is_tried: impl Fn(&str) -> bool) {
    let fragile = Fragile::start();
    let database = fragile.seeded();
    let mut client = database.connect();
    client.batch_execute(LOOSEN).unwrap();
    let backend = pid(&mut client);
    let mut calls = all_calls(&mut client);
    calls.retain(|call| is_tried(call));
    // Plans are kept from here on.
    let untouched: Vec<String> = calls.iter().map(|call| outcome(&mut client, call)).collect();
    for (call, outcome) in calls.iter().zip(&untouched) {
        // 23505: a second registration under one id. 39P01: a trigger function called directly.
        assert!(["00000", "23505", "39P01"].contains(&outcome.as_str()), "{call}: {outcome}");
    }
    let mut refused = 0;
    for tampering in all_tamperings(&mut client) {
        let mut transaction = client.transaction().unwrap();
        transaction.batch_execute(&tampering).unwrap_or_else(|why| panic!("{tampering}: {why:?}"));
        for call in &calls {
            if let Some(error) = attempt(&mut transaction, call) {
                assert_clean(&error, &format!("{tampering}; {call}"));
                refused += usize::from(error.code().code() == "55000");
            }
        }
        transaction.rollback().unwrap();
    }
    assert!(refused > calls.len(), "only {refused} refusals are ours");
    let again: Vec<String> = calls.iter().map(|call| outcome(&mut client, call)).collect();
    assert_eq!(again, untouched);
    assert_eq!(pid(&mut client), backend);
    fragile.assert_stayed_up();
}

/// Whether a call reads a person's data and free texts.
fn erases(call: &str) -> bool {
    call.contains("erase_customer") || call.contains("reapply_erasures")
}

#[test]
fn no_change_to_any_column_crashes_a_call() {
    if !on_16() {
        return;
    }
    assert_no_tampering_crashes(|call| !erases(call));
}

#[test]
fn no_change_to_any_column_crashes_an_erasure() {
    assert_no_tampering_crashes(erases);
}

#[test]
fn a_key_that_is_null_is_refused_cleanly() {
    let fragile = Fragile::start();
    let mut client = fragile.seeded().connect();
    for (tampering, change) in [
        (
            "ALTER TABLE customers.customers DROP COLUMN customer_id CASCADE, ADD COLUMN customer_id uuid",
            "UPDATE customers.customers SET name = 'Bea' WHERE status <> 'CLOSED'",
        ),
        (
            "ALTER TABLE customers.events DROP COLUMN position, ADD COLUMN position bigint",
            "SELECT customers.erase_customer(customer_id) FROM customers.customers WHERE status = 'CLOSED'",
        ),
    ] {
        let mut transaction = client.transaction().unwrap();
        transaction.batch_execute(tampering).unwrap();
        if let Some(error) = attempt(&mut transaction, change) {
            assert_clean(&error, tampering);
        }
        transaction.rollback().unwrap();
    }
}

/// The same with alterations that another session commits.
#[test]
fn a_living_session_outlives_what_another_does_to_the_tables() {
    let fragile = Fragile::start();
    for tampering in [
        "ALTER TABLE customers.customers ALTER email TYPE varchar",
        "ALTER TABLE customers.customers DROP COLUMN name",
        "ALTER TABLE customers.customers ALTER version TYPE int",
        "ALTER TABLE customers.events ALTER changes TYPE json",
        "ALTER TABLE customers.events DROP COLUMN actor",
        "ALTER TABLE customers.events RENAME COLUMN reason TO why",
        "ALTER TYPE customers.profile ALTER ATTRIBUTE version TYPE int",
        "ALTER TYPE customers.profile DROP ATTRIBUTE name",
    ] {
        let database = fragile.seeded();
        let mut owner = database.connect();
        owner.batch_execute(LOOSEN).unwrap();
        let (mut living, mut idle) = (database.connect(), database.connect());
        let calls = all_calls(&mut owner);
        calls.iter().for_each(|call| drop(attempt(&mut living, call)));
        owner.batch_execute(tampering).unwrap();
        for client in [&mut living, &mut idle] {
            for call in calls.iter().filter(|call| !erases(call)) {
                if let Some(error) = attempt(client, call) {
                    assert_clean(&error, &format!("{tampering}; {call}"));
                }
            }
        }
    }
    fragile.assert_stayed_up();
}

const CHANGES_ANN: [&str; 4] = [
    "update_customer($1, name => 'Anna')",
    "patch_customer($1, '{\"name\": \"Anna\"}')",
    "set_status($1, 'SUSPENDED', 'a reason')",
    "erase_customer($1)",
];

#[test]
fn a_feed_that_is_a_view_or_is_partitioned_gets_its_events() {
    let fragile = Fragile::start();
    for replacement in [
        "VIEW customers.events AS SELECT * FROM customers.kept",
        "TABLE customers.events (LIKE customers.kept) PARTITION BY LIST (type);
         CREATE TABLE customers.registered PARTITION OF customers.events FOR VALUES IN ('customer-registered');
         CREATE TABLE customers.others PARTITION OF customers.events DEFAULT",
        "UNLOGGED TABLE customers.events (LIKE customers.kept)",
    ] {
        let database = fragile.seeded();
        let mut client = database.connect();
        let calls = all_calls(&mut client);
        client
            .batch_execute(&format!(
                "DROP TRIGGER refuse_removal ON customers.events;
                 ALTER TABLE customers.events RENAME TO kept;
                 CREATE {replacement}"
            ))
            .unwrap();
        for call in &calls {
            if let Some(error) = attempt(&mut client, call) {
                assert_clean(&error, &format!("{replacement}; {call}"));
            }
        }
        let ann = register_ann(&mut client).id;
        for change in CHANGES_ANN {
            call(&mut client, change, &[&ann]).unwrap_or_else(|why| panic!("{replacement}: {why:?}"));
        }
        let versions = "SELECT version FROM customers.customer_history($1)";
        assert_eq!(all::<i64>(&mut client, versions, &[&ann]), [1, 2, 3, 4], "{replacement}");
    }
    fragile.assert_stayed_up();
}

/// A database in which the schema existed before the extension.
fn attachable(schema: &str) -> Client {
    let mut client = server().empty_database("").connect();
    let install = format!("CREATE SCHEMA customers; {schema}; CREATE EXTENSION customer_db");
    client.batch_execute(&install).unwrap_or_else(|why| panic!("{schema}: {why:?}"));
    client
}

/// Everything in the schema.
fn inventory(client: &mut Client) -> Vec<String> {
    all(
        client,
        "SELECT concat_ws(' ', relname, relkind, attname, format_type(atttypid, NULL), attnotnull, atthasdef,
                          attcollation)
           FROM pg_class LEFT JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0
          WHERE relnamespace = 'customers'::regnamespace
         UNION ALL
         SELECT conname || pg_get_constraintdef(oid) FROM pg_constraint
          WHERE connamespace = 'customers'::regnamespace
         UNION ALL
         SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid::regclass::text LIKE 'customers.%'
          ORDER BY 1",
        &[],
    )
}

const COLUMNS: &str =
    "customer_id uuid, email text, name text, status text, registered_at timestamptz,
                       updated_at timestamptz";
const ROW: &str = "'00000000-0000-0000-0000-000000000001', 'a@example.com', NULL, 'ACTIVE', '2001-02-03', '2001-02-03'";

fn customers_with(rest: &str) -> String {
    format!("CREATE TABLE customers.customers ({COLUMNS}{rest})")
}

#[test]
fn attach_refuses_tables_of_other_shapes_and_changes_nothing() {
    let events = |columns: &str| {
        format!(
            "CREATE TABLE customers.events (position bigint PRIMARY KEY, event_id uuid, type text, customer_id uuid,
                 version bigint, occurred_at timestamptz, recorded_by text, actor text, reason text{columns})"
        )
    };
    for (schema, lacking) in [
        (customers_with(", version numeric"), "version"),
        (customers_with(", version int"), "version"),
        (customers_with("").replace("email text", "email varchar(254)"), "email"),
        (customers_with("").replace("timestamptz", "timestamp"), "registered_at"),
        (customers_with("").replace("name text,", ""), "name"),
        (customers_with("") + " PARTITION BY LIST (status)", "customers"),
        (events(", changes jsonb"), "announce"),
        (events(", announce boolean"), "changes"),
        (events(", announce boolean, changes json"), "changes"),
        ("CREATE VIEW customers.events AS SELECT 1 AS position".to_owned(), "event"),
        (
            "CREATE MATERIALIZED VIEW customers.erasures AS SELECT 1 AS a".to_owned(),
            "erasures is no plain table",
        ),
        ("CREATE TABLE customers.consumers (consumer text, position int)".to_owned(), "position"),
        ("CREATE SEQUENCE customers.consumers".to_owned(), "consumer"),
        ("CREATE TABLE customers.erasures (customer_id uuid)".to_owned(), "erased_at"),
    ] {
        let mut client = attachable(&schema);
        let before = inventory(&mut client);
        let error = refusal(client.batch_execute("SELECT customers.attach()"));
        assert_eq!(error.code().code(), "55000", "{schema}: {error:?}");
        assert!(error.hint().is_some(), "{schema}: {error:?}");
        assert!(format!("{error:?}").contains(lacking), "{schema}: {error:?}");
        assert_eq!(inventory(&mut client), before, "{schema}");
    }
}

#[test]
fn attach_refuses_rows_that_no_customer_could_be_and_changes_nothing() {
    let one_row = |row: String| {
        format!(
            "{}; INSERT INTO customers.customers VALUES ({row})",
            customers_with(", version bigint")
        )
    };
    let row = |old: &str, new: &str| {
        assert!(ROW.contains(old));
        one_row(ROW.replacen(old, new, 1) + ", 1")
    };
    let another = |id: u8, email: &str| {
        format!(
            "{}; INSERT INTO customers.customers VALUES
                 ('00000000-0000-0000-0000-00000000000{id}', '{email}', NULL, 'ACTIVE', now(), now(), 1)",
            one_row(ROW.to_owned() + ", 1")
        )
    };
    for schema in [
        row("'00000000-0000-0000-0000-000000000001'", "NULL"),
        row("'a@example.com'", "NULL"),
        row("'a@example.com'", "'A@example.com'"),
        row("'a@example.com'", "'erased+1@erased.invalid'"),
        row("'ACTIVE'", "NULL"),
        row("'ACTIVE'", "'active'"),
        row("NULL", "''"),
        row("'2001-02-03'", "NULL"),
        row("'2001-02-03'", "'2999-01-01'"),
        row("'2001-02-03'", "'infinity'"),
        row("'2001-02-03', '2001-02-03'", "'2001-02-03', NULL"),
        one_row(ROW.to_owned() + ", NULL"),
        one_row(ROW.to_owned() + ", 0"),
        one_row(ROW.to_owned() + ", -1"),
        another(1, "b@example.com"),
        another(2, "a@example.com"),
    ] {
        let mut client = attachable(&schema);
        let (before, rows) = (inventory(&mut client), rows(&mut client));
        let error = refusal(client.batch_execute("SELECT customers.attach()"));
        assert_eq!(error.code().code(), "55000", "{schema}: {error:?}");
        assert!(error.detail().is_some_and(|detail| detail.contains('1')), "{schema}: {error:?}");
        // The query in the HINT lists the rows.
        let hint = error.hint().unwrap_or_default();
        let query = hint.split_once(": ").unwrap_or_else(|| panic!("{schema}: {error:?}")).1;
        let listed = client.query(query, &[]).unwrap_or_else(|why| panic!("{query}: {why:?}"));
        assert!(!listed.is_empty(), "{schema}: {hint}");
        assert_eq!((inventory(&mut client), self::rows(&mut client)), (before, rows), "{schema}");
    }
}

fn rows(client: &mut Client) -> Vec<String> {
    all(client, "SELECT c::text FROM customers.customers AS c ORDER BY 1", &[])
}

#[test]
fn attach_refuses_what_is_in_the_way_and_says_what_to_do() {
    for (schema, hint) in [
        (
            customers_with("")
                + "; CREATE VIEW customers.addresses AS SELECT email FROM customers.customers",
            "attach",
        ),
        (
            customers_with("")
                + "; CREATE INDEX idx_customers_status ON customers.customers (name)",
            "Rename",
        ),
        (
            customers_with("")
                + "; CREATE TABLE customers.x (a int); CREATE INDEX idx_customers_status ON customers.x (a)",
            "Rename",
        ),
        (customers_with("") + "; CREATE TABLE customers.idx_customers_status (a int)", "Rename"),
        (
            customers_with(", PRIMARY KEY (customer_id) DEFERRABLE INITIALLY DEFERRED"),
            "NOT DEFERRABLE",
        ),
        (customers_with(", UNIQUE (email) DEFERRABLE"), "NOT DEFERRABLE"),
    ] {
        let mut client = attachable(&schema);
        let before = inventory(&mut client);
        let error = refusal(client.batch_execute("SELECT customers.attach()"));
        assert_eq!(error.code().code(), "55000", "{schema}: {error:?}");
        assert!(error.hint().is_some_and(|text| text.contains(hint)), "{schema}: {error:?}");
        assert_eq!(inventory(&mut client), before, "{schema}");
    }
}

/// Asserts that an adopted table of customers works like one that attach() created.
fn assert_works_like_ours(rest: &str) {
    let mut ours = seeded().connect();
    let mut client = attachable(&customers_with(rest));
    client.batch_execute("SELECT customers.attach()").unwrap();
    seed(&mut client);
    for call in all_calls(&mut ours) {
        assert_eq!(outcome(&mut client, &call), outcome(&mut ours, &call), "{rest}: {call}");
    }
    let ann = register_ann(&mut client);
    let taken = call(&mut client, "register_customer($1)", &[&ann.email]);
    assert_refused(taken, "23505", &[&ann.email]);
    let insert = "INSERT INTO customers.customers (customer_id, email) VALUES ($1, $2)";
    let taken = client.execute(insert, &[&ann.id, &address()]);
    assert_eq!(refusal(taken).code().code(), "23505", "{rest}");
    assert_eq!(call(&mut client, "get_customer($1)", &[&ann.id]).unwrap(), ann, "{rest}");
}

#[test]
fn tables_with_other_keys_are_adopted_and_work_like_ours() {
    for rest in [
        ", PRIMARY KEY (email, customer_id)",
        ", UNIQUE (customer_id), UNIQUE (email, name)",
        ", PRIMARY KEY (customer_id) INCLUDE (email), UNIQUE (email) INCLUDE (name)",
    ] {
        assert_works_like_ours(rest);
    }
}

#[test]
fn tables_whose_primary_key_is_another_column_work_like_ours() {
    for rest in [", PRIMARY KEY (email)", ", no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY"] {
        assert_works_like_ours(rest);
    }
}

/// Columns of every kind that have a value by default, and triggers of every kind that record that they fired.
const OWNERS_ADDITIONS: &str = "
    ALTER TABLE customers.events
        ADD COLUMN shard int NOT NULL DEFAULT 7,
        ADD COLUMN no bigint GENERATED ALWAYS AS IDENTITY,
        ADD COLUMN year int GENERATED ALWAYS AS (extract(year FROM occurred_at AT TIME ZONE 'UTC')) STORED,
        ADD COLUMN note text;
    CREATE TABLE public.fired (what text);
    CREATE FUNCTION public.fire() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO public.fired VALUES (concat_ws(' ', TG_WHEN, TG_OP, TG_LEVEL));
            IF TG_WHEN = 'BEFORE' AND TG_LEVEL = 'ROW' THEN NEW.note = 'seen'; END IF;
            RETURN NEW;
        END $$;
    CREATE FUNCTION public.count() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO public.fired SELECT 'counted ' || count(*) FROM new_events;
            RETURN NULL;
        END $$;
    CREATE TRIGGER a BEFORE INSERT OR UPDATE ON customers.events FOR EACH STATEMENT EXECUTE FUNCTION public.fire();
    CREATE TRIGGER b BEFORE INSERT OR UPDATE ON customers.events FOR EACH ROW EXECUTE FUNCTION public.fire();
    CREATE TRIGGER c AFTER INSERT OR UPDATE ON customers.events FOR EACH ROW EXECUTE FUNCTION public.fire();
    CREATE TRIGGER d AFTER INSERT OR UPDATE ON customers.events FOR EACH STATEMENT EXECUTE FUNCTION public.fire();
    CREATE TRIGGER e AFTER INSERT ON customers.events REFERENCING NEW TABLE AS new_events
        FOR EACH STATEMENT EXECUTE FUNCTION public.count();
    CREATE TRIGGER f AFTER UPDATE ON customers.events REFERENCING NEW TABLE AS new_events
        FOR EACH STATEMENT EXECUTE FUNCTION public.count()";

#[test]
fn columns_and_triggers_of_the_owners_on_the_feed_do_their_work() {
    let database = database();
    let mut owner = database.connect();
    owner.batch_execute(OWNERS_ADDITIONS).unwrap();
    let writer = role(&mut owner, "");
    owner
        .execute("SELECT customers.grant_access($1::text::regrole, 'writer')", &[&writer])
        .unwrap();
    let mut client = database.connect_as(&writer);
    let ann = register_ann(&mut client).id;
    let filled =
        "SELECT concat_ws(' ', shard, no, year = extract(year FROM now() AT TIME ZONE 'UTC'), note)
                    FROM customers.events WHERE customer_id = $1 ORDER BY position";
    assert_eq!(all::<String>(&mut owner, filled, &[&ann]), ["7 1 t seen"]);
    let fired = |client: &mut Client| -> Vec<String> {
        all(
            client,
            "WITH gone AS (DELETE FROM public.fired RETURNING what) SELECT what FROM gone ORDER BY 1",
            &[],
        )
    };
    let of_an_insert = [
        "AFTER INSERT ROW",
        "AFTER INSERT STATEMENT",
        "BEFORE INSERT ROW",
        "BEFORE INSERT STATEMENT",
        "counted 1",
    ];
    assert_eq!(fired(&mut owner), of_an_insert);
    for change in &CHANGES_ANN[..3] {
        call(&mut client, change, &[&ann]).unwrap();
        fired(&mut owner);
    }
    let import = json!([{"email": address()}, {"email": address()}, {"email": address()}]);
    client.execute("SELECT customers.import_customers($1)", &[&import]).unwrap();
    let rows = fired(&mut owner).into_iter().filter(|what| what == "AFTER INSERT ROW");
    assert_eq!(rows.count(), 3);
    call(&mut owner, "erase_customer($1)", &[&ann]).unwrap();
    let of_an_erasure = fired(&mut owner);
    assert!(of_an_erasure.contains(&"AFTER UPDATE ROW".to_owned()), "{of_an_erasure:?}");
    let versions = "SELECT version FROM customers.customer_history($1)";
    assert_eq!(all::<i64>(&mut owner, versions, &[&ann]), [1, 2, 3, 4]);
}

#[test]
fn an_event_that_a_trigger_of_the_owners_refuses_takes_its_change_along() {
    let mut client = database().connect();
    let ann = register_ann(&mut client).id;
    client
        .batch_execute(
            "CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN RAISE ''not now''; END';
             CREATE TRIGGER fail BEFORE INSERT ON customers.events FOR EACH ROW EXECUTE FUNCTION public.fail()",
        )
        .unwrap();
    let before = contents(&mut client);
    for change in CHANGES_ANN {
        assert_eq!(refusal(call(&mut client, change, &[&ann])).message(), "not now");
    }
    assert_eq!(contents(&mut client), before);
}

#[test]
fn an_event_that_a_trigger_of_the_owners_skips_takes_its_change_along() {
    let mut client = database().connect();
    let ann = register_ann(&mut client).id;
    client
        .batch_execute(
            "CREATE FUNCTION public.skip() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
             CREATE TRIGGER skip BEFORE INSERT ON customers.events
                 FOR EACH ROW EXECUTE FUNCTION public.skip()",
        )
        .unwrap();
    let before = contents(&mut client);
    for change in CHANGES_ANN {
        assert_refused(call(&mut client, change, &[&ann]), "55000", &["Anna"]);
    }
    assert_eq!(contents(&mut client), before);
}

/// Every function that writes, with a call that has to be recorded.
fn commands(id: Uuid) -> [(String, &'static str); 7] {
    [
        (format!("register_customer('{}', 'Bea')", address()), "record_registered"),
        (
            format!("register_customer('{}', 'Bea', gen_random_uuid())", address()),
            "record_registered",
        ),
        (format!("import_customers('[{{\"email\": \"{}\"}}]')", address()), "record_registered"),
        (format!("update_customer('{id}', name => 'Bea')"), "record_updated"),
        (format!("patch_customer('{id}', '{{\"name\": \"Bea\"}}')"), "record_updated"),
        (format!("set_status('{id}', 'SUSPENDED')"), "record_updated"),
        (format!("erase_customer('{id}')"), "record_updated"),
    ]
}

/// Asserts that a call is refused with 55000, as an error or in the row of an import.
fn assert_not_in_force(client: &mut Client, command: &str, about: &str) {
    let before = contents(client);
    let query = format!("SELECT to_jsonb(answer) FROM customers.{command} AS answer");
    let error = match client.query_one(&query, &[]) {
        Ok(row) => panic!("{about}: {command} answers {}", row.get::<_, serde_json::Value>(0)),
        Err(error) => refusal::<()>(Err(error)),
    };
    assert_eq!(error.code().code(), "55000", "{about}: {command}: {error:?}");
    assert!(error.hint().is_some_and(|hint| hint.contains("attach()")), "{about}: {error:?}");
    assert_eq!(contents(client), before, "{about}: {command}");
}

#[test]
fn between_installing_and_attaching_nothing_can_be_written() {
    let mut client = database().connect();
    let id = registered(&mut client);
    client
        .batch_execute("DROP EXTENSION customer_db CASCADE; CREATE EXTENSION customer_db")
        .unwrap();
    for (command, _) in commands(id) {
        assert_not_in_force(&mut client, &command, "before attach()");
    }
    client.batch_execute("SELECT customers.attach()").unwrap();
    for (command, _) in commands(id) {
        client.query(&format!("SELECT customers.{command}"), &[]).unwrap();
    }
}

#[test]
fn without_tables_calls_say_what_to_do() {
    let mut client = attachable("SELECT");
    client
        .batch_execute(&format!("CREATE VIEW public.known AS SELECT '{}'::uuid AS id", Uuid::max()))
        .unwrap();
    for (command, _) in commands(Uuid::max()) {
        let error = refusal(client.query(&format!("SELECT customers.{command}"), &[]));
        assert_clean(&error, &command);
    }
    for call in all_calls(&mut client) {
        if let Some(error) = attempt(&mut client, &call) {
            assert_clean(&error, &call);
        }
    }
}

#[test]
fn with_a_trigger_disabled_nothing_can_be_written_that_it_should_see() {
    let mut client = database().connect();
    let id = register_ann(&mut client).id;
    let disablings = [
        "DISABLE TRIGGER guard",
        "DISABLE TRIGGER record_registered",
        "DISABLE TRIGGER record_updated",
        "DISABLE TRIGGER USER",
        "ENABLE REPLICA TRIGGER guard",
    ];
    for disabling in disablings {
        client.batch_execute(&format!("ALTER TABLE customers.customers {disabling}")).unwrap();
        for (command, recorder) in commands(id) {
            if !disabling.contains("record") || disabling.ends_with(recorder) {
                assert_not_in_force(&mut client, &command, disabling);
            } else {
                assert_eq!(outcome(&mut client, &format!("SELECT customers.{command}")), "00000");
            }
        }
        client.batch_execute("ALTER TABLE customers.customers ENABLE TRIGGER USER").unwrap();
    }
    for drop in ["guard", "record_registered", "record_updated"] {
        client
            .batch_execute(&format!("BEGIN; DROP TRIGGER {drop} ON customers.customers; COMMIT"))
            .unwrap();
        for (command, recorder) in commands(id) {
            if drop == "guard" || drop == recorder {
                assert_not_in_force(&mut client, &command, drop);
            }
        }
        client.batch_execute("SELECT customers.attach()").unwrap();
    }
    client.batch_execute("SET session_replication_role = replica").unwrap();
    for (command, _) in commands(id) {
        assert_not_in_force(&mut client, &command, "as a replica");
    }
}

#[test]
fn a_trigger_of_the_owners_that_skips_the_row_is_told_of() {
    let mut client = database().connect();
    let id = register_ann(&mut client).id;
    client
        .batch_execute(
            "CREATE FUNCTION public.skip() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        )
        .unwrap();
    // Fires before the guard, and after it.
    for name in ["a", "z"] {
        client
            .batch_execute(&format!(
                "CREATE TRIGGER {name} BEFORE INSERT OR UPDATE ON customers.customers
                     FOR EACH ROW EXECUTE FUNCTION public.skip()"
            ))
            .unwrap();
        let before = contents(&mut client);
        for (command, _) in commands(id) {
            if command.starts_with("import") {
                let outcome = format!("SELECT outcome FROM customers.{command}");
                assert_eq!(one::<String>(&mut client, &outcome, &[]), "refused");
            } else {
                let refused = client.query(&format!("SELECT customers.{command}::text"), &[]);
                let error = refusal(refused);
                assert_eq!(error.code().code(), "55000", "{command}: {error:?}");
                assert!(error.hint().is_some_and(|hint| hint.contains("trigger")), "{error:?}");
            }
        }
        assert_eq!(contents(&mut client), before);
        client.batch_execute(&format!("DROP TRIGGER {name} ON customers.customers")).unwrap();
    }
}

#[test]
fn the_reason_stays_with_its_customer() {
    let mut client = database().connect();
    let (ann, bea) = (register_ann(&mut client).id, register_ann(&mut client).id);
    for (inner, reason) in [
        ("UPDATE customers.customers SET status = NEW.status WHERE customer_id = '{bea}'", None),
        ("PERFORM customers.set_status('{bea}', NEW.status)", None),
        (
            "PERFORM customers.set_status('{bea}', NEW.status, 'as her partner')",
            Some("as her partner"),
        ),
    ] {
        for when in ["BEFORE", "AFTER"] {
            let inner = inner.replace("{bea}", &bea.to_string());
            client
                .batch_execute(&format!(
                    "CREATE OR REPLACE FUNCTION public.partner() RETURNS trigger LANGUAGE plpgsql AS
                     $$ BEGIN {inner}; RETURN NEW; END $$;
                     CREATE OR REPLACE TRIGGER partner {when} UPDATE ON customers.customers
                         FOR EACH ROW WHEN (NEW.customer_id = '{ann}') EXECUTE FUNCTION public.partner()"
                ))
                .unwrap();
            let status =
                if stored(&mut client, ann).status == "ACTIVE" { "SUSPENDED" } else { "ACTIVE" };
            let params: Params = &[&ann, &status];
            call(&mut client, "set_status($1, $2, 'chargeback')", params).unwrap();
            let last =
                "SELECT reason FROM customers.customer_history($1) ORDER BY version DESC LIMIT 1";
            let mut told = |id: Uuid| one::<Option<String>>(&mut client, last, &[&id]);
            assert_eq!(told(ann).as_deref(), Some("chargeback"), "{when} {inner}");
            assert_eq!(told(bea).as_deref(), reason, "{when} {inner}");
        }
    }
    let both = event_count(&mut client);
    assert_eq!(both, stored(&mut client, ann).version + stored(&mut client, bea).version);
}

#[test]
fn a_partitioned_table_of_customers_crashes_nothing() {
    let database = server().empty_database("");
    let mut client = database.connect();
    client
        .batch_execute(
            "CREATE SCHEMA customers;
             CREATE TABLE customers.customers (
                 customer_id uuid PRIMARY KEY, email text, name text, status text, registered_at timestamptz,
                 updated_at timestamptz, version bigint) PARTITION BY HASH (customer_id);
             CREATE TABLE customers.part PARTITION OF customers.customers FOR VALUES WITH (MODULUS 1, REMAINDER 0);
             INSERT INTO customers.customers VALUES ('00000000-0000-4000-8000-000000000001', 'a@example.com',
                                                     NULL, 'ACTIVE', now(), now(), 1);
             CREATE EXTENSION customer_db",
        )
        .unwrap();
    let get = "SELECT count(*) FROM customers.get_customer('00000000-0000-4000-8000-000000000001')";
    assert_eq!(one::<i64>(&mut client, get, &[]), 1);
    assert_refused(client.batch_execute("SELECT customers.attach()"), "55000", &[]);
}

#[test]
fn a_trigger_function_that_is_fired_otherwise_refuses() {
    let mut client = database().connect();
    for trigger in [
        "BEFORE INSERT ON mine FOR EACH STATEMENT EXECUTE FUNCTION customers.guard()",
        "AFTER INSERT ON mine FOR EACH ROW EXECUTE FUNCTION customers.guard()",
        "BEFORE INSERT ON mine FOR EACH ROW EXECUTE FUNCTION customers.record_registered()",
        "AFTER INSERT ON mine FOR EACH STATEMENT EXECUTE FUNCTION customers.record_updated()",
        "BEFORE INSERT ON mine FOR EACH ROW EXECUTE FUNCTION customers.refuse_removal()",
    ] {
        let refused = client.batch_execute(&format!(
            "CREATE TEMP TABLE mine (LIKE customers.customers INCLUDING DEFAULTS);
             CREATE TRIGGER one {trigger};
             INSERT INTO mine (email) VALUES ('a@example.com')"
        ));
        assert_refused(refused, "39P01", &["a@example.com"]);
    }
}

#[test]
fn moments_that_would_be_rounded_are_not_adopted() {
    let table =
        customers_with("").replace("registered_at timestamptz", "registered_at timestamptz(0)");
    assert!(table.contains("(0)"), "{table}");
    let mut client = attachable(&table);
    assert_refused(client.batch_execute("SELECT customers.attach()"), "55000", &[]);
}

#[test]
fn a_sequence_that_repeats_positions_is_refused() {
    let mut client = database().connect();
    registered(&mut client);
    let before = contents(&mut client);
    client
        .batch_execute(
            "ALTER SEQUENCE customers.events_position_seq MAXVALUE 12 CYCLE;
             SELECT setval('customers.events_position_seq', 12)",
        )
        .unwrap();
    let refused = call(&mut client, "register_customer($1)", &[&address()]);
    assert_refused(refused, "55000", &[]);
    assert_eq!(contents(&mut client), before);
}

/// A sequence's page is read and written without PostgreSQL's checks, so nothing else may stand in its place.
#[test]
fn what_is_no_sequence_is_not_read_as_one() {
    let fragile = Fragile::start();
    for sequence in ["feed_read_seq", "events_position_seq"] {
        for replacement in [
            "TABLE customers.{} (x boolean); INSERT INTO customers.{} VALUES (true)",
            "VIEW customers.{} AS SELECT true AS x",
        ] {
            let database = fragile.seeded();
            let mut client = database.connect();
            let calls = all_calls(&mut client);
            let replacement = replacement.replace("{}", sequence);
            client
                .batch_execute(&format!(
                    "ALTER SEQUENCE customers.{sequence} RENAME TO kept; CREATE {replacement}"
                ))
                .unwrap();
            for call in &calls {
                if let Some(error) = attempt(&mut client, call) {
                    assert_clean(&error, &format!("{replacement}; {call}"));
                }
            }
            let read = client.query("SELECT customers.feed_position()", &[]);
            assert_refused(read, "55000", &[]);
        }
    }
    fragile.assert_stayed_up();
}
