//! Promise: tables that were created by hand, with columns in another order and of other kinds, are refused
//! with a clear message or hold what the extension's own tables would hold; a changed default is respected
//! by every call.

use crate::kit::history::{assert_recorded_since, recorded, register};
use crate::kit::{
    Database, address, all, assert_feed_keeps_contract, call, database, major, one, refusal,
    register_ann, server, skipped, stored,
};
use postgres::Client;

/// Returns the declaration of a column, given its name and its usual declaration.
type Declare<'a> = &'a dyn Fn(&str, String) -> String;

/// A database whose table `customers.{table}` was created by hand before the extension: the usual columns
/// in another order, each declared as `declare` returns.
fn made_by_hand(table: &str, order: &str, declare: Declare) -> Database<'static> {
    let database = server().empty_database("");
    let mut owner = database.connect();
    owner
        .batch_execute("CREATE EXTENSION customer_db; DROP EXTENSION customer_db CASCADE")
        .unwrap();
    let query = format!(
        "SELECT attname::text, concat_ws(' ', attname, format_type(atttypid, atttypmod),
                    CASE WHEN attname = 'email' THEN 'COLLATE \"C\" UNIQUE' END,
                    CASE WHEN attnotnull THEN 'NOT NULL' END,
                    'DEFAULT ' || pg_get_expr(adbin, adrelid),
                    CASE WHEN attidentity <> '' THEN 'GENERATED ALWAYS AS IDENTITY (CACHE 1)' END,
                    CASE WHEN (attrelid, attnum) IN (SELECT indrelid, indkey[0] FROM pg_index WHERE indisprimary)
                         THEN 'PRIMARY KEY' END)
           FROM pg_attribute LEFT JOIN pg_attrdef ON (adrelid, adnum) = (attrelid, attnum)
          WHERE attrelid = 'customers.{table}'::regclass AND attnum > 0 ORDER BY {order}"
    );
    let columns = owner.query(&query, &[]).unwrap();
    let columns: Vec<String> =
        columns.iter().map(|row| declare(row.get::<_, &str>(0), row.get(1))).collect();
    let remake = format!(
        "DROP TABLE customers.{table} CASCADE;
         CREATE TABLE customers.{table} ({});
         CREATE EXTENSION customer_db",
        columns.join(", ")
    );
    owner.batch_execute(&remake).unwrap_or_else(|why| panic!("{remake}: {why:?}"));
    database
}

/// Attaches, and returns whether it succeeded; asserts that a failure is a clear refusal.
fn attach(client: &mut Client, about: &str) -> bool {
    let Err(error) = client.batch_execute("SELECT customers.attach()") else { return true };
    let error = refusal::<()>(Err(error));
    assert_eq!(error.code().code(), "55000", "{about}: {error:?}");
    assert!(error.hint().is_some(), "{about}: {error:?}");
    false
}

/// Changes of every kind, through functions and by plain SQL, repeated so that the later ones use the
/// session's caches.
fn changes() -> Vec<String> {
    let mut changes = Vec::new();
    for _ in 0..3 {
        changes.extend([
            format!("SELECT customers.register_customer('{}', 'Ann')", address()),
            format!("SELECT customers.register_customer('{}', NULL, gen_random_uuid())", address()),
            format!("INSERT INTO customers.customers (email, name) VALUES ('{}', 'Bea')", address()),
            format!("SELECT customers.import_customers('[{{\"email\": \"{}\"}}]')", address()),
            "UPDATE customers.customers SET name = 'Cid' WHERE name = 'Bea'".to_owned(),
            "SELECT customers.set_status(customer_id, 'SUSPENDED') FROM customers.customers
              WHERE status = 'ACTIVE' AND name IS NULL LIMIT 1"
                .to_owned(),
            "SET customer_db.actor = 'clerk 7'".to_owned(),
            "SELECT customers.set_status(customer_id, 'ACTIVE', 'a reason') FROM customers.customers
              WHERE status = 'SUSPENDED' LIMIT 1"
                .to_owned(),
            "RESET customer_db.actor".to_owned(),
        ]);
    }
    changes
}

