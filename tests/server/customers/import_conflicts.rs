//! Promise: an import refuses only the customer that conflicts with an added unique index, whatever else
//! the batch holds.

use crate::kit::{Database, address, database, event_count, id, one};
use postgres::Client;
use serde_json::{Value, json};

/// Part of every value that no message may disclose.
const SECRET: &str = "zyxw";

/// The outcome of each customer of a batch, or its SQLSTATE if it was refused.
fn import(client: &mut Client, batch: &[Value]) -> Vec<String> {
    let query = "SELECT outcome, sqlstate, message, customer_id IS NULL
                   FROM customers.import_customers($1) ORDER BY ordinal";
    let rows = client.query(query, &[&json!(batch)]).unwrap_or_else(|error| panic!("{error:?}"));
    rows.iter()
        .map(|row| {
            let outcome: String = row.get(0);
            if outcome != "refused" {
                return outcome;
            }
            let message: String = row.get(2);
            assert!(!message.is_empty() && !message.to_lowercase().contains(SECRET), "{message}");
            assert!(!message.contains("address"), "it is not the address that is taken: {message}");
            assert!(row.get::<_, bool>(3), "who is refused has no id");
            row.get(1)
        })
        .collect()
}

fn with(addition: &str) -> (Database<'static>, Client) {
    let database = database();
    let mut client = database.connect();
    client.batch_execute(addition).unwrap();
    (database, client)
}

/// Which customers of a batch have an id.
type Ids = fn(usize) -> bool;
const IDS: [Ids; 4] = [|_| false, |_| true, |n| n == 0, |n| n % 2 == 1];

/// Imports customers of these names, of whom Zyxw is registered and Cleo occurs twice. Asserts that only
/// the one who is not `taken` is refused, with one of the SQLSTATEs.
fn assert_refuses_the_one(addition: &str, taken: &str, sqlstates: &[&str]) {
    for ids in IDS {
        let (_database, mut client) = with(addition);
        let registered = address();
        let zyxw = "SELECT customers.register_customer($1, 'Zyxw')::text";
        one::<String>(&mut client, zyxw, &[&registered]);
        let names =
            [Some("Bea"), Some(taken), Some("Cleo"), None, Some("Cleo"), Some("Dora"), None];
        let mut batch: Vec<Value> = (0..)
            .zip(names)
            .map(|(n, name)| {
                let mut customer = json!({"email": address(), "name": name});
                if ids(n) {
                    customer["customerId"] = json!(id().to_string());
                }
                customer
            })
            .collect();
        batch.push(json!({"email": registered, "name": "Zyxw"}));
        let outcomes = import(&mut client, &batch);
        for refused in [1, 4] {
            assert!(sqlstates.contains(&outcomes[refused].as_str()), "{addition}: {outcomes:?}");
        }
        for good in [0, 2, 3, 5, 6] {
            assert_eq!(outcomes[good], "registered", "{addition}: {outcomes:?}");
        }
        assert_eq!(outcomes[7], "exists", "{addition}: {outcomes:?}");
        let count: i64 = one(&mut client, "SELECT count(*) FROM customers.customers", &[]);
        assert_eq!((count, event_count(&mut client)), (6, 6), "{addition}");
    }
}

#[test]
fn a_unique_constraint_refuses_one() {
    let unique = "ALTER TABLE customers.customers ADD CONSTRAINT one_of_a_name UNIQUE (name)";
    assert_refuses_the_one(unique, "Zyxw", &["23505"]);
}

#[test]
fn a_unique_index_on_an_expression_refuses_one() {
    let unique = "CREATE UNIQUE INDEX one_of_a_name ON customers.customers (lower(name))";
    assert_refuses_the_one(unique, "ZYXW", &["23505"]);
}

#[test]
fn a_unique_index_on_some_rows_refuses_one() {
    let unique =
        "CREATE UNIQUE INDEX one_of_a_name ON customers.customers (name) WHERE status = 'ACTIVE'";
    assert_refuses_the_one(unique, "Zyxw", &["23505"]);
}

/// PostgreSQL reports an exclusion constraint with an SQLSTATE of its own; a refusal may have that or 23505.
#[test]
fn an_exclusion_constraint_refuses_one() {
    let exclude =
        "ALTER TABLE customers.customers ADD CONSTRAINT one_of_a_name EXCLUDE (name WITH =)";
    assert_refuses_the_one(exclude, "Zyxw", &["23505", "23P01"]);
}

#[test]
fn a_unique_column_that_has_only_its_default_takes_the_first() {
    for ids in IDS {
        let (_database, mut client) =
            with("ALTER TABLE customers.customers ADD COLUMN slot int DEFAULT 7 UNIQUE");
        let batch: Vec<Value> = (0..3)
            .map(|n| match ids(n) {
                true => json!({"email": address(), "customerId": id().to_string()}),
                false => json!({"email": address()}),
            })
            .collect();
        assert_eq!(import(&mut client, &batch), ["registered", "23505", "23505"]);
        assert_eq!(event_count(&mut client), 1);
    }
}

#[test]
fn a_large_batch_with_a_few_who_are_not_taken_registers_the_others() {
    let (_database, mut client) =
        with("CREATE UNIQUE INDEX one_of_a_name ON customers.customers (lower(name))");
    let name = |n: usize| if n % 500 == 499 { "Zyxw".to_owned() } else { format!("Name {n}") };
    let batch: Vec<Value> =
        (0..3_000).map(|n| json!({"email": address(), "name": name(n)})).collect();
    let outcomes = import(&mut client, &batch);
    let refused: Vec<usize> = (0..3_000).filter(|n| outcomes[*n] == "23505").collect();
    assert_eq!(refused, [999, 1499, 1999, 2499, 2999]);
    assert_eq!(event_count(&mut client), 2_995);
}
