//! Promise: the events of one statement are in order: a function that changes a customer whom the calling
//! statement is still writing is refused, and no other call is.

use crate::kit::history::{assert_recorded_since, recorded, undone};
use crate::kit::{
    Customer, address, assert_refused, call, database, one, refusal, register_ann, stored,
};
use postgres::Client;
use uuid::Uuid;

/// A session that has written before, and two customers.
fn living() -> (Client, Customer, Customer) {
    let mut client = database().connect();
    let (ann, bea) = (register_ann(&mut client), register_ann(&mut client));
    client.batch_execute(HELPERS).unwrap();
    (client, ann, bea)
}

const HELPERS: &str = "
    CREATE FUNCTION public.close(id uuid) RETURNS int LANGUAGE plpgsql AS $$
        BEGIN
            UPDATE customers.customers SET status = 'CLOSED' WHERE customer_id = id;
            RETURN 1;
        END $$;
    CREATE FUNCTION public.try_to_suspend(id uuid) RETURNS text LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM customers.set_status(id, 'SUSPENDED');
            RETURN 'done';
        EXCEPTION WHEN object_not_in_prerequisite_state THEN
            RETURN 'refused';
        END $$";

/// Statements that write a customer and call a function that changes the same one.
const ON_THE_SAME: [&str; 11] = [
    "INSERT INTO customers.customers (email) VALUES ('new@example.com')
     RETURNING (customers.set_status(customer_id, 'SUSPENDED')).version",
    "INSERT INTO customers.customers (email) VALUES ('new@example.com')
     RETURNING customers.erase_customer(customer_id)",
    "INSERT INTO customers.customers (email) VALUES ('new@example.com') RETURNING public.close(customer_id)",
    "INSERT INTO customers.customers (email) VALUES ('{email}')
     ON CONFLICT (email) DO UPDATE SET name = 'Anna' RETURNING customers.set_status(customer_id, 'SUSPENDED')",
    "UPDATE customers.customers SET name = 'Anna' WHERE customer_id = '{id}'
     RETURNING (customers.set_status(customer_id, 'SUSPENDED')).version",
    "UPDATE customers.customers SET name = 'Anna' WHERE customer_id = '{id}'
     RETURNING customers.update_customer(customer_id, name => 'Anne')",
    "UPDATE customers.customers SET name = 'Anna' WHERE customer_id = '{id}'
     RETURNING customers.patch_customer(customer_id, '{\"name\": null}')",
    "UPDATE customers.customers SET name = 'Anna' WHERE customer_id = '{id}' RETURNING public.close(customer_id)",
    "WITH new AS (INSERT INTO customers.customers (email) VALUES ('new@example.com') RETURNING customer_id)
     SELECT (customers.update_customer(customer_id, name => 'Anna')).version FROM new",
    "WITH changed AS (UPDATE customers.customers SET name = 'Anna' WHERE customer_id = '{id}' RETURNING customer_id)
     SELECT customers.set_status(customer_id, 'SUSPENDED') FROM changed",
    "WITH changed AS (UPDATE customers.customers SET name = 'Anna' WHERE customer_id = '{id}' RETURNING customer_id)
     SELECT public.close(customer_id) FROM changed",
];

fn on(ann: &Customer, statement: &str) -> String {
    statement.replace("{id}", &ann.id.to_string()).replace("{email}", &ann.email)
}

fn assert_in_order_since(client: &mut Client, before: &[String], events: usize, about: &str) {
    assert_recorded_since(client, before, about);
    assert_eq!(recorded(client).len(), before.len() + events, "{about}");
}

#[test]
fn a_command_on_whom_the_statement_itself_writes_is_refused() {
    let (mut client, ann, _) = living();
    for statement in ON_THE_SAME {
        let statement = on(&ann, statement);
        let before = recorded(&mut client);
        let refused = client.batch_execute(&statement);
        let refused = refused.inspect(|()| eprintln!("{statement}"));
        assert_refused(refused, "55000", &["new@example.com", "Anna", "Anne"]);
        assert_in_order_since(&mut client, &before, 0, &statement);
    }
    // Also from another function, and with bound parameters.
    let insert = "INSERT INTO customers.customers (email) VALUES ($1)
                  RETURNING (customers.set_status(customer_id, 'SUSPENDED')).version";
    for _ in 0..7 {
        assert_refused(client.query(insert, &[&"new@example.com"]), "55000", &["new@example.com"]);
    }
}