/// Asserts that every change is recorded, or refused without disclosing personal data; returns how many
/// were recorded.
fn assert_changes_are_right_or_refused(client: &mut Client, about: &str) -> usize {
    let mut done = 0;
    for change in changes() {
        let before = recorded(client);
        match client.batch_execute(&change) {
            Ok(()) => done += 1,
            Err(error) => {
                let error = refusal::<()>(Err(error));
                // 23502 and 428C9 are PostgreSQL's own, and name the column.
                let clear = ["55000", "23502", "428C9"].contains(&error.code().code());
                assert!(clear, "{about}: {change}: {error:?}");
                assert!(!format!("{error:?}").contains("person"), "{about}: {change}: {error:?}");
                assert_eq!(recorded(client), before, "{about}: {change}");
            }
        }
    }
    assert_recorded_since(client, &[], about);
    assert_no_null_where_none_may_be(client, about);
    done
}

/// Compares the rows' values: PostgreSQL answers IS NULL for a NOT NULL column without reading it.
fn assert_no_null_where_none_may_be(client: &mut Client, about: &str) {
    for table in ["customers", "events"] {
        let null = format!(
            "SELECT DISTINCT attname::text FROM customers.{table} AS t, pg_attribute
              WHERE attrelid = 'customers.{table}'::regclass AND attnum > 0 AND attnotnull
                AND coalesce(to_jsonb(t) -> attname = 'null', true)"
        );
        assert_eq!(all::<String>(client, &null, &[]), [""; 0], "{about}: NULL in {table}");
    }
}

const ORDERS: [&str; 3] = ["attnum DESC", "attname", "attnotnull, attnum"];

#[test]
fn a_feed_that_was_made_by_hand_gets_what_ours_gets() {
    let as_it_is = |_: &str, column: String| column;
    let with_more_required = |name: &str, column: String| match name {
        "actor" | "reason" => format!("{name} text NOT NULL DEFAULT 'x'"),
        _ => column,
    };
    let with_nothing_nullable = |name: &str, column: String| match name {
        "actor" | "reason" => format!("{name} text NOT NULL DEFAULT 'x'"),
        "announce" => format!("{name} boolean NOT NULL DEFAULT false"),
        _ => column,
    };
    let with_additions = |name: &str, column: String| match name {
        "position" => format!(
            "shard int NOT NULL DEFAULT 7, {column}, made_at timestamptz NOT NULL DEFAULT now()"
        ),
        _ => column,
    };
    let declarations: [(&str, Declare); 4] = [
        ("as it is", &as_it_is),
        ("more required", &with_more_required),
        ("nothing nullable", &with_nothing_nullable),
        ("additions", &with_additions),
    ];
    for (kind, declare) in declarations {
        for order in ORDERS {
            let about = format!("{kind} by {order}");
            let database = made_by_hand("events", order, declare);
            let mut client = database.connect();
            if !attach(&mut client, &about) {
                assert!(kind != "as it is", "{about}: our own columns are adopted in any order");
                continue;
            }
            let done = assert_changes_are_right_or_refused(&mut client, &about);
            if ["as it is", "additions"].contains(&kind) {
                assert_eq!(done, changes().len(), "{about}");
                assert_told(&mut client, &about);
            }
            let events = recorded(&mut client).len();
            assert_feed_keeps_contract(&mut client, events);
        }
    }
}

/// Asserts that recorded_by, actor and reason are in the right columns.
fn assert_told(client: &mut Client, about: &str) {
    let told =
        "SELECT DISTINCT concat_ws(' ', recorded_by, coalesce(actor, '-'), coalesce(reason, '-'))
                  FROM customers.events ORDER BY 1";
    let told: Vec<String> = all(client, told, &[]);
    assert_eq!(told, ["postgres - -", "postgres clerk 7 a reason"], "{about}");
}

