//! Promise: canonical_email() and canonical_name() return the form that the tables hold, for readers and
//! writers, and may be used in any expression.

use crate::kit::{
    all, assert_refused, call, caller, database, one, project, refusal, role, server, skipped,
};
use postgres::Client;
use serde_json::Value;

fn email(client: &mut Client, given: &str) -> Option<String> {
    one(client, "SELECT customers.canonical_email($1)", &[&given])
}

fn name(client: &mut Client, given: &str) -> Option<String> {
    one(client, "SELECT customers.canonical_name($1)", &[&given])
}

#[test]
fn they_give_what_is_stored() {
    let mut client = database().connect();
    for (address, called) in [
        (" ANN@Example.COM\t", "  Ann  "),
        ("Zo\u{308}e@B\u{fc}cher.example", "Zo\u{308}e"),
        ("first.last+tag@EXAMPLE.co.uk", "\u{a0}D'Arcy \u{a0}"),
    ] {
        let stored = call(&mut client, "register_customer($1, $2)", &[&address, &called]).unwrap();
        assert_eq!(email(&mut client, address), Some(stored.email.clone()));
        assert_eq!(name(&mut client, called), stored.name);
        assert_eq!(email(&mut client, &stored.email), Some(stored.email), "twice is once");
    }
    assert_eq!(email(&mut client, " ANN@Example.COM").as_deref(), Some("ann@example.com"));
    assert_eq!(name(&mut client, " Ann ").as_deref(), Some("Ann"));
    let named = "SELECT customers.canonical_email(email => 'A@example.com')
                        || customers.canonical_name(name => ' A ')";
    assert_eq!(one::<String>(&mut client, named, &[]), "a@example.comA");
}

#[test]
fn null_gives_null() {
    let mut client = database().connect();
    let both =
        "SELECT customers.canonical_email(NULL) IS NULL AND customers.canonical_name(NULL) IS NULL";
    assert!(one::<bool>(&mut client, both, &[]));
}

#[test]
fn what_breaks_its_rule_is_refused_without_being_told() {
    let mut client = database().connect();
    for bad in ["", "zyxw", "zyxw@localhost", "zyxw@@example.com", "zy\u{200b}xw@example.com"] {
        let result = client.query("SELECT customers.canonical_email($1)", &[&bad]);
        assert_refused(result, "22023", &["zyxw", "zy\u{200b}"]);
    }
    for bad in ["", "  ", "zyxw\u{202e}", "zyxw\nzyxw", &"zyxw ".repeat(41)] {
        let result = client.query("SELECT customers.canonical_name($1)", &[&bad]);
        assert_refused(result, "22023", &["zyxw"]);
    }
    let literal = refusal(client.batch_execute("SELECT customers.canonical_email('zyxw')"));
    assert!(!format!("{literal:?}").contains("zyxw"), "{literal:?}");
}

#[test]
fn they_are_immutable_and_run_with_their_callers_rights() {
    let mut client = database().connect();
    let traits: Vec<String> = all(
        &mut client,
        "SELECT concat_ws(' ', proname, provolatile, prosecdef) FROM pg_proc
          WHERE pronamespace = 'customers'::regnamespace AND proname LIKE 'canonical%' ORDER BY 1",
        &[],
    );
    assert_eq!(traits, ["canonical_email i f", "canonical_name i f"]);
}

#[test]
fn readers_and_writers_may_call_them_and_nobody_else() {
    const CALL: &str =
        "SELECT customers.canonical_email(' A@example.com') || customers.canonical_name(' A')";
    let database = database();
    let mut owner = database.connect();
    for duty in ["writer", "reader"] {
        let role = role(&mut owner, "");
        let grant = format!("SELECT customers.grant_access('{role}', '{duty}')");
        owner.batch_execute(&grant).unwrap();
        let mut client = database.connect_as(&role);
        assert_eq!(one::<String>(&mut client, CALL, &[]), "a@example.comA", "{duty}");
        owner.batch_execute(&grant.replace("grant_", "revoke_")).unwrap();
        assert_eq!(refusal(client.batch_execute(CALL)).code().code(), "42501", "{duty}");
    }
    for duty in ["support", "consumer", "auditor", "privacy", "operator"] {
        let role = role(&mut owner, "");
        let grant = format!("SELECT customers.grant_access('{role}', '{duty}')");
        owner.batch_execute(&grant).unwrap();
        let error = refusal(database.connect_as(&role).batch_execute(CALL));
        assert_eq!(error.code().code(), "42501", "{duty}");
    }
    // They read no table.
    let caller = caller(&mut owner);
    assert_eq!(one::<String>(&mut database.connect_as(&caller), CALL, &[]), "a@example.comA");
}

