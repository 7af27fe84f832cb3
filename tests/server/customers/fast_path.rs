//! Promise: register_customer takes the fast path only where the result is the same. What the table's owner
//! has added takes part as in any INSERT.

use crate::kit::{
    Customer, Database, address, all, call, database, one, refusal, registered, role, stored,
};
use postgres::Client;

const REGISTER: &str = "register_customer($1)";

/// A database with something added to its tables.
fn with_addition(addition: &str) -> Client {
    let mut client = database().connect();
    client.batch_execute(addition).unwrap();
    client
}

fn register(client: &mut Client) -> Customer {
    call(client, REGISTER, &[&address()]).unwrap()
}

/// A session that takes the fast path: its first registration runs an INSERT statement.
fn living(database: &Database) -> Client {
    let mut client = database.connect();
    for _ in 0..2 {
        register(&mut client);
    }
    client
}

/// The SQLSTATE and the constraint of the refusal.
fn refused(client: &mut Client, command: &str) -> (String, Option<String>) {
    let error = refusal(call(client, command, &[&address()]));
    (error.code().code().to_owned(), error.constraint().map(str::to_owned))
}

#[test]
fn it_writes_what_an_insert_writes() {
    let mut direct = database().connect();
    let mut by_sql = with_addition("ALTER TABLE customers.customers ADD COLUMN note text");
    let email = address();
    let told = [&mut direct, &mut by_sql].map(|client| {
        let customer = call(client, "register_customer($1, ' Zoe\u{308} ')", &[&email]).unwrap();
        assert_eq!(stored(client, customer.id), customer);
        assert_eq!(customer.registered_at, customer.updated_at);
        let event: String = one(
            client,
            "SELECT concat_ws(' ', position, type, version, occurred_at = $1, changes, recorded_by, actor, reason)
               FROM customers.events WHERE customer_id = $2",
            &[&customer.updated_at, &customer.id],
        );
        (customer.email, customer.name, customer.status, customer.version, event)
    });
    assert_eq!(told[0], told[1]);
}

#[test]
fn a_check_of_the_owners_under_the_name_of_ours_is_kept() {
    let mut client = with_addition(
        "ALTER TABLE customers.customers DROP CONSTRAINT customers_status_check,
             ADD CONSTRAINT customers_status_check CHECK (status IN ('SUSPENDED', 'CLOSED'))",
    );
    assert_eq!(
        refused(&mut client, REGISTER),
        ("23514".to_owned(), Some("customers_status_check".to_owned()))
    );
}

#[test]
fn a_session_notices_a_check_that_changes() {
    let mut client = database().connect();
    register(&mut client);
    client
        .batch_execute(
            "ALTER TABLE customers.customers DROP CONSTRAINT customers_status_check,
                 ADD CONSTRAINT customers_status_check CHECK (email NOT LIKE 'p%') NOT VALID",
        )
        .unwrap();
    assert_eq!(refused(&mut client, REGISTER).0, "23514");
}

#[test]
fn a_session_notices_what_another_adds_and_takes_away() {
    let database = database();
    let (mut living, mut owner) = (database.connect(), database.connect());
    owner
        .batch_execute(
            "CREATE TABLE public.nobody (email text COLLATE \"C\" PRIMARY KEY);
             CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN RAISE SQLSTATE ''AB123''; END'",
        )
        .unwrap();
    let trigger = |when, table, each| {
        let add = format!(
            "CREATE TRIGGER refuse {when} INSERT ON customers.{table} FOR EACH {each} EXECUTE FUNCTION refuse()"
        );
        (add, format!("DROP TRIGGER refuse ON customers.{table}"), "AB123")
    };
    let constraint = |check, sqlstate| {
        let alter = "ALTER TABLE customers.customers";
        let add = format!("{alter} ADD CONSTRAINT refuse {check} NOT VALID");
        (add, format!("{alter} DROP CONSTRAINT refuse"), sqlstate)
    };
    for (add, take_away, sqlstate) in [
        trigger("BEFORE", "customers", "ROW"),
        trigger("AFTER", "customers", "ROW"),
        trigger("BEFORE", "customers", "STATEMENT"),
        trigger("AFTER", "customers", "STATEMENT"),
        trigger("AFTER", "events", "ROW"),
        trigger("BEFORE", "events", "STATEMENT"),
        constraint("CHECK (email LIKE '% %')", "23514"),
        constraint("FOREIGN KEY (email) REFERENCES public.nobody", "23503"),
    ] {
        for _ in 0..2 {
            register(&mut living);
        }
        owner.batch_execute(&add).unwrap();
        assert_eq!(refused(&mut living, REGISTER).0, sqlstate, "{add}");
        owner.batch_execute(&take_away).unwrap();
    }
    register(&mut living);
}

