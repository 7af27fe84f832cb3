//! A call of every function in the schema, constructed from the catalogue.

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
        "up_to" => "0",
        "max_events" | "max_customers" => "NULL",
        "consumer" => "'mailer'",
        "older_than" => "'0 days'",
        "role" => "'pg_monitor'",
        "duty" => "'writer'",
        other => panic!("what would a caller give for {other}?"),
    }
}

/// A function of the schema: its arguments by name and type.
pub struct Function {
    pub name: String,
    pub arguments: Vec<(String, String)>,
}

impl Function {
    /// A call with values for all arguments.
    pub fn call(&self) -> String {
        self.call_with(|_, _| None)
    }

    /// The same with other values, in SQL, for the arguments for which `other` returns one.
    pub fn call_with(&self, other: impl Fn(&str, &str) -> Option<String>) -> String {
        let value = |(name, r#type): &(String, String)| {
            other(name, r#type).unwrap_or_else(|| argument(name, r#type).to_owned())
        };
        let values: Vec<String> = self.arguments.iter().map(value).collect();
        format!("SELECT customers.{}({})", self.name, values.join(", "))
    }
}

/// Every function in the schema.
pub fn functions(client: &mut Client) -> Vec<Function> {
    let query = "SELECT proname::text, coalesce(proargnames[:pronargs], '{}'),
                        string_to_array(oidvectortypes(proargtypes), ', ')
                   FROM pg_proc WHERE pronamespace = 'customers'::regnamespace";
    let rows = client.query(query, &[]).unwrap();
    let function = |row: &postgres::Row| {
        let (names, types): (Vec<String>, Vec<String>) = (row.get(1), row.get(2));
        Function { name: row.get(0), arguments: names.into_iter().zip(types).collect() }
    };
    rows.iter().map(function).collect()
}

/// Runs a statement, rolls it back, and returns its error.
pub fn attempt(client: &mut impl GenericClient, statement: &str) -> Option<DbError> {
    let mut transaction = client.transaction().unwrap();
    let result = transaction.batch_execute(statement);
    result.err().map(|error| refusal::<()>(Err(error)))
}

/// Runs a statement, rolls it back, and returns its SQLSTATE, "00000" if it succeeded.
pub fn outcome(client: &mut impl GenericClient, statement: &str) -> String {
    let error = attempt(client, statement);
    error.map_or("00000".to_owned(), |error| error.code().code().to_owned())
}

/// Creates what calls need: a customer, whose id everybody can read in `public.known`, and a consumer.
pub fn seed(owner: &mut Client) {
    let id = register_ann(owner).id;
    owner
        .batch_execute(&format!(
            "SELECT customers.subscribe('mailer');
             CREATE VIEW public.known AS SELECT '{id}'::uuid AS id;
             GRANT SELECT ON public.known TO PUBLIC"
        ))
        .unwrap();
}

/// A new database in the shared cluster, prepared for calls.
pub fn seeded() -> Database<'static> {
    let database = database();
    seed(&mut database.connect());
    database
}
