//! Promise: an import returns a row for each customer, in order; bad ones do not stop good ones, and no
//! customer that existed is recorded again.

use crate::feed::notifying::{check_collapse, writer};
use crate::kit::positions;
use crate::kit::{
    Customer, Database, address, all, assert_refused, await_blocked, call, contents, database,
    event_count, id, one, pid, refusal, register_ann, stored,
};
use postgres::{Client, Error, GenericClient};
use serde_json::{Value, json};
use std::thread::{self, JoinHandle};
use uuid::Uuid;

/// Part of every value that no message may disclose.
const SECRET: &str = "zyxw";

#[derive(Clone, Debug, PartialEq)]
enum Outcome {
    Registered(Uuid),
    Exists(Uuid),
    /// With this SQLSTATE and message.
    Refused(String, String),
}
use Outcome::{Exists, Refused, Registered};

impl Outcome {
    fn sqlstate(&self) -> &str {
        match self {
            Refused(sqlstate, message) => {
                assert!(!message.is_empty() && !message.contains(SECRET), "{message:?}");
                sqlstate
            }
            other => panic!("{other:?} should have been refused"),
        }
    }

    fn registered(&self) -> Uuid {
        match self {
            Registered(id) => *id,
            other => panic!("{other:?} should have been registered"),
        }
    }
}

/// Imports a batch; asserts that the result has one row for each customer, numbered from 1 in their order.
fn try_import(client: &mut impl GenericClient, batch: &Value) -> Result<Vec<Outcome>, Error> {
    let rows = client.query("SELECT * FROM customers.import_customers($1)", &[batch])?;
    let ordinals: Vec<i32> = rows.iter().map(|row| row.get("ordinal")).collect();
    assert!(ordinals.iter().copied().eq(1..=batch.as_array().unwrap().len() as i32));
    let outcome = |row: &postgres::Row| {
        let id: Option<Uuid> = row.get("customer_id");
        let why: (Option<String>, Option<String>) = (row.get("sqlstate"), row.get("message"));
        match (row.get("outcome"), id, why) {
            ("registered", Some(id), (None, None)) => Registered(id),
            ("exists", Some(id), (None, None)) => Exists(id),
            ("refused", None, (Some(sqlstate), Some(message))) => Refused(sqlstate, message),
            _ => panic!("{row:?}"),
        }
    };
    Ok(rows.iter().map(outcome).collect())
}

fn import(client: &mut impl GenericClient, batch: &Value) -> Vec<Outcome> {
    try_import(client, batch).unwrap_or_else(|error| panic!("{error:?}"))
}

/// Imports one customer and returns what was stored.
fn import_one(client: &mut Client, customer: Value) -> Customer {
    let id = import(client, &json!([customer]))[0].registered();
    stored(client, id)
}

fn people(count: usize) -> Value {
    (0..count).map(|_| json!({"email": address(), "name": "Ann"})).collect()
}

#[test]
fn bad_customers_do_not_stop_good_ones() {
    let mut client = database().connect();
    let ann = register_ann(&mut client);
    let (bea, cleo) = (address(), address());
    let outcomes = import(
        &mut client,
        &json!([
            {"email": "zyxw"},
            {"email": bea, "name": "Bea"},
            17,
            {"email": ann.email},
            {"email": cleo, "status": "zyxw"},
            {"email": cleo},
        ]),
    );
    let (bea_id, cleo_id) = (outcomes[1].registered(), outcomes[5].registered());
    assert_eq!(outcomes[3], Exists(ann.id));
    for refused in [0, 2, 4] {
        assert_eq!(outcomes[refused].sqlstate(), "22023");
    }
    let stored = [bea_id, cleo_id].map(|id| stored(&mut client, id));
    assert_eq!(stored.each_ref().map(|customer| &customer.email), [&bea, &cleo]);
    assert_eq!(stored.each_ref().map(|customer| customer.name.as_deref()), [Some("Bea"), None]);
    assert_eq!(event_count(&mut client), 3);
}

