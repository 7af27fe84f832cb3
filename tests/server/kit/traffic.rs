//! Writers and consumers that act at random.

use super::{Database, address, disable_notify, one, positions, registered, unique};
use postgres::error::{DbError, SqlState};
use postgres::{Client, Error, Transaction};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use uuid::Uuid;

pub const CONSUMERS: [&str; 3] = ["copy", "mailer", "search"];

/// Pseudo-random numbers (splitmix64), reproducible by the seed.
pub struct Rng(pub u64);

impl Rng {
    /// From 0 to `sides` - 1.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.roll(100) < chance
    }

    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len() as u64) as usize].clone()
    }

    pub fn sleep(&mut self, up_to_ms: u64) {
        thread::sleep(Duration::from_micros(self.roll(up_to_ms * 1000)));
    }
}

/// A committed change: the customer, and its new version.
pub type Change = (Uuid, i64);

/// A writer of transactions of all kinds.
pub struct Writer<'a> {
    pub client: Client,
    pub rng: Rng,
    /// Customers that all writers change.
    shared: &'a [Uuid],
    prepares: bool,
}

impl<'a> Writer<'a> {
    pub fn start(database: &Database, shared: &'a [Uuid], seed: u64) -> Self {
        let mut client = database.connect();
        let prepares = seed.is_multiple_of(4);
        if prepares {
            disable_notify(&mut client);
        }
        client.batch_execute("SET deadlock_timeout = '10ms'").unwrap();
        Self { client, rng: Rng(seed), shared, prepares }
    }

    /// Runs one transaction; returns what it changed, if it certainly committed.
    pub fn write(&mut self) -> Result<Vec<Change>, Error> {
        let Self { client, rng, shared, prepares } = self;
        let prepared = (*prepares && rng.percent(30)).then(|| unique("storm"));
        let mut transaction = client.transaction()?;
        let mut changes = Vec::new();
        for _ in 0..=rng.roll(4) {
            if rng.percent(30) {
                let mut savepoint = transaction.savepoint("s")?;
                let inside = step(&mut savepoint, rng, shared)?;
                if rng.percent(50) {
                    savepoint.rollback()?;
                } else {
                    savepoint.commit()?;
                    changes.extend(inside);
                }
            } else {
                changes.extend(step(&mut transaction, rng, shared)?);
            }
            rng.sleep(4);
        }
        let aborts = rng.percent(20);
        match prepared {
            None if aborts => transaction.rollback()?,
            None => transaction.commit()?,
            Some(name) => {
                transaction.batch_execute(&format!("PREPARE TRANSACTION '{name}'"))?;
                drop(transaction);
                rng.sleep(20);
                let end = if aborts { "ROLLBACK" } else { "COMMIT" };
                client.batch_execute(&format!("{end} PREPARED '{name}'"))?;
            }
        }
        Ok(if aborts { Vec::new() } else { changes })
    }
}

/// Runs one statement of a transaction.
fn step(
    transaction: &mut Transaction,
    rng: &mut Rng,
    shared: &[Uuid],
) -> Result<Vec<Change>, Error> {
    let name = format!("Name {}", rng.roll(1_000_000));
    let rows = match rng.roll(4) {
        0 => {
            let emails: Vec<String> = (0..=rng.roll(5)).map(|_| address()).collect();
            let insert =
                "INSERT INTO customers.customers (email, name) SELECT unnest($1::text[]), $2
                          RETURNING customer_id, version";
            transaction.query(insert, &[&emails, &name])
        }
        1 => {
            let several = [rng.pick(shared), rng.pick(shared), rng.pick(shared)];
            let update = "UPDATE customers.customers SET name = $2 WHERE customer_id = ANY ($1)
                          RETURNING customer_id, version";
            transaction.query(update, &[&several.as_slice(), &name])
        }
        2 => {
            let status = rng.pick(&["ACTIVE", "SUSPENDED"]);
            let set = "SELECT customer_id, version FROM customers.set_status($1, $2)";
            transaction.query(set, &[&rng.pick(shared), &status])
        }
        _ => {
            let update = "SELECT customer_id, version FROM customers.update_customer($1, $2, $3)";
            transaction.query(update, &[&rng.pick(shared), &address(), &name])
        }
    };
    Ok(rows?.iter().map(|row| (row.get(0), row.get(1))).collect())
}

pub fn is_deadlock(error: &Error) -> bool {
    error.code() == Some(&SqlState::T_R_DEADLOCK_DETECTED)
}

/// A consumer's copy of the customers, and how it was made.
#[derive(Default)]
pub struct Replica {
    customers: BTreeMap<Uuid, (i64, Value)>,
    applied: Vec<i64>,
    /// The position of the last acknowledgement that is known to have committed.
    acknowledged: i64,
    /// The number of its sessions that were terminated.
    pub deaths: usize,
}

