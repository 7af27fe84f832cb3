//! Promise: the rules hold for every writer: plain INSERT and UPDATE, COPY, upserts, MERGE, one row or
//! thousands.

use crate::kit::{
    Customer, assert_refused, call, contents, database, event_count, one, refusal, register_ann,
    stored,
};
use postgres::Client;
use std::io::Write;

/// Copies lines into customers.customers.
fn copy(client: &mut Client, columns: &str, lines: &str) -> Result<u64, postgres::Error> {
    let statement = format!("COPY customers.customers ({columns}) FROM STDIN");
    let mut writer = client.copy_in(&statement)?;
    writer.write_all(lines.as_bytes()).expect("the lines are sent");
    writer.finish()
}

/// The customers, ordered by address.
fn everybody(client: &mut Client) -> Vec<Customer> {
    let rows = client.query("SELECT * FROM customers.customers ORDER BY email", &[]).unwrap();
    rows.iter().map(Customer::from).collect()
}

/// Asserts that every statement is refused with this SQLSTATE and changes nothing.
fn assert_all_refused<'a>(
    client: &mut Client,
    sqlstate: &str,
    statements: impl IntoIterator<Item = &'a str>,
) {
    let before = contents(client);
    for statement in statements {
        let result = client.batch_execute(statement);
        assert!(result.is_err(), "{statement}");
        assert_refused(result, sqlstate, &["zyxw"]);
    }
    assert_eq!(contents(client), before);
}

#[test]
fn a_plain_insert_is_held_to_the_rules() {
    let mut client = database().connect();
    client
        .execute(
            "INSERT INTO customers.customers (email, name) VALUES (' ANN@Example.COM ', ' Ann ')",
            &[],
        )
        .unwrap();
    let ann = &everybody(&mut client)[0];
    assert_eq!((ann.email.as_str(), ann.name.as_deref()), ("ann@example.com", Some("Ann")));
    assert_eq!((ann.status.as_str(), ann.version), ("ACTIVE", 1));
    assert_eq!(ann.updated_at, ann.registered_at);
    assert_eq!(event_count(&mut client), 1);

    assert_all_refused(
        &mut client,
        "22023",
        [
            "INSERT INTO customers.customers (email) VALUES ('zyxw')",
            "INSERT INTO customers.customers (email) VALUES ('')",
            "INSERT INTO customers.customers (email) VALUES (NULL)",
            "INSERT INTO customers.customers (name) VALUES ('Zyxw')",
            "INSERT INTO customers.customers (email) VALUES ('zyxw@erased.invalid')",
            "INSERT INTO customers.customers (email, name) VALUES ('zyxw@example.com', '')",
            "INSERT INTO customers.customers (email, name) VALUES ('zyxw@example.com', E'Zy\\nxw')",
            "INSERT INTO customers.customers (email, status) VALUES ('zyxw@example.com', 'active')",
        ],
    );
}

#[test]
fn a_plain_update_is_held_to_the_rules() {
    let mut client = database().connect();
    let ann = register_ann(&mut client);
    client
        .batch_execute("UPDATE customers.customers SET email = ' BEA@Example.COM', name = 'Bea '")
        .unwrap();
    let bea = stored(&mut client, ann.id);
    assert_eq!((bea.email.as_str(), bea.name.as_deref()), ("bea@example.com", Some("Bea")));
    assert_eq!((bea.version, event_count(&mut client)), (2, 2));
    assert!(bea.updated_at > ann.updated_at);

    assert_all_refused(
        &mut client,
        "22023",
        [
            "UPDATE customers.customers SET email = 'zyxw'",
            "UPDATE customers.customers SET email = ''",
            "UPDATE customers.customers SET email = NULL",
            "UPDATE customers.customers SET name = ''",
            "UPDATE customers.customers SET name = E'Zyxw\\u202e'",
            "UPDATE customers.customers SET status = 'DELETED'",
            "UPDATE customers.customers SET status = NULL",
            "UPDATE customers.customers SET name = 'Zyxw', status = 'gone'",
        ],
    );
}