/// The snapshot still shows the CHECK that was in force when it was taken.
#[test]
fn a_check_that_is_newer_than_the_snapshot_is_kept() {
    let database = database();
    let (mut living, mut owner) = (living(&database), database.connect());
    living.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").unwrap();
    owner
        .batch_execute(
            "ALTER TABLE customers.customers DROP CONSTRAINT customers_status_check,
                 ADD CONSTRAINT customers_status_check CHECK (email LIKE '% %') NOT VALID",
        )
        .unwrap();
    assert_eq!(refused(&mut living, REGISTER).0, "23514");
    living.batch_execute("ROLLBACK").unwrap();
    assert_eq!(refused(&mut living, REGISTER).0, "23514");
}

#[test]
fn a_session_notices_a_schema_that_is_renamed() {
    let database = database();
    let (mut living, mut owner) = (living(&database), database.connect());
    owner.batch_execute("ALTER SCHEMA customers RENAME TO elsewhere").unwrap();
    let there = format!("SELECT elsewhere.register_customer('{}')", address());
    assert_eq!(refusal(living.batch_execute(&there)).code().code(), "55000");
    owner.batch_execute("ALTER SCHEMA elsewhere RENAME TO customers").unwrap();
    register(&mut living);
}

#[test]
fn a_name_that_may_not_be_null_is_missed() {
    let mut client = with_addition("ALTER TABLE customers.customers ALTER name SET NOT NULL");
    assert_eq!(refused(&mut client, REGISTER).0, "23502");
    call(&mut client, "register_customer($1, 'Ann')", &[&address()]).unwrap();
}

#[test]
fn a_reason_that_may_not_be_null_is_missed() {
    let mut client = with_addition("ALTER TABLE customers.events ALTER reason SET NOT NULL");
    assert_eq!(refused(&mut client, REGISTER).0, "23502");
}

#[test]
fn a_unique_constraint_and_an_exclusion_of_the_owners_are_named() {
    for constraint in ["UNIQUE (name)", "EXCLUDE USING btree (name WITH =)"] {
        let mut client = with_addition(&format!(
            "ALTER TABLE customers.customers ADD CONSTRAINT one_of_a_name {constraint}"
        ));
        let command = "register_customer($1, 'Ann')";
        call(&mut client, command, &[&address()]).unwrap();
        let (sqlstate, name) = refused(&mut client, command);
        assert!(["23505", "23P01"].contains(&sqlstate.as_str()), "{constraint}: {sqlstate}");
        assert_eq!(name.as_deref(), Some("one_of_a_name"));
    }
}

#[test]
fn an_index_of_the_owners_knows_the_customer() {
    let mut client = with_addition(
        "CREATE INDEX ON customers.customers (lower(name)) WHERE status = 'ACTIVE';
         SET enable_seqscan = off",
    );
    let ann = call(&mut client, "register_customer($1, 'ANN')", &[&address()]).unwrap().id;
    let found = "SELECT customer_id FROM customers.customers WHERE lower(name) = 'ann' AND status = 'ACTIVE'";
    assert_eq!(all::<uuid::Uuid>(&mut client, found, &[]), [ann]);
}

