//! Promise: of sessions that compete for one address, one customer or one version, one wins, and the others
//! are refused without PostgreSQL's DETAIL.

use crate::kit::{
    Database, address, all, assert_refused, await_blocked, database, one, pid, refusal, registered,
};
use postgres::{Client, Error, Row};
use std::sync::{Barrier, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use uuid::Uuid;

const MANY: usize = 64;

/// Only one race at a time, or their sessions would exceed max_connections.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Runs `work` in that many sessions at the same time, each with its number.
fn race<T: Send>(
    database: &Database,
    sessions: usize,
    work: impl Fn(&mut Client, usize) -> T + Sync,
) -> Vec<T> {
    let _turn = turn();
    let start = Barrier::new(sessions);
    thread::scope(|scope| {
        let run = |number| {
            let (start, work) = (&start, &work);
            scope.spawn(move || {
                let mut client = database.connect();
                start.wait();
                work(&mut client, number)
            })
        };
        let threads: Vec<_> = (0..sessions).map(run).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Runs a statement in a session of its own; returns once it waits for another.
fn start_and_block(
    database: &Database,
    mut client: Client,
    statement: &'static str,
    id: Uuid,
    value: &str,
) -> JoinHandle<(Client, Result<Row, Error>)> {
    let session = pid(&mut client);
    let value = value.to_owned();
    let thread = thread::spawn(move || {
        let result = client.query_one(statement, &[&id, &value]);
        (client, result)
    });
    await_blocked(&mut database.connect(), session);
    thread
}

fn versions(client: &mut Client) -> Vec<i64> {
    all(client, "SELECT version FROM customers.events ORDER BY position", &[])
}

#[test]
fn of_64_sessions_that_register_one_address_one_wins() {
    let database = database();
    let email = address();
    let spellings = [email.clone(), email.to_uppercase(), format!(" {email}\t")];
    let results = race(&database, MANY, |client, number| {
        let register = "SELECT customer_id FROM customers.register_customer($1, 'Ann')";
        client.query_one(register, &[&spellings[number % spellings.len()]])
    });
    let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, MANY - 1));
    for refused in lost {
        assert_refused(refused, "23505", &[&email, "person", "Key ("]);
    }
    assert_eq!(versions(&mut database.connect()), [1]);
}

#[test]
fn sixty_four_retries_with_one_id_return_one_customer() {
    let database = database();
    let email = address();
    let mut customers = race(&database, MANY, |client, number| {
        let spelling = if number % 2 == 0 { email.clone() } else { email.to_uppercase() };
        one::<String>(
            client,
            "SELECT customers.register_customer($1, $2, $3)::text",
            &[&spelling, &"Ann", &Uuid::from_u128(7)],
        )
    });
    customers.dedup();
    assert_eq!(customers.len(), 1, "{customers:?}");
    assert_eq!(versions(&mut database.connect()), [1]);
}

#[test]
fn a_retry_waits_for_the_first_attempt_and_registers_where_that_rolls_back() {
    let database = database();
    let register = "SELECT customer_id FROM customers.register_customer($2, 'Ann', $1)";
    let mut first = database.connect();
    for (end, events) in [("ROLLBACK", 1), ("COMMIT", 2)] {
        let (id, email) = (crate::kit::id(), address());
        first.batch_execute("BEGIN").unwrap();
        first.query_one(register, &[&id, &email]).unwrap();
        let retry = start_and_block(&database, database.connect(), register, id, &email);
        first.batch_execute(end).unwrap();
        assert_eq!(retry.join().unwrap().1.unwrap().get::<_, Uuid>(0), id);
        assert_eq!(versions(&mut first).len(), events);
    }
}

#[test]
fn of_many_sessions_with_one_expected_version_one_wins() {
    let database = database();
    let id = registered(&mut database.connect());
    for call in [
        "SELECT version FROM customers.update_customer($1, name => $2, expected_version => $3)",
        "SELECT version FROM customers.patch_customer($1, jsonb_build_object('name', $2::text), $3)",
        "SELECT version FROM customers.set_status($1, $2, NULL, $3)",
    ] {
        let mut client = database.connect();
        let now: i64 = one(&mut client, "SELECT version FROM customers.get_customer($1)", &[&id]);
        let status = call.contains("set_status");
        let results = race(&database, 24, |client, number| {
            // A new name: setting the current one would change nothing and always succeed.
            let name = format!("Name {number} of version {now}");
            let value = if status { "SUSPENDED".to_owned() } else { name };
            client.query_one(call, &[&id, &value, &now])
        });
        let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        assert_eq!((won.len(), lost.len()), (1, 23), "{call}");
        for refused in lost {
            let error = refusal(refused);
            assert_eq!(error.code().code(), "PT409", "{error:?}");
            assert!(error.hint().is_some());
            let detail = error.detail().unwrap_or_default();
            for number in [now, now + 1] {
                assert!(detail.contains(&number.to_string()), "{detail:?}");
            }
        }
    }
    assert_eq!(versions(&mut database.connect()), [1, 2, 3, 4]);
}

#[test]
fn a_version_that_another_session_is_about_to_change_is_refused_once_it_has() {
    let database = database();
    let mut first = database.connect();
    let id = registered(&mut first);
    let update =
        "SELECT version FROM customers.update_customer($1, name => $2, expected_version => 1)";
    for (end, code) in [("ROLLBACK", None), ("COMMIT", Some("PT409"))] {
        first.batch_execute("BEGIN; UPDATE customers.customers SET status = 'SUSPENDED'").unwrap();
        let mut second = database.connect();
        second.batch_execute("BEGIN").unwrap();
        let waiting = start_and_block(&database, second, update, id, "Ann");
        first.batch_execute(end).unwrap();
        let (mut second, result) = waiting.join().unwrap();
        match code {
            None => assert_eq!(result.unwrap().get::<_, i64>(0), 2),
            Some(code) => assert_refused(result, code, &["Ann"]),
        }
        second.batch_execute("ROLLBACK").unwrap();
    }
}

#[test]
fn who_loses_a_race_for_an_address_is_told_without_the_address() {
    let database = database();
    let mut first = database.connect();
    let (mine, theirs, email) = (registered(&mut first), registered(&mut first), address());
    for (statement, id) in [
        ("SELECT customers.update_customer($1, email => $2)::text", theirs),
        (
            "SELECT customers.patch_customer($1, jsonb_build_object('email', $2::text))::text",
            theirs,
        ),
        ("SELECT customers.register_customer($2, customer_id => $1)::text", Uuid::from_u128(7)),
    ] {
        first.batch_execute("BEGIN").unwrap();
        let take = "SELECT customers.update_customer($1, email => $2)::text";
        first.query_one(take, &[&mine, &email]).unwrap();
        let waiting = start_and_block(&database, database.connect(), statement, id, &email);
        first.batch_execute("COMMIT").unwrap();
        let (_, result) = waiting.join().unwrap();
        let error = refusal(result);
        assert_eq!(error.code().code(), "23505", "{statement}");
        assert_eq!(error.constraint(), Some("customers_email_key"));
        assert_eq!(error.detail(), None);
        assert!(error.hint().is_some());
        assert!(!format!("{error:?}").contains(&email), "{error:?}");
        let free = "SELECT customers.update_customer($1, email => $2)::text";
        first.query_one(free, &[&mine, &address()]).unwrap();
    }
    // If the winner rolls back, the session that waited gets the address.
    first.batch_execute("BEGIN").unwrap();
    let update = "SELECT customers.update_customer($1, email => $2)::text";
    first.query_one(update, &[&mine, &email]).unwrap();
    let waiting = start_and_block(&database, database.connect(), update, theirs, &email);
    first.batch_execute("ROLLBACK").unwrap();
    assert!(waiting.join().unwrap().1.is_ok());
}

#[test]
fn two_updates_of_one_customer_both_count() {
    let database = database();
    let mut first = database.connect();
    let id = registered(&mut first);
    // The second transaction began before the first, so its now() is earlier.
    let mut second = database.connect();
    second.batch_execute("BEGIN; SELECT now()").unwrap();
    first.batch_execute("BEGIN").unwrap();
    let rename = "SELECT version FROM customers.update_customer($1, name => $2)";
    let set = "SELECT version FROM customers.set_status($1, $2)";
    assert_eq!(first.query_one(rename, &[&id, &"Ann"]).unwrap().get::<_, i64>(0), 2);
    let waiting = start_and_block(&database, second, set, id, "SUSPENDED");
    first.batch_execute("COMMIT").unwrap();
    let (mut second, result) = waiting.join().unwrap();
    assert_eq!(result.unwrap().get::<_, i64>(0), 3);
    second.batch_execute("COMMIT").unwrap();

    let customer = "SELECT name || ' ' || status FROM customers.get_customer($1)";
    assert_eq!(one::<String>(&mut first, customer, &[&id]), "Ann SUSPENDED", "neither is lost");
    let by_position = "SELECT array_agg(version ORDER BY position) = '{1,2,3}'
                          AND array_agg(version ORDER BY occurred_at) = '{1,2,3}'
                          AND count(DISTINCT occurred_at) = 3
                         FROM customers.events";
    assert!(one::<bool>(&mut first, by_position, &[]));
}

#[test]
fn many_updates_of_one_customer_all_count() {
    let database = database();
    let id = registered(&mut database.connect());
    let mut versions = race(&database, MANY, |client, number| {
        let rename = "SELECT version FROM customers.update_customer($1, name => $2)";
        one::<i64>(client, rename, &[&id, &format!("Name {number}")])
    });
    versions.sort_unstable();
    assert_eq!(versions, (2..=MANY as i64 + 1).collect::<Vec<_>>());
    let in_order =
        "SELECT array_agg(version ORDER BY position) = array_agg(version ORDER BY version)
                      FROM customers.events";
    assert!(one::<bool>(&mut database.connect(), in_order, &[]));
}