#[test]
fn copy_is_held_to_the_rules() {
    let mut client = database().connect();
    let lines = " ANN@Example.COM \tAnn\nbea@b\u{fc}cher.example\t\\N\n";
    assert_eq!(copy(&mut client, "email, name", lines).unwrap(), 2);
    let stored: Vec<_> = everybody(&mut client).into_iter().map(|c| (c.email, c.version)).collect();
    assert_eq!(
        stored,
        [("ann@example.com".to_owned(), 1), ("bea@xn--bcher-kva.example".to_owned(), 1)]
    );
    assert_eq!(event_count(&mut client), 2);

    let before = contents(&mut client);
    for bad in
        ["fine@example.com\tFine\nzyxw\tZyxw\n", "zyxw@example.com\tZyxw\u{202e}\n", "\\N\tZyxw\n"]
    {
        let error = refusal(copy(&mut client, "email, name", bad));
        assert_eq!(error.where_(), None, "the row that COPY was reading");
        assert_refused(copy(&mut client, "email, name", bad), "22023", &["zyxw", "fine@"]);
    }
    let forged = "zyxw@example.com\t0\t1999-01-01\n";
    assert_eq!(contents(&mut client), before);
    copy(&mut client, "email, version, updated_at", forged).unwrap();
    let zyxw = everybody(&mut client).pop().unwrap();
    assert_eq!((zyxw.version, zyxw.updated_at), (1, zyxw.registered_at));
}

#[test]
fn one_bad_row_refuses_the_whole_statement() {
    let mut client = database().connect();
    register_ann(&mut client);
    assert_all_refused(&mut client, "22023", [
        "INSERT INTO customers.customers (email) VALUES ('a@example.com'), ('zyxw'), ('b@example.com')",
        "INSERT INTO customers.customers (email)
         SELECT CASE n WHEN 500 THEN 'zyxw' ELSE n || '@example.com' END FROM generate_series(1, 1000) AS n",
    ]);
}

#[test]
fn an_upsert_is_held_to_the_rules_and_records_what_it_did() {
    let mut client = database().connect();
    let ann = call(&mut client, "register_customer('ann@example.com', 'Ann')", &[]).unwrap();
    let upsert = "INSERT INTO customers.customers (email, name, version, updated_at)
                  VALUES (' ANN@example.com', ' Annie ', 1, '1999-01-01'), ('Bea@example.com', 'Bea', 1, '1999-01-01')
                  ON CONFLICT (email) DO UPDATE SET name = excluded.name, version = 77, updated_at = 'epoch'";
    assert_eq!(client.execute(upsert, &[]).unwrap(), 2);
    let after = everybody(&mut client);
    assert_eq!(
        (after[0].id, after[0].name.as_deref(), after[0].version),
        (ann.id, Some("Annie"), 2)
    );
    assert_eq!((after[1].email.as_str(), after[1].version), ("bea@example.com", 1));
    assert!(after[0].updated_at > ann.updated_at);
    assert_eq!(event_count(&mut client), 3);

    // The same statement again changes nothing.
    let before = contents(&mut client);
    client.execute(upsert, &[]).unwrap();
    assert_eq!(contents(&mut client), before);
    let nothing =
        "INSERT INTO customers.customers (email) VALUES ('ANN@example.com') ON CONFLICT DO NOTHING";
    assert_eq!(client.execute(nothing, &[]).unwrap(), 0);
    assert_eq!(contents(&mut client), before);

    assert_all_refused(
        &mut client,
        "22023",
        [
            "INSERT INTO customers.customers (email) VALUES ('ann@example.com')
         ON CONFLICT (email) DO UPDATE SET name = E'Zy\\nxw'",
            "INSERT INTO customers.customers (email) VALUES ('zyxw') ON CONFLICT DO NOTHING",
        ],
    );
    call(&mut client, "set_status($1, 'CLOSED')", &[&ann.id]).unwrap();
    assert_all_refused(&mut client, "23514", [upsert.replace("Annie", "Zyxw").as_str()]);
}

