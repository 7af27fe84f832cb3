//! Promise: a parent, a child or a partition does not bypass the rules: a change that reaches the tables
//! through one is recorded or refused.

use crate::kit::history::{assert_recorded_since, recorded, undone};
use crate::kit::{
    Database, assert_refused, await_blocked, call, database, fetched, pid, positions, refusal,
    register_ann, registered,
};
use postgres::Client;
use std::thread;
use uuid::Uuid;

/// A way to make `public.other` a parent, a child or a partition of a table, and to undo it.
struct Relation {
    name: &'static str,
    relate: &'static str,
    part: &'static str,
}

const RELATIONS: [Relation; 3] = [
    Relation {
        name: "a child",
        relate: "CREATE TABLE public.other (LIKE customers.{table});
                 ALTER TABLE customers.{table} INHERIT public.other",
        part: "ALTER TABLE customers.{table} NO INHERIT public.other",
    },
    Relation {
        name: "a parent",
        relate: "CREATE TABLE public.other () INHERITS (customers.{table})",
        part: "ALTER TABLE public.other NO INHERIT customers.{table}",
    },
    Relation {
        name: "a partition",
        relate:
            "CREATE TABLE public.other (LIKE customers.{table}) PARTITION BY LIST (customer_id);
                 CREATE TABLE public.rest PARTITION OF public.other
                     FOR VALUES IN ('00000000-0000-4000-8000-00000000ffff');
                 ALTER TABLE public.other ATTACH PARTITION customers.{table} DEFAULT",
        part: "ALTER TABLE public.other DETACH PARTITION customers.{table}",
    },
];

impl Relation {
    /// Returns whether the relation was made: PostgreSQL or the extension may refuse it.
    fn relate(&self, owner: &mut Client, table: &str) -> bool {
        let result = owner.batch_execute(&self.relate.replace("{table}", table));
        let Err(error) = result else { return true };
        let code = refusal::<()>(Err(error)).code().code().to_owned();
        // 42P16: from 17 on, a table with an identity column cannot become a partition.
        assert!(["55000", "42P16"].contains(&code.as_str()), "{} of {table}: {code}", self.name);
        false
    }

    fn part(&self, owner: &mut Client, table: &str) {
        owner.batch_execute(&self.part.replace("{table}", table)).unwrap();
    }
}

/// A session that has written before, and a customer.
fn living(database: &Database) -> (Client, Uuid) {
    let mut client = database.connect();
    let ann = register_ann(&mut client).id;
    for status in ["SUSPENDED", "ACTIVE"] {
        call(&mut client, "set_status($1, $2)", &[&ann, &status]).unwrap();
    }
    registered(&mut client);
    (client, ann)
}

const REMOVALS: [&str; 7] = [
    "DELETE FROM public.other",
    "TRUNCATE public.other",
    "MERGE INTO public.other USING (VALUES (1)) AS v ON true WHEN MATCHED THEN DELETE",
    "DELETE FROM customers.customers",
    "DELETE FROM ONLY customers.customers",
    "TRUNCATE customers.customers",
    "TRUNCATE ONLY customers.customers",
];

const CHANGES: [&str; 13] = [
    "UPDATE public.other SET name = 'Silent'",
    "UPDATE public.other SET status = 'CLOSED', version = 7",
    "UPDATE public.other SET customer_id = '00000000-0000-4000-8000-00000000ffff' WHERE customer_id = '{ann}'",
    "MERGE INTO public.other USING (VALUES (1)) AS v ON true WHEN MATCHED THEN UPDATE SET name = 'Silent'",
    "INSERT INTO public.other (customer_id, email, status, registered_at, updated_at, version)
     VALUES (gen_random_uuid(), 'new@example.com', 'ACTIVE', now(), now(), 1)",
    "UPDATE customers.customers SET name = 'Plain'",
    "UPDATE ONLY customers.customers SET name = 'Plain'",
    "INSERT INTO customers.customers (email) VALUES ('new@example.com')",
    "SELECT customers.register_customer('new@example.com')",
    "SELECT customers.import_customers('[{\"email\": \"new@example.com\"}]')",
    "SELECT customers.set_status('{ann}', 'SUSPENDED')",
    "SELECT customers.update_customer('{ann}', name => 'Anna')",
    "SELECT customers.patch_customer('{ann}', '{\"name\": null}')",
];

/// Asserts that a statement is recorded, or refused with one of `codes`.
fn assert_recorded_or_refused(client: &mut Client, statement: &str, codes: &[&str], about: &str) {
    let before = recorded(client);
    let about = format!("{about}: {statement}");
    let code = undone(client, |transaction| match transaction.batch_execute(statement) {
        Ok(()) => {
            assert_recorded_since(transaction, &before, &about);
            None
        }
        Err(error) => Some(refusal::<()>(Err(error)).code().code().to_owned()),
    });
    assert!(code.as_deref().is_none_or(|code| codes.contains(&code)), "{about}: {code:?}");
    assert_recorded_since(client, &before, &about);
    assert_eq!(recorded(client), before, "{about}");
}