#[test]
fn customers_in_a_table_that_was_made_by_hand_are_what_ours_would_be() {
    for order in ORDERS {
        let database = made_by_hand("customers", order, &|_, column| column);
        let mut client = database.connect();
        assert!(attach(&mut client, order), "our own columns are adopted in any order");
        assert_eq!(assert_changes_are_right_or_refused(&mut client, order), changes().len());
        for _ in 0..3 {
            let ann = register_ann(&mut client);
            assert_eq!(stored(&mut client, ann.id), ann, "{order}");
            assert_eq!(
                (ann.name.as_deref(), ann.status.as_str(), ann.version),
                (Some("Ann"), "ACTIVE", 1)
            );
            assert_eq!(ann.registered_at, ann.updated_at);
        }
    }
}

/// The kinds of generated columns that this PostgreSQL supports.
fn kinds() -> &'static [&'static str] {
    if major() >= 18 {
        return &["STORED", "VIRTUAL"];
    }
    skipped(&format!("virtual generated columns: PostgreSQL {} has none", major()));
    &["STORED"]
}

#[test]
fn a_column_of_the_feeds_that_fills_itself_is_noticed() {
    for kind in kinds() {
        for (column, r#type, value) in [
            ("actor", "text", "'x' || version::text"),
            ("reason", "text", "'x' || version::text"),
            ("recorded_by", "text", "'x' || version::text"),
            ("occurred_at", "timestamptz", "'2001-02-03 00:00+00'::timestamptz"),
            ("version", "bigint", "7::bigint"),
        ] {
            let generated = format!("{column} {type} GENERATED ALWAYS AS ({value}) {kind}");
            let about = format!("adopted with {generated}");
            let declare =
                |name: &str, ours: String| if name == column { generated.clone() } else { ours };
            let mut client = made_by_hand("events", "attnum", &declare).connect();
            if attach(&mut client, &about) {
                assert_generated(&mut client, column, value, &about);
            }

            // In a session that has used the table before.
            let database = database();
            let mut client = database.connect();
            register(&mut client, 2);
            let change = format!(
                "ALTER TABLE customers.events DROP COLUMN {column} CASCADE, ADD COLUMN {generated}"
            );
            database.connect().batch_execute(&change).unwrap();
            assert_generated(&mut client, column, value, &change);
        }
    }
}

/// Asserts that changes are refused with a clear message, or that the column holds what it generates.
fn assert_generated(client: &mut Client, column: &str, value: &str, about: &str) {
    for change in changes() {
        let Err(error) = client.batch_execute(&change) else { continue };
        let error = refusal::<()>(Err(error));
        assert!(["55000", "428C9"].contains(&error.code().code()), "{about}: {change}: {error:?}");
    }
    let wrong =
        format!("SELECT count(*) FROM customers.events WHERE {column} IS DISTINCT FROM {value}");
    assert_eq!(one::<i64>(client, &wrong, &[]), 0, "{about}");
    client.batch_execute("SELECT count(e::text) FROM customers.events AS e").unwrap();
}