/// Creates a trigger that calls a function for the customer whom a statement writes.
fn trigger(client: &mut Client, kind: &str, when: &str, does: &str) {
    client
        .batch_execute(&format!(
            "CREATE OR REPLACE FUNCTION public.of_the_owner() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN {does}; RETURN NEW; END $$;
             DROP TRIGGER IF EXISTS a_of_the_owner ON customers.customers;
             CREATE {kind} TRIGGER a_of_the_owner {when} EXECUTE FUNCTION public.of_the_owner()"
        ))
        .unwrap();
}

const SUSPEND_NEW: &str = "PERFORM customers.set_status(NEW.customer_id, 'SUSPENDED')";

#[test]
fn a_command_from_a_row_trigger_on_the_same_row_is_refused() {
    let (mut client, ann, _) = living();
    for does in [
        SUSPEND_NEW,
        "UPDATE customers.customers SET status = 'SUSPENDED' WHERE customer_id = NEW.customer_id",
    ] {
        let when = "AFTER INSERT OR UPDATE ON customers.customers FOR EACH ROW WHEN (NEW.status = 'ACTIVE')";
        trigger(&mut client, "", when, does);
        for statement in [
            "INSERT INTO customers.customers (email) VALUES ('new@example.com')",
            "SELECT customers.register_customer('new@example.com')",
            "SELECT customers.register_customer('new@example.com', NULL, gen_random_uuid())",
            "UPDATE customers.customers SET name = 'Anna' WHERE customer_id = '{id}'",
            "SELECT customers.update_customer('{id}', name => 'Anna')",
        ] {
            let before = recorded(&mut client);
            let refused = client.batch_execute(&on(&ann, statement));
            assert_refused(refused, "55000", &["new@example.com", "Anna"]);
            assert_in_order_since(&mut client, &before, 0, statement);
        }
    }
}

/// PostgreSQL itself refuses the row then (27000), and so may the extension.
#[test]
fn a_command_from_a_trigger_before_the_row_is_written_leaves_nothing_behind() {
    let (mut client, ann, _) = living();
    let when = "BEFORE UPDATE ON customers.customers FOR EACH ROW WHEN (NEW.status = 'ACTIVE')";
    trigger(&mut client, "", when, SUSPEND_NEW);
    for statement in [
        "UPDATE customers.customers SET name = 'Anna' WHERE customer_id = '{id}'",
        "SELECT customers.update_customer('{id}', name => 'Anna')",
        // The statement may reach the row before or after the call.
        "UPDATE customers.customers SET name = 'Anna' RETURNING customers.set_status('{id}', 'CLOSED')",
    ] {
        let before = recorded(&mut client);
        let code = refusal(client.batch_execute(&on(&ann, statement))).code().code().to_owned();
        assert!(["55000", "27000"].contains(&code.as_str()), "{code}");
        assert_in_order_since(&mut client, &before, 0, statement);
    }
}

/// By its name, it fires before or after the extension's own triggers.
#[test]
fn a_command_from_a_statement_trigger_is_refused_or_recorded_in_order() {
    for name in ["a", "z"] {
        let (mut client, ann, _) = living();
        client
            .batch_execute(&format!(
                "CREATE FUNCTION public.suspend_all() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                     PERFORM customers.set_status(customer_id, 'SUSPENDED') FROM written WHERE status = 'ACTIVE';
                     RETURN NULL;
                 END $$;
                 CREATE TRIGGER {name}i AFTER INSERT ON customers.customers REFERENCING NEW TABLE AS written
                     FOR EACH STATEMENT EXECUTE FUNCTION public.suspend_all();
                 CREATE TRIGGER {name}u AFTER UPDATE ON customers.customers REFERENCING NEW TABLE AS written
                     FOR EACH STATEMENT EXECUTE FUNCTION public.suspend_all()"
            ))
            .unwrap();
        for statement in [
            "INSERT INTO customers.customers (email) VALUES ('new@example.com')",
            "SELECT customers.register_customer('newer@example.com')",
            "UPDATE customers.customers SET name = 'Anna' WHERE customer_id = '{id}'",
        ] {
            let before = recorded(&mut client);
            match client.batch_execute(&on(&ann, statement)) {
                Ok(()) => assert_in_order_since(&mut client, &before, 2, statement),
                Err(error) => {
                    assert_refused::<()>(Err(error), "55000", &["new@example.com", "Anna"]);
                    assert_in_order_since(&mut client, &before, 0, statement);
                }
            }
        }
    }
}

