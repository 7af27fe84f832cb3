//! Promise: functions access the tables with the rights of the tables' owner, which may be the owner of the
//! database and need not be a superuser.

use crate::kit::{
    Database, address, assert_refused, caller, contents, database, id, one, refusal, registered,
    role, server, succeed,
};
use postgres::Client;
use uuid::Uuid;

/// Gives the database, the schema and the tables to a role that is no superuser.
fn hand_over(database: &Database, owner: &str) {
    database
        .connect()
        .batch_execute(&format!(
            "ALTER DATABASE {} OWNER TO {owner};
             ALTER SCHEMA customers OWNER TO {owner};
             DO $$
             DECLARE
                 name regclass;
             BEGIN
                 -- A sequence of a column goes with its table.
                 FOR name IN
                     SELECT oid FROM pg_class
                      WHERE relnamespace = 'customers'::regnamespace AND relkind IN ('r', 'v', 'S')
                      ORDER BY relkind = 'S'
                 LOOP
                     IF (SELECT relowner <> '{owner}'::regrole FROM pg_class WHERE oid = name) THEN
                         EXECUTE format('ALTER TABLE %s OWNER TO {owner}', name);
                     END IF;
                 END LOOP;
             END $$",
            database.name
        ))
        .unwrap();
}

/// A database whose tables belong to a role that is no superuser, and that role.
fn handed_over() -> (Database<'static>, String) {
    let database = database();
    let owner = role(&mut database.connect(), "");
    hand_over(&database, &owner);
    (database, owner)
}

