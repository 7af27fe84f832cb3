//! Promise: NULL for a column that has a default means its default, as ORMs send it.

use crate::kit::{Customer, address, call, database, event_count, one};
use postgres::Client;
use std::collections::BTreeSet;
use std::io::Write;

fn everybody(client: &mut Client) -> Vec<Customer> {
    let rows = client.query("SELECT * FROM customers.customers", &[]).unwrap();
    rows.iter().map(Customer::from).collect()
}

/// Asserts that the statement's customers are as if only their address had been given, in this transaction.
fn assert_defaults(client: &mut Client, statement: &str) {
    let mut transaction = client.transaction().unwrap();
    transaction.batch_execute(statement).unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    let now: std::time::SystemTime = one(&mut transaction, "SELECT now()", &[]);
    transaction.commit().unwrap();
    let customers = everybody(client);
    let ids: BTreeSet<_> = customers.iter().map(|customer| customer.id).collect();
    assert_eq!(ids.len(), customers.len());
    assert_eq!(event_count(client), customers.len() as i64);
    for customer in customers {
        assert_eq!((customer.name, customer.status.as_str()), (None, "ACTIVE"), "{statement}");
        assert_eq!((customer.registered_at, customer.updated_at), (now, now), "{statement}");
        assert_eq!(customer.version, 1, "{statement}");
    }
}

#[test]
fn null_in_an_insert_means_the_default() {
    let columns = "customer_id, email, name, status, registered_at, updated_at, version";
    let row = |email: &str| format!("(NULL, '{email}', NULL, NULL, NULL, NULL, NULL)");
    for statement in [
        format!("INSERT INTO customers.customers ({columns}) VALUES {}", row(&address())),
        format!(
            "INSERT INTO customers.customers ({columns}) VALUES {}, {}, {}",
            row(&address()),
            row(&address()),
            row(&address())
        ),
        format!(
            "INSERT INTO customers.customers AS c ({columns}) VALUES {}
             ON CONFLICT (email) DO UPDATE SET name = 'Ann'",
            row(&address())
        ),
        format!(
            "INSERT INTO customers.customers ({columns})
             SELECT NULL::uuid, n || '{}', NULL, NULL, NULL::timestamptz, NULL::timestamptz, NULL::bigint
               FROM generate_series(1, 3) AS n",
            address()
        ),
        format!(
            "MERGE INTO customers.customers USING (SELECT '{}' AS given) AS s ON email = given
             WHEN NOT MATCHED THEN INSERT ({columns}) VALUES (NULL, given, NULL, NULL, NULL, NULL, NULL)",
            address()
        ),
    ] {
        assert_defaults(&mut database().connect(), &statement);
    }
}

#[test]
fn null_for_one_column_leaves_the_others_as_given() {
    let mut client = database().connect();
    for column in ["customer_id", "status", "registered_at", "version"] {
        let insert = format!(
            "INSERT INTO customers.customers (email, name, {column}) VALUES ($1, 'Ann', NULL)"
        );
        client
            .execute(&insert, &[&address()])
            .unwrap_or_else(|error| panic!("{column}: {error:?}"));
    }
    let suspended = "INSERT INTO customers.customers (customer_id, email, status, registered_at)
                     VALUES (NULL, $1, 'SUSPENDED', '2020-02-02 20:20:02+00')";
    client.execute(suspended, &[&address()]).unwrap();
    let kept = "SELECT count(*) FROM customers.customers
                 WHERE status = 'SUSPENDED' AND registered_at = '2020-02-02 20:20:02+00'";
    assert_eq!(one::<i64>(&mut client, kept, &[]), 1);
    assert_eq!(everybody(&mut client).len(), 5);
}

#[test]
fn null_in_a_copy_means_the_default() {
    let mut client = database().connect();
    let copy = "COPY customers.customers (customer_id, email, status, registered_at) FROM STDIN";
    let mut writer = client.copy_in(copy).unwrap();
    writer.write_all(format!("\\N\t{}\t\\N\t\\N\n", address()).as_bytes()).unwrap();
    assert_eq!(writer.finish().unwrap(), 1);
    let customer = everybody(&mut client).remove(0);
    assert_eq!((customer.status.as_str(), customer.version), ("ACTIVE", 1));
    assert_eq!(customer.registered_at, customer.updated_at);
}

#[test]
fn an_owners_default_with_a_built_in_functions_name_is_not_taken_for_it() {
    let mut client = database().connect();
    client
        .batch_execute(
            "CREATE FUNCTION public.now() RETURNS timestamptz LANGUAGE sql IMMUTABLE
                 RETURN '2001-01-01 00:00:00+00'::timestamptz;
             ALTER TABLE customers.customers ALTER registered_at SET DEFAULT public.now();
             SET search_path = public, pg_catalog",
        )
        .unwrap();
    let insert = "INSERT INTO customers.customers (email, registered_at) VALUES ($1, NULL)";
    client.execute(insert, &[&address()]).unwrap();
    call(&mut client, "register_customer($1)", &[&address()]).unwrap();
    let ours =
        "SELECT count(*) FROM customers.customers WHERE registered_at = '2001-01-01 00:00:00+00'";
    assert_eq!(one::<i64>(&mut client, ours, &[]), 2);
}
