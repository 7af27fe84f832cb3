//! A call of every function in the schema, made from what the catalogue says about it.

use super::{Database, database, refusal, register_ann};
use postgres::error::DbError;
use postgres::{Client, GenericClient};

/// A value for an argument, in SQL.
fn argument(name: &str, r#type: &str) -> &'static str {
    match name {
        "customer_id" => "(SELECT id FROM public.known)",
        "email" => "'somebody@example.com'",
        "name" => "'Ann'",
        "status" => "'SUSPENDED'",
        "reason" => "'a reason'",
        "patch" => "'{\"name\": \"Bea\"}'",
        "customers" => "'[{\"email\": \"somebody@example.com\"}]'",
        "expected_version" => "1",
        "after" if r#type == "bigint" => "0",
        "after" => "NULL",
        "page_size" | "batch_size" => "10",
        "prefix" => "'person'",
        "position" => "0",
        "consumer" => "'mailer'",
        "older_than" => "'0 days'",
        "role" => "'pg_monitor'",
        "duty" => "'writer'",
        other => panic!("what would a caller give for {other}?"),
    }
}

/// A call of each function, with values for all arguments.
pub fn calls(client: &mut Client) -> Vec<(String, String)> {
    let query = "SELECT proname::text, coalesce(proargnames[:pronargs], '{}'),
                        string_to_array(oidvectortypes(proargtypes), ', ')
                   FROM pg_proc WHERE pronamespace = 'customers'::regnamespace";
    let rows = client.query(query, &[]).unwrap();
    let call = |row: &postgres::Row| {
        let (function, names, types): (String, Vec<String>, Vec<String>) =
            (row.get(0), row.get(1), row.get(2));
        let values: Vec<&str> =
            names.iter().zip(&types).map(|(name, r#type)| argument(name, r#type)).collect();
        let call = format!("SELECT customers.{function}({})", values.join(", "));
        (function, call)
    };
    rows.iter().map(call).collect()
}

/// Runs a statement, undoes it, and gives the error that it ended with.
pub fn attempt(client: &mut impl GenericClient, statement: &str) -> Option<DbError> {
    let mut transaction = client.transaction().unwrap();
    let result = transaction.execute(statement, &[]);
    result.err().map(|error| refusal::<()>(Err(error)))
}

/// How a statement ends, which is then undone: its SQLSTATE, "00000" where it succeeds.
pub fn outcome(client: &mut impl GenericClient, statement: &str) -> String {
    let error = attempt(client, statement);
    error.map_or("00000".to_owned(), |error| error.code().code().to_owned())
}

/// Gives a database what calls are about: a customer, whom `known` names to everybody, and a consumer.
pub fn inhabit(owner: &mut Client) {
    let id = register_ann(owner).id;
    owner
        .batch_execute(&format!(
            "SELECT customers.subscribe('mailer');
             CREATE VIEW public.known AS SELECT '{id}'::uuid AS id;
             GRANT SELECT ON public.known TO PUBLIC"
        ))
        .unwrap();
}

/// A new database in the shared cluster that calls can be made in.
pub fn inhabited() -> Database<'static> {
    let database = database();
    inhabit(&mut database.connect());
    database
}