impl Replica {
    /// Applies the events after the consumer's position; false if there were none.
    fn consume(
        &mut self,
        client: &mut Client,
        consumer: &str,
        rng: &mut Rng,
    ) -> Result<bool, Error> {
        let acknowledge = "SELECT customers.acknowledge($1, $2)";
        let size = 1 + rng.roll(50) as i32;
        let last = if rng.percent(50) {
            let mut transaction = client.transaction()?;
            let last = self.fetch(transaction.query(FETCH, &[&consumer, &size])?);
            if let Some(last) = last {
                rng.sleep(5);
                transaction.execute(acknowledge, &[&consumer, &last])?;
            }
            transaction.commit()?;
            last
        } else {
            let last = self.fetch(client.query(FETCH, &[&consumer, &size])?);
            if let Some(last) = last {
                rng.sleep(5);
                client.execute(acknowledge, &[&consumer, &last])?;
            }
            last
        };
        self.acknowledged = last.unwrap_or(self.acknowledged);
        Ok(last.is_some())
    }

    /// Applies a batch, and returns its last position.
    fn fetch(&mut self, batch: Vec<postgres::Row>) -> Option<i64> {
        let mut before = self.acknowledged;
        for row in &batch {
            let position: i64 = row.get(0);
            assert!(position > before, "{position} comes after {before}");
            before = position;
            if self.applied.last().is_none_or(|last| position > *last) {
                self.applied.push(position);
                self.apply(row.get(1), row.get(2));
            } else {
                // Fetched before by a session that was terminated before its acknowledgement.
                let seen = self.applied.binary_search(&position).is_ok();
                assert!(seen, "{position} appeared behind {:?}", self.applied.last());
            }
        }
        batch.last().map(|row| row.get(0))
    }

    fn apply(&mut self, customer_id: Uuid, event: Value) {
        let version = event["version"].as_i64().unwrap();
        let (known, copy) = self.customers.entry(customer_id).or_default();
        assert_eq!(version, *known + 1, "versions of {customer_id} come in order");
        *known = version;
        if version == 1 {
            *copy = event["customer"].clone();
        }
        if let Some(changes) = event["changes"].as_object() {
            changes.iter().for_each(|(field, value)| copy[field] = value.clone());
        }
    }
}

const FETCH: &str = "SELECT position, customer_id, event FROM customers.fetch_events($1, $2)";

/// Consumes until `quiet` is set and nothing is left, in one session after another.
pub fn consume_all(database: &Database, consumer: &str, quiet: &AtomicBool) -> Replica {
    let (mut copy, mut rng) = (Replica::default(), Rng(consumer.len() as u64));
    loop {
        let mut client = connect_again(database);
        let ended = client.batch_execute(&format!("SET application_name = '{consumer}'"));
        let mut result = ended.map(|()| true);
        while result.is_ok() {
            let last_look = quiet.load(Ordering::Acquire);
            result = copy.consume(&mut client, consumer, &mut rng);
            if let Ok(false) = result {
                if last_look {
                    return copy;
                }
                rng.sleep(2);
            }
        }
        assert_died(&result.unwrap_err());
        copy.deaths += 1;
    }
}

/// Sets a flag when dropped, so that others stop waiting for it even if a test fails.
pub struct SetWhenDropped<'a>(pub &'a AtomicBool);

impl Drop for SetWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A session, once the server has recovered.
pub fn connect_again(database: &Database) -> Client {
    let since = Instant::now();
    loop {
        match database.server.connect_as(&database.name, "postgres") {
            Ok(client) => return client,
            Err(error) => assert!(since.elapsed() < Duration::from_secs(30), "{error:?}"),
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Asserts that an error only reports the end of a session or its server.
pub fn assert_died(error: &Error) {
    let expected = [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN];
    let died = error.as_db_error().map(DbError::code).is_none_or(|code| expected.contains(code));
    assert!(died, "{error:?}");
}

/// Customers that many writers change.
pub fn shared_customers(database: &Database) -> Vec<Uuid> {
    let mut client = database.connect();
    for consumer in CONSUMERS {
        client.execute("SELECT customers.subscribe($1)", &[&consumer]).unwrap();
    }
    (0..20).map(|_| registered(&mut client)).collect()
}

pub fn assert_replica_is_true(client: &mut Client, consumer: &str, copy: &Replica) {
    assert_eq!(copy.applied, positions(client), "{consumer} got every event, once");
    let customers = client.query(
        "SELECT customer_id, version,
                jsonb_build_object('customerId', customer_id, 'email', email, 'name', name, 'status', status)
           FROM customers.customers",
        &[],
    );
    let customers = customers.unwrap();
    assert_eq!(customers.len(), copy.customers.len());
    for row in customers {
        let (version, mut copied) = copy.customers[&row.get::<_, Uuid>(0)].clone();
        // An event leaves out a name that was never set.
        if copied.get("name").is_none() {
            copied["name"] = Value::Null;
        }
        assert_eq!((version, copied), (row.get(1), row.get(2)), "{consumer}'s copy");
    }
}

/// Asserts that the feed holds each change of each customer, and nothing else.
pub fn assert_feed_is_whole(client: &mut Client) {
    let differing: i64 = one(
        client,
        "SELECT count(*)
           FROM customers.customers AS c
           FULL JOIN (SELECT customer_id, array_agg(e.version ORDER BY e.position) AS versions
                        FROM customers.events AS e GROUP BY customer_id) AS recorded USING (customer_id)
          WHERE versions IS DISTINCT FROM ARRAY(SELECT generate_series(1, c.version))",
        &[],
    );
    assert_eq!(differing, 0);
}