#[test]
fn a_command_on_others_works_within_a_statement() {
    let (mut client, ann, bea) = living();
    let suspends_bea = format!("customers.set_status('{}', 'SUSPENDED')", bea.id);
    for (statement, events) in [
        (format!("INSERT INTO customers.customers (email) VALUES ('{}') RETURNING {suspends_bea}", address()), 2),
        (format!("UPDATE customers.customers SET name = 'Anna' WHERE customer_id = '{}' RETURNING {suspends_bea}", ann.id), 2),
        (
            format!(
                "WITH new AS (INSERT INTO customers.customers (email) VALUES ('{}') RETURNING 1)
                 SELECT {suspends_bea} FROM new",
                address()
            ),
            2,
        ),
        (format!("INSERT INTO customers.customers (email) VALUES ('{}') RETURNING customers.register_customer('{}')", address(), address()), 2),
        // Reads, and setting the current status, are no changes.
        ("UPDATE customers.customers SET name = 'Anne' WHERE customer_id = '{id}' RETURNING (SELECT version FROM customers.get_customer(customer_id))".to_owned(), 1),
    ] {
        let before = recorded(&mut client);
        client.batch_execute(&on(&ann, &statement)).unwrap_or_else(|why| panic!("{statement}: {why:?}"));
        assert_in_order_since(&mut client, &before, events, &statement);
        call(&mut client, "set_status($1, 'ACTIVE')", &[&bea.id]).unwrap();
    }
    let when = format!(
        "AFTER UPDATE ON customers.customers FOR EACH ROW WHEN (NEW.customer_id = '{}')",
        ann.id
    );
    trigger(&mut client, "", &when, &format!("PERFORM {suspends_bea}"));
    let before = recorded(&mut client);
    client
        .batch_execute(&on(
            &ann,
            "UPDATE customers.customers SET name = 'An' WHERE customer_id = '{id}'",
        ))
        .unwrap();
    assert_in_order_since(&mut client, &before, 2, "a trigger about others");
}

#[test]
fn a_deferred_trigger_may_change_whom_the_statement_wrote() {
    let (mut client, ann, _) = living();
    trigger(
        &mut client,
        "CONSTRAINT",
        "AFTER INSERT OR UPDATE ON customers.customers DEFERRABLE INITIALLY DEFERRED
         FOR EACH ROW WHEN (NEW.status = 'ACTIVE')",
        SUSPEND_NEW,
    );
    for statement in [
        "INSERT INTO customers.customers (email) VALUES ('new@example.com')",
        "SELECT customers.register_customer('newer@example.com')",
        "UPDATE customers.customers SET name = 'Anna' WHERE customer_id = '{id}'",
    ] {
        let before = recorded(&mut client);
        client
            .batch_execute(&on(&ann, statement))
            .unwrap_or_else(|why| panic!("{statement}: {why:?}"));
        assert_in_order_since(&mut client, &before, 2, statement);
    }
}

#[test]
fn a_later_statement_of_the_same_transaction_may_change_whom_an_earlier_one_wrote() {
    let (mut client, ann, _) = living();
    for (transaction, events) in [
        (
            "BEGIN;
             INSERT INTO customers.customers (email) VALUES ('one@example.com');
             SELECT customers.set_status(customer_id, 'SUSPENDED') FROM customers.find_customer('one@example.com');
             UPDATE customers.customers SET name = 'One' WHERE email = 'one@example.com';
             COMMIT",
            3,
        ),
        (
            "DO $$ BEGIN
                 INSERT INTO customers.customers (email) VALUES ('two@example.com');
                 PERFORM customers.set_status(customer_id, 'SUSPENDED') FROM customers.find_customer('two@example.com');
                 PERFORM public.close(customer_id) FROM customers.find_customer('two@example.com');
             END $$",
            3,
        ),
        // Statements of a function, within a statement about another customer.
        (
            "CREATE FUNCTION public.both() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
                 INSERT INTO customers.customers (email) VALUES ('three@example.com');
                 PERFORM customers.set_status(customer_id, 'SUSPENDED') FROM customers.find_customer('three@example.com');
                 RETURN 1;
             END $$;
             UPDATE customers.customers SET name = 'Anna' WHERE customer_id = '{id}' RETURNING public.both()",
            3,
        ),
    ] {
        let before = recorded(&mut client);
        client.batch_execute(&on(&ann, transaction)).unwrap_or_else(|why| panic!("{transaction}: {why:?}"));
        assert_in_order_since(&mut client, &before, events, transaction);
    }
}