#[test]
fn every_kind_of_bad_customer_is_refused() {
    let mut client = database().connect();
    let good = || json!({"email": address(), "name": "Ann"});
    let with = |field: &str, value: Value| {
        let mut customer = good();
        customer[field] = value;
        customer
    };
    let mut bad = vec![
        json!(null),
        json!(true),
        json!(1),
        json!("zyxw@example.com"),
        json!([]),
        json!([{"email": "zyxw@example.com"}]),
        json!({}),
        json!({"name": "Zyxw"}),
        with("password", json!("zyxw")),
        with("password", json!(null)),
        with("Email", json!("zyxw@example.com")),
        with("zyxw@example.com", json!("zyxw")),
        with("version", json!(1)),
        with("", json!("zyxw")),
    ];
    for field in ["email", "name", "customerId", "status", "registeredAt"] {
        let no_text = [json!(1), json!(true), json!(["zyxw"]), json!({"zyxw": "zyxw"})];
        bad.extend(no_text.map(|value| with(field, value)));
        bad.push(with(field, json!("")));
        bad.push(with(field, json!("zyxw\u{202e}")));
    }
    bad.extend([
        with("email", json!(null)),
        with("email", json!("zyxw@localhost")),
        with("email", json!("zyxw@erased.invalid")),
        with("name", json!("Zyxw\nZyxw")),
        with("name", json!("zyxw ".repeat(41))),
        with("status", json!("active")),
        with("status", json!("zyxw")),
        with("customerId", json!("zyxw")),
        with("customerId", json!("00000000-0000-0000-0000-00000000000")),
    ]);
    bad.extend(
        [
            "zyxw",
            "2020-02-02",
            "2020-02-02T20:20:02",
            "02/02/2020 20:20 UTC",
            "2020-02-30T20:20:02Z",
            "2020-02-02T25:20:02Z",
            "infinity",
            "-infinity",
            "now",
            "1580674802",
            "-009999-01-01T00:00:00Z",
            "2999-01-01T00:00:00Z",
        ]
        .map(|moment| with("registeredAt", json!(moment))),
    );

    let mixed: Vec<Value> = bad.iter().flat_map(|bad| [bad.clone(), good()]).collect();
    let outcomes = import(&mut client, &Value::Array(mixed));
    for (bad, pair) in bad.iter().zip(outcomes.chunks(2)) {
        assert!(matches!(pair[0], Refused(..)), "{bad}: {:?}", pair[0]);
        assert_eq!(pair[0].sqlstate(), "22023", "{bad}");
        pair[1].registered();
    }
    let registered: i64 = one(&mut client, "SELECT count(*) FROM customers.customers", &[]);
    assert_eq!(registered as usize, bad.len());
}

#[test]
fn a_field_that_is_not_part_of_the_profile_is_refused_by_name() {
    let mut client = database().connect();
    let told = |client: &mut Client, field: &str| match import(
        client,
        &json!([{"email": address(), field: 1}]),
    )
    .remove(0)
    {
        Refused(_, message) => message,
        other => panic!("{other:?}"),
    };
    assert!(told(&mut client, "password").contains("password"));
    assert!(!told(&mut client, "Zyxw@example.com").to_lowercase().contains(SECRET));
}

#[test]
fn null_for_an_optional_field_means_that_it_is_not_given() {
    let mut client = database().connect();
    let mut transaction = client.transaction().unwrap();
    let bare = json!({"email": address()});
    let nulls = json!({
        "email": address(), "name": null, "customerId": null, "status": null, "registeredAt": null,
    });
    let ids = import(&mut transaction, &json!([bare, nulls]));
    let now = one(&mut transaction, "SELECT now()", &[]);
    let customers = ids.iter().map(|outcome| stored(&mut transaction, outcome.registered()));
    for customer in customers.collect::<Vec<_>>() {
        assert_eq!(
            (customer.name, customer.status.as_str(), customer.version),
            (None, "ACTIVE", 1)
        );
        assert_eq!((customer.registered_at, customer.updated_at), (now, now));
    }
}