#[test]
fn merge_is_held_to_the_rules_and_records_what_it_did() {
    let mut client = database().connect();
    let ann = call(&mut client, "register_customer('ann@example.com', 'Ann')", &[]).unwrap();
    let merge = |rows: &str, matched: &str| {
        format!(
            "MERGE INTO customers.customers AS c
             USING (VALUES {rows}) AS s (email, name) ON c.email = s.email
             WHEN MATCHED THEN {matched}
             WHEN NOT MATCHED THEN INSERT (email, name, version) VALUES (s.email, s.name, -1)"
        )
    };
    let update = "UPDATE SET name = s.name, version = 99";
    client
        .batch_execute(&merge("('ann@example.com', ' Annie'), ('BEA@example.com', 'Bea')", update))
        .unwrap();
    let after = everybody(&mut client);
    assert_eq!(
        (after[0].id, after[0].name.as_deref(), after[0].version),
        (ann.id, Some("Annie"), 2)
    );
    assert_eq!((after[1].email.as_str(), after[1].version), ("bea@example.com", 1));
    assert_eq!(event_count(&mut client), 3);

    assert_all_refused(
        &mut client,
        "22023",
        [
            merge("('ann@example.com', ''), ('cleo@example.com', 'Cleo')", update).as_str(),
            merge("('ann@example.com', 'Zyxw'), ('zyxw', 'Cleo')", update).as_str(),
        ],
    );
    assert_all_refused(&mut client, "23514", [merge("('ann@example.com', '')", "DELETE").as_str()]);
}

#[test]
fn two_updates_in_one_statement_are_both_recorded() {
    let mut client = database().connect();
    let (ann, bea) = (register_ann(&mut client), register_ann(&mut client));
    client
        .execute(
            "WITH first AS (UPDATE customers.customers SET name = 'Cleo' WHERE customer_id = $1 RETURNING 1),
                  third AS (INSERT INTO customers.customers (email) VALUES ('third@example.com') RETURNING 1)
             UPDATE customers.customers SET name = 'Dora' WHERE customer_id = $2",
            &[&ann.id, &bea.id],
        )
        .unwrap();
    assert_eq!(stored(&mut client, ann.id).name.as_deref(), Some("Cleo"));
    assert_eq!(stored(&mut client, bea.id).name.as_deref(), Some("Dora"));
    assert_eq!(event_count(&mut client), 5);
    assert_every_change_is_recorded(&mut client);
}

/// Asserts that every customer has as many events as its version says, and that the last value of each
/// field is stored.
fn assert_every_change_is_recorded(client: &mut Client) {
    let wrong: i64 = one(
        client,
        "SELECT count(*) FROM customers.customers AS c
          WHERE c.version <> (SELECT count(*) FROM customers.events AS e WHERE e.customer_id = c.customer_id)
             OR (SELECT e.changes ->> 'name' FROM customers.events AS e
                  WHERE e.customer_id = c.customer_id AND e.changes ? 'name'
                  ORDER BY e.version DESC LIMIT 1) IS DISTINCT FROM c.name
             OR (SELECT e.changes ->> 'email' FROM customers.events AS e
                  WHERE e.customer_id = c.customer_id AND e.changes ? 'email'
                  ORDER BY e.version DESC LIMIT 1) <> c.email",
        &[],
    );
    assert_eq!(wrong, 0);
}

#[test]
fn thousands_of_rows_are_updated_at_once_after_a_single_one() {
    let mut client = database().connect();
    // A transition table larger than work_mem is stored on disk.
    client.batch_execute("SET work_mem = '64kB'").unwrap();
    let insert = "INSERT INTO customers.customers (email, name) SELECT n || '@example.com', 'Ann ' || n FROM generate_series(1, 5000) AS n";
    assert_eq!(client.execute(insert, &[]).unwrap(), 5000);
    let single = "UPDATE customers.customers SET name = 'Bea' WHERE email = '1@example.com'";
    assert_eq!(client.execute(single, &[]).unwrap(), 1);
    let all = "UPDATE customers.customers SET email = 'x' || email, name = CASE WHEN name = 'Bea' THEN name ELSE name || ' Example' END";
    assert_eq!(client.execute(all, &[]).unwrap(), 5000);
    assert_eq!(event_count(&mut client), 10_001);
    assert_every_change_is_recorded(&mut client);
    assert_eq!(client.execute(single, &[]).unwrap(), 0);

    // If half of the rows do not change, only the other half is recorded.
    let half = "UPDATE customers.customers SET status = CASE WHEN version = 2 AND right(name, 10) < '5' THEN 'SUSPENDED' ELSE status END";
    client.execute(half, &[]).unwrap();
    assert_every_change_is_recorded(&mut client);
    let suspended: i64 = one(
        &mut client,
        "SELECT count(*) FROM customers.customers WHERE status = 'SUSPENDED'",
        &[],
    );
    assert_eq!(event_count(&mut client), 10_001 + suspended);
}