/// Adds a trigger, a default, a CHECK and an index expression, each of which records its kind and the role
/// it runs as.
fn watch(database: &Database, owner: &str) {
    database
        .connect()
        .batch_execute(&format!(
            "CREATE SCHEMA owned AUTHORIZATION {owner};
             GRANT USAGE ON SCHEMA owned TO PUBLIC;
             SET ROLE {owner};
             CREATE TABLE owned.seen (what text, by text);
             GRANT ALL ON owned.seen TO PUBLIC;
             CREATE FUNCTION owned.note(what text) RETURNS text LANGUAGE plpgsql AS
             $$ BEGIN INSERT INTO owned.seen VALUES (what, current_user); RETURN what; END $$;
             CREATE FUNCTION owned.key(value text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS
             $$ BEGIN PERFORM owned.note('index'); RETURN value; END $$;
             CREATE FUNCTION owned.watch() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN
                 PERFORM owned.note(TG_OP || '-' || TG_TABLE_NAME);
                 IF TG_OP = 'DELETE' THEN RETURN OLD; ELSE RETURN NEW; END IF;
             END $$;
             ALTER TABLE customers.customers ADD COLUMN noted text DEFAULT owned.note('default'),
                 ADD CONSTRAINT noted CHECK (owned.note('check') IS NOT NULL) NOT VALID;
             CREATE INDEX noted ON customers.customers (owned.key(name));
             CREATE TRIGGER a_watch BEFORE INSERT OR UPDATE OR DELETE ON customers.customers
                 FOR EACH ROW EXECUTE FUNCTION owned.watch();
             CREATE TRIGGER a_watch BEFORE INSERT OR UPDATE OR DELETE ON customers.events
                 FOR EACH ROW EXECUTE FUNCTION owned.watch();
             CREATE TRIGGER a_watch BEFORE INSERT OR UPDATE OR DELETE ON customers.consumers
                 FOR EACH ROW EXECUTE FUNCTION owned.watch();
             CREATE TRIGGER a_watch BEFORE INSERT OR UPDATE OR DELETE ON customers.erasures
                 FOR EACH ROW EXECUTE FUNCTION owned.watch()"
        ))
        .unwrap();
}

/// What the owner's code has noted, and as whom.
const SEEN: &str =
    "SELECT coalesce(string_agg(replace(what, ' ', '_') || '=' || by, ' '), '') FROM owned.seen";

/// Calls a function, and asserts that the code listed in `noted` ran, with the owner's rights only.
fn assert_runs_as(client: &mut Client, owner: &str, call: &str, noted: &[&str]) {
    client.batch_execute("DELETE FROM owned.seen").unwrap();
    client
        .batch_execute(&format!("SELECT * FROM customers.{call}"))
        .unwrap_or_else(|error| panic!("{call}: {error:?}"));
    let seen: String = one(client, SEEN, &[]);
    for what in noted {
        assert!(seen.contains(&format!("{what}=")), "{call} without {what}: {seen}");
    }
    for each in seen.split_whitespace() {
        assert!(each.ends_with(&format!("={owner}")), "{call}: {each} is not of {owner}");
    }
}

#[test]
fn every_function_has_the_owners_code_run_with_the_owners_rights() {
    let (database, owner) = handed_over();
    watch(&database, &owner);
    let mut superuser = database.connect();
    let application = caller(&mut superuser);
    let mut clients = [database.connect_as(&application), superuser];
    for client in &mut clients {
        let (ann, email) = (id(), address());
        let import = |customer: serde_json::Value| {
            format!("import_customers('{}')", serde_json::json!([customer]))
        };
        let insert = ["INSERT-customers", "INSERT-events", "default", "check", "index"];
        let update = ["UPDATE-customers", "INSERT-events", "check"];
        for (call, noted) in [
            (format!("register_customer('{email}', 'Ann', '{ann}')"), &insert[..]),
            // Once more, with the session's caches filled.
            (format!("register_customer('{}', 'Bea')", address()), &insert),
            (import(serde_json::json!({"email": address(), "name": "Bea"})), &insert),
            (
                import(
                    serde_json::json!({"email": address(), "name": "Bea", "customerId": id().to_string()}),
                ),
                &insert,
            ),
            (format!("update_customer('{ann}', name => 'Anna')"), &update),
            (format!("update_customer('{ann}', '{}')", address()), &update),
            (format!("patch_customer('{ann}', '{{\"name\": null}}')"), &update),
            (format!("set_status('{ann}', 'SUSPENDED', 'a reason')"), &update),
            ("subscribe('watched')".to_owned(), &["INSERT-consumers"]),
            ("fetch_events('watched')".to_owned(), &[]),
            ("acknowledge('watched', 1)".to_owned(), &["UPDATE-consumers"]),
            (
                format!("erase_customer('{ann}')"),
                &["UPDATE-customers", "UPDATE-events", "INSERT-events", "INSERT-erasures"],
            ),
            ("reapply_erasures()".to_owned(), &[]),
            (format!("export_customer('{ann}')"), &[]),
            (format!("customer_history('{ann}')"), &[]),
            ("unsubscribe('watched')".to_owned(), &["DELETE-consumers"]),
        ] {
            assert_runs_as(client, &owner, &call, noted);
        }
    }
    for client in &mut clients {
        for _ in 0..3 {
            registered(client);
        }
        assert_runs_as(client, &owner, "prune_events('0 days')", &["DELETE-events"]);
    }
}

/// The events of a plain statement are written with the owner's rights; the statement itself runs with the
/// writer's.
#[test]
fn a_plain_statement_has_no_code_of_the_owners_run_as_a_superuser() {
    let (database, owner) = handed_over();
    watch(&database, &owner);
    let mut superuser = database.connect();
    let writer = role(&mut superuser, "");
    superuser
        .batch_execute(&format!(
            "GRANT USAGE ON SCHEMA customers TO {writer};
             GRANT SELECT, INSERT, UPDATE ON customers.customers TO {writer}"
        ))
        .unwrap();
    for role in [&writer, &owner] {
        let mut client = database.connect_as(role);
        for statement in [
            format!(
                "INSERT INTO customers.customers (email, name) VALUES ('{}', 'Ann')",
                address()
            ),
            "UPDATE customers.customers SET name = name || 'a'".to_owned(),
        ] {
            client.batch_execute("DELETE FROM owned.seen").unwrap();
            client.batch_execute(&statement).unwrap_or_else(|error| panic!("{error:?}"));
            let seen: String = one(&mut client, SEEN, &[]);
            assert!(seen.contains("INSERT-events="), "{statement}: {seen}");
            for each in seen.split_whitespace() {
                let by = each.split_once('=').unwrap().1;
                assert!(by == owner || by == writer, "{statement}: {each}");
            }
        }
    }
}

#[test]
fn the_owners_code_has_no_way_to_the_rights_of_a_superuser() {
    let (database, owner) = handed_over();
    watch(&database, &owner);
    let mut client = database.connect();
    client
        .batch_execute(&format!(
            "SET ROLE {owner};
             CREATE FUNCTION owned.escape() RETURNS trigger LANGUAGE plpgsql AS
             $$
             DECLARE
                 attempt text;
             BEGIN
                 FOREACH attempt IN ARRAY ARRAY[
                     'SET ROLE postgres', 'SET LOCAL ROLE postgres', 'SET ROLE NONE', 'RESET ROLE',
                     'SET SESSION AUTHORIZATION postgres', 'RESET SESSION AUTHORIZATION', 'SET SESSION AUTHORIZATION DEFAULT',
                     'SELECT set_config(''role'', ''postgres'', true)',
                     'ALTER ROLE {owner} SUPERUSER', 'SELECT FROM pg_authid', 'COPY (SELECT 1) TO PROGRAM ''true''']
                 LOOP
                     BEGIN
                         EXECUTE attempt;
                         INSERT INTO owned.seen VALUES ('escaped by ' || attempt, 'nobody');
                     EXCEPTION WHEN OTHERS THEN
                         NULL;
                     END;
                     PERFORM owned.note('tried');
                 END LOOP;
                 RETURN NEW;
             END $$;
             CREATE TRIGGER a_way_out BEFORE INSERT OR UPDATE ON customers.customers
                 FOR EACH ROW EXECUTE FUNCTION owned.escape();
             CREATE TRIGGER a_way_out BEFORE INSERT OR UPDATE ON customers.events
                 FOR EACH ROW EXECUTE FUNCTION owned.escape();
             RESET ROLE"
        ))
        .unwrap();
    let ann = id();
    for call in [
        format!("register_customer('{}', 'Ann', '{ann}')", address()),
        format!("import_customers('[{{\"email\": \"{}\"}}]')", address()),
        format!("update_customer('{ann}', name => 'Anna')"),
        format!("set_status('{ann}', 'CLOSED')"),
        format!("erase_customer('{ann}')"),
    ] {
        assert_runs_as(&mut client, &owner, &call, &["tried"]);
        assert_eq!(one::<String>(&mut client, "SELECT current_user::text", &[]), "postgres");
    }
}

#[test]
fn after_an_error_of_the_owners_code_the_caller_is_who_he_was() {
    let (database, owner) = handed_over();
    let mut client = database.connect();
    let ann = registered(&mut client);
    client
        .batch_execute(&format!(
            "SET ROLE {owner};
             CREATE FUNCTION customers.never() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN RAISE EXCEPTION ''never''; END';
             CREATE TRIGGER a_never BEFORE INSERT OR UPDATE ON customers.customers
                 FOR EACH ROW EXECUTE FUNCTION customers.never();
             RESET ROLE"
        ))
        .unwrap();
    for call in [
        "register_customer('somebody@example.com')".to_owned(),
        format!("update_customer('{ann}', name => 'Anna')"),
        format!("erase_customer('{ann}')"),
    ] {
        // With the error caught, so that the transaction continues, and without.
        client
            .batch_execute(&format!(
                "DO $$
                 BEGIN
                     BEGIN
                         PERFORM customers.{call};
                     EXCEPTION WHEN OTHERS THEN
                         NULL;
                     END;
                     ASSERT current_user = 'postgres';
                     PERFORM FROM pg_authid;
                 END $$"
            ))
            .unwrap();
        assert!(client.batch_execute(&format!("SELECT customers.{call}")).is_err(), "{call}");
        assert_eq!(one::<String>(&mut client, "SELECT current_user::text", &[]), "postgres");
    }
}

/// Asserts that the rules are in force on tables of this owner, and that added code runs with the owner's rights.
fn assert_in_force(database: &Database, owner: &str) {
    watch(database, owner);
    let mut client = database.connect();
    let owned =
        "SELECT relowner::regrole::text FROM pg_class WHERE oid = 'customers.customers'::regclass";
    assert_eq!(one::<String>(&mut client, owned, &[]), owner);
    for register in 0..2 {
        let call = format!("register_customer('{}', 'Ann')", address());
        assert_runs_as(&mut client, owner, &call, &["INSERT-customers", "INSERT-events"]);
        let recorded = "SELECT count(*) FROM customers.events AS e JOIN customers.customers USING (customer_id)
                         WHERE customers.name = 'Ann' AND e.version = 1";
        assert!(one::<i64>(&mut client, recorded, &[]) > register);
    }
    assert_refused(client.batch_execute("DELETE FROM customers.customers"), "23514", &[]);
    assert_refused(client.batch_execute("DELETE FROM customers.events"), "23514", &[]);
    client.batch_execute("SELECT customers.attach()").expect("its owner is no stranger");
}

#[test]
fn a_table_of_the_databases_owner_is_adopted() {
    let mut admin = server().connect("postgres");
    let (owner, stranger) = (role(&mut admin, ""), role(&mut admin, ""));
    let database = server().empty_database(&format!("OWNER {owner}"));
    database
        .connect_as(&owner)
        .batch_execute(
            "CREATE SCHEMA customers;
             CREATE TABLE customers.customers (
                 customer_id   uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
                 email         text        NOT NULL UNIQUE,
                 name          text,
                 status        text        NOT NULL DEFAULT 'ACTIVE',
                 registered_at timestamptz NOT NULL DEFAULT now(),
                 updated_at    timestamptz NOT NULL DEFAULT now());
             INSERT INTO customers.customers (email) VALUES ('old@example.com')",
        )
        .unwrap();
    let mut client = database.connect();
    client.batch_execute("CREATE EXTENSION customer_db; SELECT customers.attach()").unwrap();
    let found = "SELECT version FROM customers.find_customer('OLD@example.com')";
    assert_eq!(one::<i64>(&mut client, found, &[]), 1);
    assert_in_force(&database, &owner);

    let give = format!("ALTER TABLE customers.customers OWNER TO {stranger}");
    client.batch_execute(&give).unwrap();
    assert_refused(client.batch_execute("SELECT customers.attach()"), "42501", &[]);
}

#[test]
fn what_belongs_to_neither_is_refused_where_the_databases_owner_is_no_superuser() {
    let mut admin = server().connect("postgres");
    let (owner, stranger) = (role(&mut admin, ""), role(&mut admin, ""));
    let database = server().empty_database(&format!("OWNER {owner}"));
    let mut client = database.connect();
    client.batch_execute(&format!("CREATE SCHEMA customers AUTHORIZATION {stranger}")).unwrap();
    assert_refused(client.batch_execute("CREATE EXTENSION customer_db"), "42501", &[]);
    client.batch_execute(&format!("ALTER SCHEMA customers OWNER TO {owner}")).unwrap();
    client.batch_execute("CREATE EXTENSION customer_db; SELECT customers.attach()").unwrap();
}

#[test]
fn the_backup_of_a_database_whose_owner_is_no_superuser_restores() {
    let (original, owner) = handed_over();
    let mut client = original.connect();
    let ann = registered(&mut client);
    let close = "SELECT customers.set_status($1, 'CLOSED')::text";
    one::<String>(&mut client, close, &[&ann]);
    let before = contents(&mut client);
    let options = format!("OWNER {owner} TEMPLATE template0");

    let copy = server().empty_database(&options);
    let dump = original.dump(&["--format=custom"]);
    succeed(copy.program("pg_restore").arg("--exit-on-error").arg(dump));
    assert_eq!(contents(&mut copy.connect()), before);
    assert_in_force(&copy, &owner);

    let copy = server().empty_database(&options);
    let dump = original.dump(&[]);
    let psql = ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--single-transaction"];
    succeed(copy.program("psql").args(psql).arg("--file").arg(dump));
    assert_eq!(contents(&mut copy.connect()), before);
    assert_in_force(&copy, &owner);
}

#[test]
fn who_owns_the_tables_cannot_attach_or_grant() {
    let (database, owner) = handed_over();
    let mut client = database.connect_as(&owner);
    for call in ["attach()", "grant_access('pg_monitor', 'reader')"] {
        let error = refusal(client.batch_execute(&format!("SELECT customers.{call}")));
        assert_eq!(error.code().code(), "42501", "{call}");
    }
    let nobody = Uuid::nil();
    let erase = client.query("SELECT customers.erase_customer($1)::text", &[&nobody]);
    assert_eq!(refusal(erase).code().code(), "42501", "a function is its owner's to give");
}

/// What the owner's code leaves behind would be run, or used, by the superuser who has called.
#[test]
fn the_owners_code_leaves_nothing_behind_in_a_superusers_session() {
    for left in [
        "DECLARE left_behind CURSOR WITH HOLD FOR SELECT owned.note(''cursor'')",
        "CREATE TEMP TABLE left_behind ()",
    ] {
        let (database, owner) = handed_over();
        watch(&database, &owner);
        let mut client = database.connect();
        client
            .batch_execute(&format!(
                "SET ROLE {owner};
                 CREATE FUNCTION owned.leave() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN EXECUTE '{left}'; RETURN NEW; END $$;
                 CREATE TRIGGER a_leave BEFORE INSERT ON customers.customers
                     FOR EACH ROW EXECUTE FUNCTION owned.leave();
                 RESET ROLE"
            ))
            .unwrap();
        let call = format!("SELECT customers.register_customer('{}')", address());
        assert_eq!(refusal(client.batch_execute(&call)).code().code(), "42501", "{left}");
    }
}

#[test]
fn a_deferred_trigger_of_the_owners_does_not_run_as_a_superuser() {
    let (database, owner) = handed_over();
    watch(&database, &owner);
    let mut client = database.connect();
    client
        .batch_execute(&format!(
            "SET ROLE {owner};
             CREATE CONSTRAINT TRIGGER deferred AFTER INSERT ON customers.customers
                 DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION owned.watch();
             RESET ROLE"
        ))
        .unwrap();
    let call = format!("SELECT customers.register_customer('{}')", address());
    assert_eq!(refusal(client.batch_execute(&call)).code().code(), "42501");
    // For whoever is none it fires as ever.
    let application = caller(&mut client);
    registered(&mut database.connect_as(&application));
}

#[test]
fn settings_of_the_owners_code_do_not_outlast_a_superusers_call() {
    let (database, owner) = handed_over();
    watch(&database, &owner);
    let mut client = database.connect();
    client
        .batch_execute(&format!(
            "SET ROLE {owner};
             CREATE FUNCTION owned.set() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN PERFORM set_config('search_path', 'owned, pg_catalog', false); RETURN NEW; END $$;
             CREATE TRIGGER a_set BEFORE INSERT ON customers.customers
                 FOR EACH ROW EXECUTE FUNCTION owned.set();
             RESET ROLE"
        ))
        .unwrap();
    let path = "SELECT current_setting('search_path')";
    let before: String = one(&mut client, path, &[]);
    registered(&mut client);
    assert_eq!(one::<String>(&mut client, path, &[]), before);
}

#[test]
fn attaching_evaluates_the_owners_checks_with_the_owners_rights() {
    let database = server().empty_database("");
    let mut client = database.connect();
    let owner = role(&mut client, "");
    client
        .batch_execute(&format!(
            "ALTER DATABASE {} OWNER TO {owner};
             SET ROLE {owner};
             CREATE SCHEMA customers;
             CREATE TABLE public.seen (what text, by text);
             GRANT ALL ON public.seen TO PUBLIC;
             CREATE FUNCTION public.note(what text) RETURNS bool LANGUAGE plpgsql AS
             $$ BEGIN INSERT INTO public.seen VALUES (what, current_user); RETURN true; END $$;
             CREATE TABLE customers.customers (
                 customer_id uuid PRIMARY KEY, email text NOT NULL UNIQUE CHECK (public.note(email)), name text,
                 status text, registered_at timestamptz, updated_at timestamptz);
             INSERT INTO customers.customers
             VALUES (gen_random_uuid(), 'ann@example.com', NULL, 'ACTIVE', now(), now());
             RESET ROLE;
             TRUNCATE public.seen;
             CREATE EXTENSION customer_db;
             SELECT customers.attach()",
            database.name
        ))
        .unwrap();
    let others = "SELECT count(*) FROM public.seen WHERE by <> $1";
    assert!(one::<i64>(&mut client, "SELECT count(*) FROM public.seen", &[]) > 0);
    assert_eq!(one::<i64>(&mut client, others, &[&owner]), 0);
}
