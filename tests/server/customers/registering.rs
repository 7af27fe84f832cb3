//! Promise: registering creates a customer at version 1, once.

use crate::kit::{address, assert_refused, database};
use uuid::Uuid;

#[test]
fn a_registered_customer_is_active_at_version_1() {
    let mut client = database().connect();
    let row = client
        .query_one(
            "SELECT * FROM customers.register_customer($1, $2)",
            &[&" Ann@Example.COM ", &"Ann"],
        )
        .unwrap();
    assert_eq!(row.get::<_, &str>("email"), "ann@example.com");
    assert_eq!(row.get::<_, Option<&str>>("name"), Some("Ann"));
    assert_eq!(row.get::<_, &str>("status"), "ACTIVE");
    assert_eq!(row.get::<_, i64>("version"), 1);
}

#[test]
fn a_retry_with_the_same_id_returns_the_customer_and_records_nothing() {
    let mut client = database().connect();
    let (id, email) = (Uuid::from_u128(7), address());
    let register = "SELECT version FROM customers.register_customer($1, $2, $3)";
    for _ in 0..3 {
        let row = client.query_one(register, &[&email, &"Ann", &id]).unwrap();
        assert_eq!(row.get::<_, i64>(0), 1);
    }
    let events = client.query_one("SELECT count(*) FROM customers.events", &[]).unwrap();
    assert_eq!(events.get::<_, i64>(0), 1);

    let other = address();
    assert_refused(client.query(register, &[&email, &"Bob", &id]), "23505", &[&email, "Bob"]);
    assert_refused(client.query(register, &[&other, &"Ann", &id]), "23505", &[&other, "Ann"]);
}