#[test]
fn nobody_can_forge_a_version_or_an_updated_at() {
    let mut client = database().connect();
    client
        .execute(
            "INSERT INTO customers.customers (email, version, updated_at)
             VALUES ('a@example.com', 0, '1999-01-01'), ('b@example.com', NULL, NULL), ('c@example.com', -1, 'infinity')",
            &[],
        )
        .unwrap();
    for customer in everybody(&mut client) {
        assert_eq!((customer.version, customer.updated_at), (1, customer.registered_at));
    }
    let before = contents(&mut client);
    for forged in [
        "version = 99",
        "version = NULL",
        "version = version + 1",
        "updated_at = now()",
        "updated_at = NULL",
        "updated_at = 'infinity', version = -5",
        "version = 99, name = name",
    ] {
        assert_eq!(
            client.execute(&format!("UPDATE customers.customers SET {forged}"), &[]).unwrap(),
            3
        );
        assert_eq!(contents(&mut client), before, "{forged}");
    }
    let with_a_change =
        "UPDATE customers.customers SET name = 'Ann', version = 99, updated_at = '2999-01-01'";
    client.execute(with_a_change, &[]).unwrap();
    let good: bool = one(
        &mut client,
        "SELECT bool_and(version = 2 AND updated_at <= now()) FROM customers.customers",
        &[],
    );
    assert!(good);
}

#[test]
fn customer_id_and_registered_at_never_change() {
    let mut client = database().connect();
    register_ann(&mut client);
    assert_all_refused(
        &mut client,
        "23514",
        [
            "UPDATE customers.customers SET customer_id = gen_random_uuid()",
            "UPDATE customers.customers SET customer_id = NULL",
            "UPDATE customers.customers SET registered_at = registered_at - interval '1 microsecond'",
            "UPDATE customers.customers SET registered_at = '-infinity'",
            "UPDATE customers.customers SET registered_at = NULL",
            "UPDATE customers.customers SET name = 'Zyxw', registered_at = now()",
        ],
    );
    client.batch_execute("UPDATE customers.customers SET customer_id = customer_id, registered_at = registered_at").unwrap();
}

#[test]
fn registered_at_is_a_moment_that_has_passed() {
    let mut client = database().connect();
    let insert = |moment: &str| {
        format!(
            "INSERT INTO customers.customers (email, registered_at) VALUES ('zyxw@example.com', {moment})"
        )
    };
    let future = [
        "now() + interval '1 hour'",
        "'2999-01-01'",
        "'infinity'",
        "'-infinity'",
        "'0001-01-01 BC'",
    ]
    .map(insert);
    assert_all_refused(&mut client, "22023", future.iter().map(String::as_str));
    for (n, past) in [
        "'1999-12-31 23:59:59.999999+00'",
        "now()",
        "clock_timestamp()",
        "'1900-01-01 00:00:00+00'",
    ]
    .into_iter()
    .enumerate()
    {
        client.execute(&insert(past).replace("zyxw", &format!("person{n}")), &[]).unwrap();
    }
    let kept: bool = one(
        &mut client,
        "SELECT registered_at = '1999-12-31 23:59:59.999999+00' AND updated_at > '2020-01-01'
           FROM customers.customers WHERE email = 'person0@example.com'",
        &[],
    );
    assert!(kept);
}

