//! Promise: a change that does not change the address neither waits for nor deadlocks with foreign keys
//! that reference the customer.

use crate::kit::traffic::is_deadlock;
use crate::kit::{
    Database, address, await_blocked, call, database, event_count, one, pid, register_ann,
    registered,
};
use postgres::Client;
use std::thread;
use uuid::Uuid;

const ORDER: &str = "INSERT INTO public.orders (customer_id) VALUES ($1)";

/// A database with a table that references customers.
fn with_orders() -> Database<'static> {
    let database = database();
    let orders =
        "CREATE TABLE public.orders (customer_id uuid NOT NULL REFERENCES customers.customers)";
    database.connect().batch_execute(orders).unwrap();
    database
}

/// A session that fails instead of waiting.
fn impatient(database: &Database) -> Client {
    let mut client = database.connect();
    client.batch_execute("SET lock_timeout = '1s'").unwrap();
    client
}

#[test]
fn a_change_that_leaves_the_address_alone_does_not_wait_for_who_references_the_customer() {
    let database = with_orders();
    let mut ordering = database.connect();
    let ann = register_ann(&mut ordering);
    let spelled = ann.email.to_uppercase();
    let mut order = ordering.transaction().unwrap();
    order.execute(ORDER, &[&ann.id]).unwrap();
    let mut client = impatient(&database);
    let patch = serde_json::json!({"email": spelled, "status": "ACTIVE"});
    let mut version = 1;
    for (command, changes) in [
        ("set_status($1, 'SUSPENDED')", true),
        ("set_status($1, 'SUSPENDED')", false),
        ("set_status($1, 'ACTIVE', 'a reason', 2)", true),
        ("update_customer($1, name => 'Bea')", true),
        ("update_customer($1, name => 'Cleo', status => 'SUSPENDED', expected_version => 4)", true),
        ("update_customer($1)", false),
        ("patch_customer($1, '{\"name\": null}')", true),
    ] {
        let customer = call(&mut client, command, &[&ann.id]);
        let customer = customer.unwrap_or_else(|error| panic!("{command}: {error:?}"));
        version += i64::from(changes);
        assert_eq!(customer.version, version, "{command}");
    }
    // The customer's current address.
    for email in [&ann.email, &spelled] {
        let same = call(&mut client, "update_customer($1, $2)", &[&ann.id, email]).unwrap();
        assert_eq!((same.email, same.version), (ann.email.clone(), version));
    }
    let named = call(&mut client, "update_customer($1, $2, 'Dora')", &[&ann.id, &spelled]).unwrap();
    assert_eq!(named.version, version + 1);
    let patched = call(&mut client, "patch_customer($1, $2)", &[&ann.id, &patch]).unwrap();
    assert_eq!(patched.version, version + 2);
    call(&mut client, "set_status($1, 'CLOSED')", &[&ann.id]).unwrap();
    order.commit().unwrap();
}

#[test]
fn who_references_a_customer_does_not_wait_for_an_open_change_that_leaves_the_address_alone() {
    let database = with_orders();
    let mut changing = database.connect();
    let id = registered(&mut changing);
    let mut ordering = impatient(&database);
    for command in ["set_status($1, 'SUSPENDED')", "update_customer($1, name => 'Bea')"] {
        let mut change = changing.transaction().unwrap();
        call(&mut change, command, &[&id]).unwrap();
        ordering.execute(ORDER, &[&id]).unwrap_or_else(|error| panic!("{command}: {error:?}"));
        change.commit().unwrap();
    }
}

#[test]
fn a_change_of_address_waits_for_who_references_the_customer() {
    let database = with_orders();
    let mut ordering = database.connect();
    let id = registered(&mut ordering);
    for command in
        ["update_customer($1, $2)", "patch_customer($1, jsonb_build_object('email', $2::text))"]
    {
        let mut order = ordering.transaction().unwrap();
        order.execute(ORDER, &[&id]).unwrap();
        let mut client = database.connect();
        let session = pid(&mut client);
        let email = address();
        let changing = thread::spawn(move || call(&mut client, command, &[&id, &email]));
        await_blocked(&mut database.connect(), session);
        order.commit().unwrap();
        changing.join().unwrap().unwrap();
    }
}

#[test]
fn of_240_orders_that_change_their_customer_none_deadlocks() {
    const SESSIONS: usize = 8;
    const EACH: usize = 30;
    let database = with_orders();
    let mut client = database.connect();
    let customers: Vec<Uuid> = (0..3).map(|_| registered(&mut client)).collect();
    let order = |session: usize| {
        let mut client = database.connect();
        client.batch_execute("SET deadlock_timeout = '10ms'").unwrap();
        let mut deadlocks = 0;
        for turn in 0..EACH {
            let id = customers[(session + turn) % customers.len()];
            let mut transaction = client.transaction().unwrap();
            transaction.execute(ORDER, &[&id]).unwrap();
            let changed = if turn.is_multiple_of(2) {
                let status = if session.is_multiple_of(2) { "ACTIVE" } else { "SUSPENDED" };
                call(&mut transaction, "set_status($1, $2)", &[&id, &status])
            } else {
                let name = format!("Ann {session} {turn}");
                call(&mut transaction, "update_customer($1, name => $2)", &[&id, &name])
            };
            match changed.and_then(|_| transaction.commit()) {
                Ok(()) => {}
                Err(error) if is_deadlock(&error) => deadlocks += 1,
                Err(error) => panic!("{error:?}"),
            }
        }
        deadlocks
    };
    let deadlocks: usize = thread::scope(|scope| {
        let order = &order;
        let sessions: Vec<_> =
            (0..SESSIONS).map(|session| scope.spawn(move || order(session))).collect();
        sessions.into_iter().map(|session| session.join().unwrap()).sum()
    });
    assert_eq!(deadlocks, 0);
    let ordered: i64 = one(&mut client, "SELECT count(*) FROM public.orders", &[]);
    assert_eq!(ordered as usize, SESSIONS * EACH);
    let versions: i64 =
        one(&mut client, "SELECT sum(version)::bigint FROM customers.customers", &[]);
    assert_eq!(event_count(&mut client), versions, "each change has its event");
}