#[test]
fn a_look_up_by_canonical_email_takes_the_index() {
    let mut client = database().connect();
    call(&mut client, "register_customer('ann@example.com', 'Ann')", &[]).unwrap();
    let look_up = "SELECT name FROM customers.customers
                    WHERE email = customers.canonical_email(' ANN@example.com')";
    assert_eq!(one::<String>(&mut client, look_up, &[]), "Ann");
    client.batch_execute("SET enable_seqscan = off").unwrap();
    let plan: Vec<String> = all(&mut client, &format!("EXPLAIN (COSTS off) {look_up}"), &[]);
    assert!(plan[0].contains("Index Scan using customers_email_key"), "{plan:?}");
}

#[test]
fn they_can_stand_in_an_index_and_in_a_generated_column() {
    let mut client = database().connect();
    client
        .batch_execute(
            "CREATE TABLE public.leads (
                 given text,
                 email text GENERATED ALWAYS AS (customers.canonical_email(given)) STORED,
                 name text);
             CREATE UNIQUE INDEX ON public.leads (customers.canonical_email(given), customers.canonical_name(name));
             INSERT INTO public.leads VALUES (' ANN@example.com ', DEFAULT, 'Ann')",
        )
        .unwrap();
    let stored: String = one(&mut client, "SELECT email FROM public.leads", &[]);
    assert_eq!(stored, "ann@example.com");
    let again = "INSERT INTO public.leads VALUES ('Ann@EXAMPLE.com', DEFAULT, ' Ann ')";
    assert_eq!(refusal(client.batch_execute(again)).code().code(), "23505");
}

#[test]
fn rows_that_break_the_rules_can_be_mended_in_sql() {
    let mut client = server().empty_database("").connect();
    client
        .batch_execute(
            "CREATE SCHEMA customers;
             CREATE TABLE customers.customers (
                 customer_id uuid PRIMARY KEY DEFAULT gen_random_uuid(), email text NOT NULL UNIQUE, name text,
                 status text NOT NULL DEFAULT 'ACTIVE', registered_at timestamptz NOT NULL DEFAULT now(),
                 updated_at timestamptz NOT NULL DEFAULT now());
             INSERT INTO customers.customers (email, name) VALUES (' Ann@Example.com', ' Ann '), ('bea@example.com', NULL);
             CREATE EXTENSION customer_db",
        )
        .unwrap();
    assert_refused(client.batch_execute("SELECT customers.attach()"), "55000", &["ann@"]);
    client
        .batch_execute(
            "UPDATE customers.customers
                SET email = customers.canonical_email(email), name = customers.canonical_name(name);
             SELECT customers.attach()",
        )
        .unwrap();
    let found = "SELECT name FROM customers.find_customer('ann@example.com')";
    assert_eq!(one::<String>(&mut client, found, &[]), "Ann");
}

/// Compares every case of other projects' test suites with the contract, in one query.
fn hold(file: &str, function: &str) {
    let path = project().join("../shared/cases").join(file);
    let Ok(text) = std::fs::read_to_string(&path) else {
        skipped(&format!("{} is not there", path.display()));
        return;
    };
    let cases: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // PostgreSQL's text cannot hold U+0000.
    let cases: Vec<&Value> =
        cases.iter().filter(|case| !case["input"].as_str().unwrap().contains('\0')).collect();
    assert!(cases.len() > 5_000, "{file} has only {} cases", cases.len());
    let mut client = database().connect();
    client
        .batch_execute(&format!(
            "CREATE FUNCTION pg_temp.verdict(given text) RETURNS text LANGUAGE plpgsql AS
             $$ BEGIN
                 RETURN customers.{function}(given);
             EXCEPTION WHEN invalid_parameter_value THEN
                 RETURN NULL;
             END $$"
        ))
        .unwrap();
    let inputs: Vec<&str> = cases.iter().map(|case| case["input"].as_str().unwrap()).collect();
    let rows = client.query(
        "SELECT verdict, pg_temp.verdict(verdict) IS NOT DISTINCT FROM verdict
           FROM unnest($1::text[]) WITH ORDINALITY AS c (input, ordinal),
                LATERAL (SELECT pg_temp.verdict(input) AS verdict OFFSET 0) AS v
          ORDER BY ordinal",
        &[&inputs],
    );
    let rows = rows.unwrap_or_else(|error| panic!("{error:?}"));
    let wrong: Vec<String> = cases
        .iter()
        .zip(&rows)
        .filter_map(|(case, row)| {
            let (verdict, stable): (Option<&str>, bool) = (row.get(0), row.get(1));
            let expected = case["canonical"].as_str();
            let right = match (case["expect"].as_str().unwrap(), verdict) {
                ("accept", Some(verdict)) => expected == Some(verdict),
                ("refuse" | "either", None) => true,
                ("either", Some(verdict)) => expected.is_none_or(|expected| expected == verdict),
                _ => false,
            };
            (!right || !stable).then(|| format!("{verdict:?} <- {case}"))
        })
        .collect();
    assert_eq!(rows.len(), cases.len());
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn every_address_of_other_projects_suites_gets_its_canonical_form() {
    hold("email.jsonl", "canonical_email");
}

#[test]
fn every_name_of_other_projects_suites_gets_its_canonical_form() {
    hold("name.jsonl", "canonical_name");
}