#[test]
fn id_status_and_moment_are_taken_as_given() {
    let mut client = database().connect();
    client.batch_execute("SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'SQL, DMY'").unwrap();
    for status in ["ACTIVE", "SUSPENDED", "CLOSED"] {
        let (id, email) = (id(), address());
        let before: std::time::SystemTime = one(&mut client, "SELECT now()", &[]);
        let customer = import_one(
            &mut client,
            json!({
                "email": format!(" {} ", email.to_uppercase()),
                "name": " Ann ",
                "customerId": id.to_string().to_uppercase(),
                "status": status,
                "registeredAt": "2020-03-02T21:20:02.123456+01:00",
            }),
        );
        let moment = "SELECT timestamptz '2020-03-02 20:20:02.123456 UTC'";
        assert_eq!(customer.registered_at, one(&mut client, moment, &[]));
        assert!(customer.updated_at >= before);
        assert_eq!(
            (customer.id, customer.email, customer.name.as_deref(), &*customer.status),
            (id, email, Some("Ann"), status)
        );
        assert_eq!(customer.version, 1);
    }
}

#[test]
fn a_moment_may_be_written_in_every_way_of_rfc_3339() {
    let mut client = database().connect();
    for (text, moment) in [
        ("1970-01-01T00:00:00Z", "1970-01-01 00:00:00 UTC"),
        ("1900-01-01T00:00:00Z", "1900-01-01 00:00:00 UTC"),
        ("2020-02-02t20:20:02z", "2020-02-02 20:20:02 UTC"),
        ("2020-02-29T23:59:59.999999-12:30", "2020-03-01 12:29:59.999999 UTC"),
        ("2020-02-02T20:20:02.5+00:00", "2020-02-02 20:20:02.5 UTC"),
    ] {
        let customer = import_one(&mut client, json!({"email": address(), "registeredAt": text}));
        let moment = format!("SELECT timestamptz '{moment}'");
        assert_eq!(customer.registered_at, one(&mut client, &moment, &[]), "{text}");
    }
}

#[test]
fn of_two_alike_in_one_batch_the_first_registers() {
    let mut client = database().connect();
    let (id, other_id) = (id(), crate::kit::id());
    let (email, other) = (address(), address());
    let spelled = format!("\t{} ", email.to_uppercase());
    let outcomes = import(
        &mut client,
        &json!([
            {"email": email, "name": "First", "customerId": id.to_string()},
            {"email": spelled},
            {"email": email, "name": "Second", "customerId": id.to_string(), "status": "CLOSED"},
            {"email": other, "customerId": id.to_string()},
            {"email": spelled, "customerId": other_id.to_string()},
            {"email": other},
        ]),
    );
    assert_eq!(outcomes[..3], [Registered(id), Exists(id), Exists(id)]);
    assert_eq!([outcomes[3].sqlstate(), outcomes[4].sqlstate()], ["23505", "23505"]);
    outcomes[5].registered();
    let first = stored(&mut client, id);
    assert_eq!((first.name.as_deref(), &*first.status), (Some("First"), "ACTIVE"));
    assert_eq!(event_count(&mut client), 2);
}

#[test]
fn customers_who_are_there_stay_as_they_are() {
    let mut client = database().connect();
    let (ann, bea) = (register_ann(&mut client), register_ann(&mut client));
    let closed = register_ann(&mut client);
    call(&mut client, "set_status($1, 'CLOSED')", &[&closed.id]).unwrap();
    let before = contents(&mut client);
    let outcomes = import(
        &mut client,
        &json!([
            {"email": ann.email, "name": "Other", "status": "SUSPENDED"},
            {"email": ann.email.to_uppercase(), "customerId": ann.id.to_string()},
            {"email": closed.email},
            {"email": address(), "customerId": ann.id.to_string()},
            {"email": bea.email, "customerId": ann.id.to_string()},
            {"email": bea.email, "customerId": id().to_string()},
        ]),
    );
    assert_eq!(outcomes[..3], [Exists(ann.id), Exists(ann.id), Exists(closed.id)]);
    for refused in &outcomes[3..] {
        assert_eq!(refused.sqlstate(), "23505");
    }
    assert_eq!(contents(&mut client), before);
}