#[test]
fn customers_are_never_deleted() {
    let mut client = database().connect();
    register_ann(&mut client);
    client
        .batch_execute(
            "CREATE TABLE public.plans (plan int PRIMARY KEY);
             INSERT INTO public.plans VALUES (1);
             ALTER TABLE customers.customers ADD COLUMN plan int REFERENCES public.plans ON DELETE CASCADE;
             UPDATE customers.customers SET plan = 1;
             CREATE TABLE public.orders (customer_id uuid REFERENCES customers.customers ON DELETE CASCADE)",
        )
        .unwrap();
    assert_all_refused(
        &mut client,
        "23514",
        [
            "DELETE FROM customers.customers",
            "DELETE FROM customers.customers WHERE false",
            "TRUNCATE customers.customers CASCADE",
            "TRUNCATE customers.customers, public.orders",
            "TRUNCATE public.plans CASCADE",
            "DELETE FROM public.plans",
        ],
    );
    let mut empty = database().connect();
    assert_all_refused(
        &mut empty,
        "23514",
        [
            "DELETE FROM customers.customers",
            "TRUNCATE customers.customers",
            "TRUNCATE customers.customers CASCADE",
            "TRUNCATE customers.customers, customers.events RESTART IDENTITY",
        ],
    );
}

#[test]
fn events_are_append_only() {
    let mut client = database().connect();
    let changes = [
        "UPDATE customers.events SET changes = '{}'",
        "UPDATE customers.events SET reason = NULL WHERE false",
        "DELETE FROM customers.events",
        "DELETE FROM customers.events WHERE position < 0",
        "TRUNCATE customers.events",
        "TRUNCATE customers.events CASCADE",
        "MERGE INTO customers.events AS e USING (VALUES (1)) AS v (n) ON true WHEN MATCHED THEN DELETE",
    ];
    assert_all_refused(&mut client, "23514", changes);
    register_ann(&mut client);
    assert_all_refused(&mut client, "23514", changes);
}

#[test]
fn a_column_of_the_owners_changes_freely_and_silently() {
    let database = database();
    let (mut client, mut listener) = (database.connect(), database.listen());
    let ids = [register_ann(&mut client).id, register_ann(&mut client).id];
    call(&mut client, "set_status($1, 'CLOSED')", &[&ids[1]]).unwrap();
    crate::kit::received(&mut listener);
    client
        .batch_execute(
            "ALTER TABLE customers.customers ADD COLUMN tenant text, ADD COLUMN notes text DEFAULT 'none',
                 ADD COLUMN shout text GENERATED ALWAYS AS (upper(email)) STORED",
        )
        .unwrap();
    let before = (everybody(&mut client), event_count(&mut client));
    // A value stored out of line is included.
    let set = "UPDATE customers.customers SET tenant = 'acme', notes = (SELECT string_agg(md5(n::text), '') FROM generate_series(1, 1000) AS n)";
    assert_eq!(client.execute(set, &[]).unwrap(), 2);
    client.batch_execute("UPDATE customers.customers SET notes = NULL, version = 99").unwrap();
    assert_eq!((everybody(&mut client), event_count(&mut client)), before);
    assert!(crate::kit::received(&mut listener).is_empty());

    // The columns keep their values when the profile changes.
    call(&mut client, "update_customer($1, name => 'Bea')", &[&ids[0]]).unwrap();
    let kept: bool = one(
        &mut client,
        "SELECT bool_and(tenant = 'acme' AND shout = upper(email)) FROM customers.customers",
        &[],
    );
    assert!(kept);
    assert_eq!(event_count(&mut client), before.1 + 1);
    register_ann(&mut client);
}

#[test]
fn a_trigger_function_cannot_be_called_by_hand() {
    let mut client = database().connect();
    for function in ["guard", "refuse_removal", "record_registered", "record_updated"] {
        let error = refusal(client.batch_execute(&format!("SELECT customers.{function}()")));
        assert_ne!(error.code().code(), "XX000", "{error:?}");
    }
    one::<i32>(&mut client, "SELECT 1", &[]);
}