#[test]
fn triggers_and_rules_of_the_owners_fire() {
    for addition in [
        "CREATE TRIGGER fire BEFORE INSERT ON customers.customers FOR EACH ROW EXECUTE FUNCTION public.fire()",
        "CREATE TRIGGER fire AFTER INSERT ON customers.customers FOR EACH ROW EXECUTE FUNCTION public.fire()",
        "CREATE TRIGGER fire BEFORE INSERT ON customers.customers FOR EACH STATEMENT EXECUTE FUNCTION public.fire()",
        "CREATE TRIGGER fire AFTER INSERT ON customers.customers REFERENCING NEW TABLE AS rows
             FOR EACH STATEMENT EXECUTE FUNCTION public.fire()",
        "CREATE RULE fire AS ON INSERT TO customers.customers DO ALSO INSERT INTO public.fired DEFAULT VALUES",
    ] {
        let mut client = with_addition(&format!(
            "CREATE TABLE public.fired (at timestamptz DEFAULT now());
             CREATE FUNCTION public.fire() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN INSERT INTO public.fired DEFAULT VALUES; RETURN NEW; END';
             {addition}"
        ));
        registered(&mut client);
        assert_eq!(
            one::<i64>(&mut client, "SELECT count(*) FROM public.fired", &[]),
            1,
            "{addition}"
        );
    }
}

#[test]
fn a_foreign_key_of_the_owners_is_checked() {
    let mut client = with_addition(
        "CREATE TABLE public.known (email text COLLATE \"C\" PRIMARY KEY);
         ALTER TABLE customers.customers ADD FOREIGN KEY (email) REFERENCES public.known",
    );
    assert_eq!(refused(&mut client, REGISTER).0, "23503");
}

#[test]
fn a_read_only_transaction_registers_nobody() {
    let mut client = database().connect();
    register(&mut client);
    client.batch_execute("SET default_transaction_read_only = on").unwrap();
    assert_eq!(refused(&mut client, REGISTER).0, "25006");
}

#[test]
fn where_the_owner_of_the_table_may_not_insert_nobody_is_registered() {
    let mut client = database().connect();
    let owner = role(&mut client, "");
    client
        .batch_execute(&format!(
            "GRANT USAGE ON SCHEMA customers TO {owner};
             ALTER TABLE customers.customers OWNER TO {owner};
             REVOKE INSERT ON customers.customers FROM {owner}"
        ))
        .unwrap();
    assert_eq!(refused(&mut client, REGISTER).0, "42501");
}

#[test]
fn what_follows_in_the_same_statement_sees_the_customer() {
    let mut client = database().connect();
    let email = address();
    let seen: i64 = one(
        &mut client,
        "SELECT version FROM customers.register_customer($1) AS new,
                LATERAL customers.update_customer(new.customer_id, name => 'Ann') AS changed (id, email, name, status, at, upto, now)
         WHERE changed.now = 2",
        &[&email],
    );
    assert_eq!(seen, 1);
    let again = refusal(call(&mut client, REGISTER, &[&email]));
    assert_eq!(again.code().code(), "23505");
}

#[test]
fn a_result_that_is_kept_outlives_the_table_that_its_name_came_from() {
    let mut client = database().connect();
    let name = "é".repeat(200);
    client
        .batch_execute(&format!(
            "CREATE TABLE source (email text, name text, padding text);
             ALTER TABLE source ALTER name SET STORAGE EXTERNAL, ALTER padding SET STORAGE PLAIN;
             INSERT INTO source VALUES ('{}', '{name}', repeat('x', 7900));
             CREATE TABLE kept AS
             SELECT customers.register_customer(email, name) AS customer FROM source;
             DROP TABLE source",
            address()
        ))
        .unwrap();
    assert_eq!(one::<String>(&mut client, "SELECT (customer).name FROM kept", &[]), name);
}

#[test]
fn a_customer_registered_within_a_statement_that_changes_others_may_be_changed() {
    let mut client = database().connect();
    register(&mut client);
    let nested = format!(
        "UPDATE customers.customers SET name = 'Anna'
         RETURNING (customers.set_status((customers.register_customer('{}')).customer_id, 'SUSPENDED')).version",
        address()
    );
    assert_eq!(one::<i64>(&mut client, &nested, &[]), 2);
}