#[test]
fn a_second_import_of_the_same_batch_records_nothing() {
    let mut client = database().connect();
    let batch: Value = (0..50)
        .map(|n| match n % 3 {
            0 => json!({"email": address()}),
            1 => json!({"email": address(), "customerId": id().to_string(), "status": "SUSPENDED"}),
            _ => json!({"email": address(), "registeredAt": "2020-02-02T20:20:02Z"}),
        })
        .collect();
    let first = import(&mut client, &batch);
    let before = contents(&mut client);
    let exist: Vec<_> = first.iter().map(|outcome| Exists(outcome.registered())).collect();
    assert_eq!(import(&mut client, &batch), exist);
    assert_eq!(contents(&mut client), before);
}

#[test]
fn one_event_is_recorded_for_each_who_registers_and_none_for_the_others() {
    let mut client = database().connect();
    let ann = register_ann(&mut client);
    let (bea, cleo) = (address(), address());
    client.batch_execute("SET customer_db.actor = 'loader'").unwrap();
    let outcomes = import(
        &mut client,
        &json!([
            {"email": bea, "name": "Bea", "status": "CLOSED"},
            {"email": "zyxw"},
            {"email": ann.email},
            {"email": bea},
            {"email": cleo},
        ]),
    );
    let events = "SELECT jsonb_build_array(customer_id, version, type, actor, changes)
                    FROM customers.events WHERE position > 1 ORDER BY position";
    let registered = |id: Uuid, changes: Value| {
        json!([id.to_string(), 1, "customer-registered", "loader", changes])
    };
    assert_eq!(
        all::<Value>(&mut client, events, &[]),
        [
            registered(
                outcomes[0].registered(),
                json!({"email": bea, "name": "Bea", "status": "CLOSED"})
            ),
            registered(outcomes[4].registered(), json!({"email": cleo, "status": "ACTIVE"})),
        ]
    );
}

#[test]
fn an_import_that_is_rolled_back_leaves_nothing() {
    let mut client = database().connect();
    let before = contents(&mut client);
    let batch = people(3);
    let mut transaction = client.transaction().unwrap();
    import(&mut transaction, &batch);
    transaction.rollback().unwrap();
    assert_eq!(contents(&mut client), before);
    for outcome in import(&mut client, &batch) {
        outcome.registered();
    }
}

/// Imports in a session of its own; returns once that waits for another.
fn start_and_block(database: &Database, batch: &Value) -> JoinHandle<Vec<Outcome>> {
    let (mut client, batch) = (database.connect(), batch.clone());
    let session = pid(&mut client);
    let thread = thread::spawn(move || import(&mut client, &batch));
    await_blocked(&mut database.connect(), session);
    thread
}

#[test]
fn of_two_sessions_with_one_batch_the_second_waits_and_finds_what_the_first_registered() {
    let database = database();
    let mut client = database.connect();
    let batch = json!([
        {"email": address()},
        {"email": address(), "customerId": id().to_string()},
        {"email": "zyxw"},
    ]);
    let mut first = client.transaction().unwrap();
    let ids: Vec<Uuid> = import(&mut first, &batch)[..2].iter().map(Outcome::registered).collect();
    let second = start_and_block(&database, &batch);
    first.commit().unwrap();
    let outcomes = second.join().unwrap();
    assert_eq!(outcomes[..2], [Exists(ids[0]), Exists(ids[1])]);
    assert_eq!(outcomes[2].sqlstate(), "22023");
    assert_eq!(event_count(&mut client), 2);
}

#[test]
fn a_second_session_registers_what_the_first_rolled_back() {
    let database = database();
    let mut client = database.connect();
    let batch = people(2);
    let mut first = client.transaction().unwrap();
    let lost: Vec<Uuid> = import(&mut first, &batch).iter().map(Outcome::registered).collect();
    let second = start_and_block(&database, &batch);
    first.rollback().unwrap();
    for outcome in second.join().unwrap() {
        assert!(!lost.contains(&outcome.registered()));
    }
    assert_eq!(event_count(&mut client), 2);
}