#[test]
fn generated_columns_of_the_owners_hold_their_values() {
    for kind in kinds() {
        let database = database();
        let mut living = database.connect();
        register(&mut living, 2);
        database
            .connect()
            .batch_execute(&format!(
                "ALTER TABLE customers.customers
                     ADD COLUMN loud text GENERATED ALWAYS AS (upper(name)) {kind},
                     ADD COLUMN domain text NOT NULL GENERATED ALWAYS AS (nullif(split_part(email, '@', 2), 'refused.example')) {kind},
                     ADD CHECK (loud <> 'NOBODY');
                 ALTER TABLE customers.events
                     ADD COLUMN year int GENERATED ALWAYS AS (extract(year FROM occurred_at AT TIME ZONE 'UTC')) {kind},
                     ADD COLUMN who text GENERATED ALWAYS AS (recorded_by || '/' || coalesce(actor, '-')) {kind}"
            ))
            .unwrap();
        for client in [&mut living, &mut database.connect()] {
            assert_eq!(assert_changes_are_right_or_refused(client, kind), changes().len());
            for refused in [
                "SELECT customers.register_customer('a@refused.example')",
                "INSERT INTO customers.customers (email) VALUES ('a@refused.example')",
            ] {
                assert_eq!(
                    refusal(client.batch_execute(refused)).code().code(),
                    "23502",
                    "{refused}"
                );
            }
            for refused in [
                "SELECT customers.register_customer('nobody@example.com', 'Nobody')",
                "INSERT INTO customers.customers (email, name) VALUES ('nobody@example.com', 'Nobody')",
            ] {
                assert_eq!(
                    refusal(client.batch_execute(refused)).code().code(),
                    "23514",
                    "{refused}"
                );
            }
            let wrong = "SELECT (SELECT count(*) FROM customers.customers
                                  WHERE loud IS DISTINCT FROM upper(name) OR domain IS DISTINCT FROM 'example.com')
                              + (SELECT count(*) FROM customers.events
                                  WHERE year IS DISTINCT FROM extract(year FROM now() AT TIME ZONE 'UTC')
                                     OR who IS DISTINCT FROM recorded_by || '/' || coalesce(actor, '-'))";
            assert_eq!(one::<i64>(client, wrong, &[]), 0, "{kind}");
            client.batch_execute("SELECT count(c::text) FROM customers.customers AS c").unwrap();
        }
    }
}

/// Every way to register a customer, with and without optional values.
const REGISTRATIONS: [&str; 6] = [
    "SELECT customer_id FROM customers.register_customer('{}')",
    "SELECT customer_id FROM customers.register_customer('{}', 'Ann')",
    "SELECT customer_id FROM customers.register_customer('{}', 'Ann', gen_random_uuid())",
    "SELECT customer_id FROM customers.import_customers('[{\"email\": \"{}\"}]')",
    "INSERT INTO customers.customers (email) VALUES ('{}') RETURNING customer_id",
    "INSERT INTO customers.customers (email, registered_at) VALUES ('{}', NULL) RETURNING customer_id",
];

#[test]
fn a_default_that_the_owner_changed_is_honoured_by_every_call() {
    for (default, is_honoured) in [
        (
            "registered_at SET DEFAULT now() - interval '1 day'",
            "registered_at = updated_at - interval '1 day'",
        ),
        (
            "registered_at SET DEFAULT '2001-02-03 00:00+00'",
            "registered_at = '2001-02-03 00:00+00'",
        ),
        (
            "registered_at SET DEFAULT date_trunc('year', now(), 'UTC')",
            "registered_at = date_trunc('year', updated_at, 'UTC')",
        ),
    ] {
        let database = database();
        let mut living = database.connect();
        register(&mut living, 3);
        let alter = format!("ALTER TABLE customers.customers ALTER {default}");
        database.connect().batch_execute(&alter).unwrap();
        for client in [&mut living, &mut database.connect()] {
            for registration in REGISTRATIONS {
                for round in 0..3 {
                    let register = registration.replace("{}", &address());
                    let id: uuid::Uuid = one(client, &register, &[]);
                    let query = format!(
                        "SELECT {is_honoured} FROM customers.customers WHERE customer_id = $1"
                    );
                    let about = format!("{default}: {registration}, round {round}");
                    assert!(one::<bool>(client, &query, &[&id]), "{about}");
                }
            }
            let told = call(client, "register_customer($1)", &[&address()]).unwrap();
            assert_eq!(stored(client, told.id), told, "{default}");
        }
        assert_recorded_since(&mut living, &[], default);

        // The original default applies again once it is restored.
        let alter = "ALTER TABLE customers.customers ALTER registered_at SET DEFAULT now()";
        database.connect().batch_execute(alter).unwrap();
        for _ in 0..3 {
            let ann = register_ann(&mut living);
            assert_eq!(ann.registered_at, ann.updated_at, "{default}");
        }
    }
}