#[test]
fn after_a_refusal_that_was_caught_the_transaction_may_go_on_with_the_customer() {
    let (mut client, ann, _) = living();
    for statement in ON_THE_SAME {
        let statement = on(&ann, statement);
        let before = recorded(&mut client);
        let mut transaction = client.transaction().unwrap();
        let mut savepoint = transaction.savepoint("s").unwrap();
        assert_eq!(refusal(savepoint.batch_execute(&statement)).code().code(), "55000");
        savepoint.rollback().unwrap();
        let email = address();
        let suspend = "set_status($1, 'SUSPENDED')";
        let insert = "INSERT INTO customers.customers (email) VALUES ($1) RETURNING customer_id";
        let new: Uuid = one(&mut transaction, insert, &[&email]);
        call(&mut transaction, suspend, &[&new]).unwrap();
        call(&mut transaction, suspend, &[&ann.id]).unwrap();
        call(&mut transaction, "set_status($1, 'ACTIVE')", &[&ann.id]).unwrap();
        transaction.commit().unwrap();
        assert_in_order_since(&mut client, &before, 4, &statement);
    }
}

#[test]
fn a_refusal_that_is_caught_within_the_statement_leaves_it_as_it_is() {
    let (mut client, ann, _) = living();
    for (statement, events) in [
        (
            "INSERT INTO customers.customers (email) VALUES ('new@example.com') RETURNING public.try_to_suspend(customer_id)",
            1,
        ),
        (
            "UPDATE customers.customers SET name = 'Anna' WHERE customer_id = '{id}' RETURNING public.try_to_suspend(customer_id)",
            1,
        ),
    ] {
        let before = recorded(&mut client);
        let mut transaction = client.transaction().unwrap();
        let answer: String = one(&mut transaction, &on(&ann, statement), &[]);
        assert_eq!(answer, "refused", "{statement}");
        call(&mut transaction, "update_customer($1, name => 'Anne')", &[&ann.id]).unwrap();
        transaction.commit().unwrap();
        assert_in_order_since(&mut client, &before, events + 1, statement);
    }
    assert_eq!(stored(&mut client, ann.id).name.as_deref(), Some("Anne"));
}

#[test]
fn where_the_owner_has_recording_disabled_plain_statements_are_not_refused() {
    let (mut client, _, _) = living();
    client
        .batch_execute(
            "ALTER TABLE customers.customers DISABLE TRIGGER record_registered, DISABLE TRIGGER record_updated",
        )
        .unwrap();
    let before = recorded(&mut client);
    client
        .batch_execute(
            "BEGIN;
             INSERT INTO customers.customers (email) VALUES ('new@example.com');
             UPDATE customers.customers SET name = 'New' WHERE email = 'new@example.com';
             UPDATE customers.customers SET name = 'Newer' WHERE email = 'new@example.com';
             COMMIT",
        )
        .unwrap();
    assert_eq!(recorded(&mut client), before);
    let version = "SELECT version FROM customers.find_customer('new@example.com')";
    assert_eq!(one::<i64>(&mut client, version, &[]), 3);
}

#[test]
fn many_rows_of_one_statement_are_no_hindrance() {
    let (mut client, _, _) = living();
    let before = recorded(&mut client);
    undone(&mut client, |transaction| {
        transaction
            .batch_execute(
                "INSERT INTO customers.customers (email) SELECT i || '@example.com' FROM generate_series(1, 5000) AS i;
                 UPDATE customers.customers SET name = 'Many';
                 UPDATE customers.customers SET status = 'SUSPENDED'",
            )
            .unwrap();
        assert_recorded_since(transaction, &before, "5,000 rows");
    });
}