#[test]
fn an_empty_batch_has_no_answers() {
    let mut client = database().connect();
    assert_eq!(import(&mut client, &json!([])), []);
    assert_eq!(event_count(&mut client), 0);
}

#[test]
fn what_is_no_array_is_refused() {
    let mut client = database().connect();
    for bad in [
        None,
        Some(json!(null)),
        Some(json!({})),
        Some(json!({"email": "zyxw@example.com"})),
        Some(json!("zyxw@example.com")),
        Some(json!(1)),
        Some(json!(true)),
    ] {
        let result = client.query("SELECT * FROM customers.import_customers($1)", &[&bad]);
        assert_refused(result, "22023", &[SECRET]);
    }
    assert_eq!(event_count(&mut client), 0);
}

#[test]
fn ten_thousand_customers_are_one_batch() {
    let mut client = database().connect();
    let batch = people(10_000);
    let ids: Vec<Uuid> = import(&mut client, &batch).iter().map(Outcome::registered).collect();
    let emails: Vec<String> = all(
        &mut client,
        "SELECT email FROM unnest($1::uuid[]) WITH ORDINALITY AS answer (customer_id, ordinal)
                JOIN customers.customers USING (customer_id) ORDER BY ordinal",
        &[&ids],
    );
    let given = batch.as_array().unwrap().iter().map(|customer| customer["email"].as_str());
    assert!(emails.iter().map(|email| Some(email.as_str())).eq(given), "each has his own id");
    assert_eq!(event_count(&mut client), 10_000);
}

#[test]
fn a_constraint_of_the_owners_refuses_the_whole_call_by_its_name() {
    let mut client = database().connect();
    let check = "ADD CONSTRAINT no_robots CHECK (email NOT LIKE 'zyxw%')";
    client.batch_execute(&format!("ALTER TABLE customers.customers {check}")).unwrap();
    let batch = json!([{"email": address()}, {"email": "zyxw@example.com", "name": "Zyxw"}]);
    let error = refusal(try_import(&mut client, &batch));
    assert_eq!((error.code().code(), error.constraint()), ("23514", Some("no_robots")));
    assert_eq!((error.detail(), error.where_()), (None, None));
    assert!(!format!("{error:?}").to_lowercase().contains(SECRET), "{error:?}");
    assert_eq!(event_count(&mut client), 0);
}

#[test]
fn a_unique_constraint_of_the_owners_is_not_taken_for_the_address() {
    let mut client = database().connect();
    let unique = "ADD CONSTRAINT one_of_a_name UNIQUE (name)";
    client.batch_execute(&format!("ALTER TABLE customers.customers {unique}")).unwrap();
    register_ann(&mut client);
    let told = match try_import(&mut client, &json!([{"email": address(), "name": "Ann"}])) {
        Ok(outcomes) => format!("{outcomes:?}"),
        Err(error) => refusal::<()>(Err(error)).message().to_owned(),
    };
    assert!(!told.contains("address"), "{told}");
}

#[test]
fn an_import_beyond_the_limit_sends_one_notification_for_the_rest() {
    let database = database();
    let mut listener = database.listen();
    let mut client = writer(&database, 3);
    import(&mut client, &people(10));
    let positions = positions(&mut client);
    assert_eq!(positions.len(), 10);
    check_collapse(&crate::kit::received(&mut listener), &positions, 3);
}

#[test]
fn an_element_of_very_many_fields_is_refused_alone() {
    let mut client = database().connect();
    let outcomes = "SELECT array_agg(concat_ws(' ', outcome, sqlstate) ORDER BY ordinal)
                      FROM customers.import_customers(jsonb_build_array(
                               (SELECT jsonb_object_agg('field' || n, n) FROM generate_series(1, 100000) AS n),
                               jsonb_build_object('email', $1::text)))";
    let outcomes: Vec<String> = one(&mut client, outcomes, &[&address()]);
    assert_eq!(outcomes, ["refused 22023", "registered"]);
}