#[test]
fn what_reaches_customers_through_another_table_is_recorded_or_refused() {
    for relation in RELATIONS {
        let database = database();
        let (mut client, ann) = living(&database);
        if !relation.relate(&mut database.connect(), "customers") {
            continue;
        }
        for client in [&mut client, &mut database.connect()] {
            for change in CHANGES {
                let change = change.replace("{ann}", &ann.to_string());
                assert_recorded_or_refused(client, &change, &["55000"], relation.name);
            }
            for removal in REMOVALS {
                assert_recorded_or_refused(client, removal, &["55000", "23514"], relation.name);
            }
        }
    }
}

#[test]
fn what_reaches_events_through_another_table_rewrites_nothing() {
    for relation in RELATIONS {
        let database = database();
        let (mut client, ann) = living(&database);
        if !relation.relate(&mut database.connect(), "events") {
            continue;
        }
        for client in [&mut client, &mut database.connect()] {
            for table in ["public.other", "customers.events", "ONLY customers.events"] {
                for rewriting in [
                    "UPDATE {table} SET changes = '{\"email\": \"forged@example.com\"}'",
                    "UPDATE {table} SET customer_id = '00000000-0000-4000-8000-00000000ffff'",
                    "DELETE FROM {table}",
                    "MERGE INTO {table} AS e USING (VALUES (1)) AS v ON true WHEN MATCHED THEN DELETE",
                    "TRUNCATE {table}",
                ] {
                    let rewriting = rewriting.replace("{table}", table);
                    let codes = ["55000", "23514"];
                    assert_recorded_or_refused(client, &rewriting, &codes, relation.name);
                }
            }
            for change in CHANGES.iter().filter(|change| change.contains("customers.")) {
                let change = change.replace("{ann}", &ann.to_string());
                assert_recorded_or_refused(client, &change, &["55000"], relation.name);
            }
        }
    }
}

#[test]
fn a_change_that_waited_while_the_table_got_a_parent_is_recorded_or_refused() {
    for (table, relation) in [("customers", &RELATIONS[0]), ("customers", &RELATIONS[2])] {
        let database = database();
        let (mut client, _) = living(&database);
        let before = recorded(&mut client);
        let session = pid(&mut client);
        let mut owner = database.connect();
        owner.batch_execute("BEGIN").unwrap();
        if !relation.relate(&mut owner, table) {
            continue;
        }
        let waiting = thread::spawn(move || {
            client.batch_execute("SELECT customers.register_customer('late@example.com')")
        });
        await_blocked(&mut database.connect(), session);
        owner.batch_execute("COMMIT").unwrap();
        if let Err(error) = waiting.join().unwrap() {
            assert_refused::<()>(Err(error), "55000", &["late@"]);
        }
        assert_recorded_since(&mut owner, &before, relation.name);
    }
}

#[test]
fn a_living_session_works_again_once_the_table_stands_alone() {
    for table in ["customers", "events"] {
        for relation in RELATIONS {
            let database = database();
            let (mut client, ann) = living(&database);
            let mut owner = database.connect();
            if !relation.relate(&mut owner, table) {
                continue;
            }
            let suspend = format!("SELECT customers.set_status('{ann}', 'SUSPENDED')");
            assert_recorded_or_refused(&mut client, &suspend, &["55000"], relation.name);
            relation.part(&mut owner, table);

            let before = recorded(&mut client);
            call(&mut client, "set_status($1, 'SUSPENDED')", &[&ann]).unwrap();
            registered(&mut client);
            client.batch_execute("UPDATE customers.customers SET name = 'Plain'").unwrap();
            assert_eq!(recorded(&mut client).len(), before.len() + 1 + 1 + 3, "{}", relation.name);
            assert_recorded_since(&mut client, &before, relation.name);
        }
    }
}

#[test]
fn attach_refuses_a_table_that_has_parents_or_children() {
    for table in ["customers", "events"] {
        for relation in RELATIONS {
            let mut client = database().connect();
            if !relation.relate(&mut client, table) {
                continue;
            }
            assert_refused(client.batch_execute("SELECT customers.attach()"), "55000", &[]);
            relation.part(&mut client, table);
            client.batch_execute("SELECT customers.attach()").unwrap();
        }
    }
}

/// No trigger fires on the child, so the reads must exclude its rows.
#[test]
fn what_stands_in_a_child_is_no_event_to_a_reader() {
    let database = database();
    let (mut client, _) = living(&database);
    let before = positions(&mut client);
    let forge = "CREATE TABLE public.other () INHERITS (customers.events);
                 INSERT INTO public.other
                 SELECT (jsonb_populate_record(e, '{\"position\": 5, \"changes\": {\"name\": \"Forged\"}}')).*
                   FROM ONLY customers.events AS e LIMIT 1";
    if let Err(error) = client.batch_execute(forge) {
        return assert_refused::<()>(Err(error), "55000", &[]);
    }
    match client.batch_execute("SELECT customers.read_events(0)") {
        Ok(()) => assert_eq!(fetched(&mut client, "read_events(0)"), before),
        Err(error) => assert_refused::<()>(Err(error), "55000", &["Forged"]),
    }
}
