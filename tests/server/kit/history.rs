//! Compares the feed with the customers, for tests that check whether it is complete.

use crate::kit::{all, registered};
use postgres::{Client, GenericClient};

/// Every event of the table itself, without children, in order.
pub fn recorded(client: &mut impl GenericClient) -> Vec<String> {
    let query = "SELECT concat_ws('|', position, event_id, type, customer_id, version, occurred_at, changes,
                                  recorded_by, actor, reason)
                   FROM ONLY customers.events ORDER BY position";
    let rows = client.query(query, &[]).expect("the feed can be read");
    rows.iter().map(|row| row.get(0)).collect()
}

/// Asserts that the feed has lost and changed nothing since `before`, and that applying each customer's
/// events in order gives its row in the table itself.
pub fn assert_recorded_since(client: &mut impl GenericClient, before: &[String], about: &str) {
    let now = recorded(client);
    assert!(now.starts_with(before), "{about}: {before:?} became {now:?}");
    let query = "
        SELECT concat_ws(' ', customer_id, version, 'but', versions)
          FROM ONLY customers.customers AS c
          FULL JOIN (SELECT customer_id, array_agg(version ORDER BY position) AS versions,
                            bool_or(type = 'customer-erased') AS erased,
                            (array_agg(changes ->> 'email' ORDER BY position DESC)
                                 FILTER (WHERE changes ? 'email'))[1] AS email,
                            (array_agg(changes ->> 'name' ORDER BY position DESC)
                                 FILTER (WHERE changes ? 'name'))[1] AS name,
                            (array_agg(changes ->> 'status' ORDER BY position DESC)
                                 FILTER (WHERE changes ? 'status'))[1] AS status
                       FROM ONLY customers.events GROUP BY customer_id) AS told USING (customer_id)
         WHERE versions IS DISTINCT FROM ARRAY(SELECT generate_series(1, c.version))
            OR NOT erased AND (c.email, c.name, c.status) IS DISTINCT FROM (told.email, told.name, told.status)";
    let faults = client.query(query, &[]).expect("the tables can be read");
    let faults: Vec<String> = faults.iter().map(|row| row.get(0)).collect();
    assert!(faults.is_empty(), "{about}: not as recorded: {faults:?}");
}

/// Registers this many customers.
pub fn register(client: &mut Client, count: usize) {
    for _ in 0..count {
        registered(client);
    }
}

/// The positions that a consumer which has read up to `after` gets next.
pub fn positions_after(client: &mut Client, after: i64) -> Vec<i64> {
    all(client, "SELECT position FROM customers.read_events($1, 10000)", &[&after])
}

/// Runs `attempt` in a transaction of its own, and rolls it back.
pub fn undone<T>(client: &mut Client, attempt: impl FnOnce(&mut postgres::Transaction) -> T) -> T {
    let mut transaction = client.transaction().expect("BEGIN");
    let result = attempt(&mut transaction);
    transaction.rollback().expect("ROLLBACK");
    result
}
