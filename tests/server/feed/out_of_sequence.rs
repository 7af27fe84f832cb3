//! Promise: whatever is done to the sequence of positions, no position is drawn twice or at or below what
//! was recorded, acknowledged or pruned, and readers see exactly the events that exist.

use crate::kit::history::{positions_after, recorded, register};
use crate::kit::{
    Database, address, assert_refused, await_true, call, database, fetched, one, positions,
    refusal, registered,
};
use postgres::Client;

/// The highest position, the largest integer that is exact as a JSON number.
const LAST: i64 = (1 << 53) - 1;

fn setval(owner: &mut Client, arguments: &str) {
    let setval = format!("SELECT setval('customers.events_position_seq', {arguments})");
    owner.batch_execute(&setval).unwrap();
}

/// Registrations of every kind.
fn registrations() -> [String; 4] {
    [
        format!("SELECT customers.register_customer('{}')", address()),
        format!("SELECT customers.register_customer('{}', 'Ann', gen_random_uuid())", address()),
        format!("INSERT INTO customers.customers (email) VALUES ('{}')", address()),
        format!(
            "INSERT INTO customers.customers (email) VALUES ('{}'), ('{}')",
            address(),
            address()
        ),
    ]
}

/// Asserts that every registration is refused, in a session that has registered before and in a new one,
/// after the sequence was set to this value.
fn assert_each_refused(living: &mut Client, database: &Database, set: &str) {
    let before = recorded(living);
    let mut owner = database.connect();
    for client in [living, &mut database.connect()] {
        for registration in registrations() {
            setval(&mut owner, set);
            let refused = client.batch_execute(&registration);
            assert_refused(refused.inspect(|()| eprintln!("{registration}")), "55000", &["person"]);
        }
        setval(&mut owner, set);
        let change = "UPDATE customers.customers SET name = coalesce(name, '') || 'n'";
        assert_refused(client.batch_execute(change), "55000", &["person"]);
        assert_eq!(recorded(client), before);
    }
}

/// A session that has registered this many customers.
fn living(database: &Database, events: usize) -> Client {
    let mut client = database.connect();
    register(&mut client, events);
    client
}

#[test]
fn a_sequence_behind_the_feed_refuses_writers_until_it_is_mended() {
    for behind in ["1, false", "1", "3", "4, true", "5, false"] {
        let database = database();
        let mut living = living(&database, 5);
        assert_each_refused(&mut living, &database, behind);

        setval(&mut database.connect(), "(SELECT max(position) FROM customers.events)");
        for client in [&mut living, &mut database.connect()] {
            registered(client);
        }
        assert_eq!(positions(&mut living), [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(positions_after(&mut living, 5), [6, 7]);
    }
}

#[test]
fn a_sequence_that_is_set_back_within_a_transaction_is_noticed_by_its_next_change() {
    let database = database();
    let mut living = living(&database, 3);
    living.batch_execute("BEGIN").unwrap();
    registered(&mut living);
    setval(&mut database.connect(), "1, false");
    let refused = call(&mut living, "register_customer($1)", &[&address()]);
    assert_refused(refused, "55000", &["person"]);
    living.batch_execute("ROLLBACK").unwrap();
    assert_eq!(positions(&mut living), [1, 2, 3]);
}

#[test]
fn nothing_is_recorded_at_or_below_what_was_acknowledged_or_pruned() {
    for consumer in [true, false] {
        let database = database();
        let mut living = living(&database, 3);
        let mut owner = database.connect();
        if consumer {
            owner
                .batch_execute(
                    "SELECT customers.subscribe('mailer'); SELECT customers.acknowledge('mailer', 3)",
                )
                .unwrap();
        }
        owner.batch_execute("SELECT customers.prune_events('0 days')").unwrap();
        assert!(recorded(&mut owner).is_empty());
        for behind in ["1, false", "2", "3, false"] {
            assert_each_refused(&mut living, &database, behind);
        }
        setval(&mut owner, "3");
        registered(&mut living);
        assert_eq!(positions(&mut living), [4]);
        if consumer {
            assert_eq!(fetched(&mut living, "fetch_events('mailer')"), [4]);
        }
    }
}

#[test]
fn a_sequence_that_restarts_ahead_is_no_event_to_readers() {
    let database = database();
    let mut living = living(&database, 3);
    let mut reader = database.connect();
    reader
        .batch_execute(
            "SELECT customers.subscribe('mailer'); SELECT customers.acknowledge('mailer', 2)",
        )
        .unwrap();
    assert_eq!(positions_after(&mut reader, 0), [1, 2, 3]);
    for (restart, first) in [
        ("ALTER SEQUENCE customers.events_position_seq RESTART WITH 5000", 5000),
        ("SELECT setval('customers.events_position_seq', 6000)", 6001),
        ("SELECT setval('customers.events_position_seq', 7000, false)", 7000),
        ("ALTER TABLE customers.events ALTER position RESTART WITH 8000", 8000),
    ] {
        database.connect().batch_execute(restart).unwrap();
        let (before, last) = (positions(&mut living), *positions(&mut living).last().unwrap());
        for client in [&mut reader, &mut database.connect()] {
            assert_eq!(positions_after(client, 0), before, "{restart}");
            assert_eq!(positions_after(client, last), [0; 0], "{restart}");
            assert_eq!(one::<i64>(client, "SELECT customers.feed_position()", &[]), last);
            assert_eq!(fetched(client, "fetch_events('mailer')"), before[2..], "{restart}");
            if last < 4999 {
                let beyond = client.batch_execute("SELECT customers.acknowledge('mailer', 4999)");
                assert_refused(beyond, "22023", &[]);
            }
            client
                .batch_execute(&format!(
                    "SELECT customers.subscribe('at the end {first}', {last});
                     SELECT customers.unsubscribe('at the end {first}')"
                ))
                .unwrap();
        }
        registered(&mut living);
        assert_eq!(positions_after(&mut reader, last), [first], "{restart}");
        registered(&mut database.connect());
        assert_eq!(positions_after(&mut reader, last), [first, first + 1], "{restart}");
        assert_eq!(one::<i64>(&mut reader, "SELECT customers.feed_position()", &[]), first + 1);
    }
}

#[test]
fn positions_end_below_two_to_the_53_with_a_refusal() {
    let database = database();
    let mut living = living(&database, 3);
    let mut owner = database.connect();
    // Near the end, with one position left for two registrations, and at the end.
    for set in [LAST - 4, LAST - 1, LAST] {
        setval(&mut owner, &set.to_string());
        for client in [&mut living, &mut database.connect()] {
            for registration in registrations() {
                if let Err(error) = client.batch_execute(&registration) {
                    assert_refused::<()>(Err(error), "55000", &["person"]);
                }
            }
        }
    }
    assert_each_refused(&mut living, &database, &LAST.to_string());

    let all = positions(&mut owner);
    assert!(all.iter().all(|position| *position <= LAST), "{all:?}");
    assert_eq!(positions_after(&mut owner, 0), all);
    assert_eq!(one::<i64>(&mut owner, "SELECT customers.feed_position()", &[]), all[all.len() - 1]);
    assert_eq!(positions_after(&mut owner, all[all.len() - 1]), [0; 0]);
}

#[test]
fn a_sequence_beyond_two_to_the_53_refuses_writers() {
    for beyond in [LAST, LAST + 1, 1 << 60, i64::MAX - 1] {
        let database = database();
        let mut living = living(&database, 3);
        let mut owner = database.connect();
        let setval = format!("SELECT setval('customers.events_position_seq', {beyond})");
        if let Err(error) = owner.batch_execute(&setval) {
            // The sequence's own maximum may refuse the value.
            assert_eq!(refusal::<()>(Err(error)).code().code(), "22003", "{beyond}");
            continue;
        }
        assert_each_refused(&mut living, &database, &beyond.to_string());
        assert_eq!(positions_after(&mut owner, 0), [1, 2, 3]);
    }
}

#[test]
fn a_sequence_that_has_run_out_refuses_writers_and_no_reader() {
    let database = database();
    let mut living = living(&database, 3);
    let mut owner = database.connect();
    owner.batch_execute("ALTER SEQUENCE customers.events_position_seq MAXVALUE 4").unwrap();
    registered(&mut living);
    assert_each_refused(&mut living, &database, "4");
    assert_eq!(positions_after(&mut owner, 0), [1, 2, 3, 4]);
    assert_eq!(one::<i64>(&mut owner, "SELECT customers.feed_position()", &[]), 4);
    owner.batch_execute("ALTER SEQUENCE customers.events_position_seq MAXVALUE 100").unwrap();
    registered(&mut living);
    assert_eq!(positions_after(&mut owner, 4), [5]);
}

#[test]
fn an_open_writer_is_waited_for_though_the_sequence_was_set_back() {
    let database = database();
    let (mut open, mut client) = (database.connect(), database.connect());
    registered(&mut client);
    open.batch_execute("BEGIN").unwrap();
    registered(&mut open);
    registered(&mut client);
    client.batch_execute("SELECT setval('customers.events_position_seq', 1)").unwrap();
    assert_eq!(
        positions_after(&mut client, 0),
        [1],
        "what comes after the open writer's key waits"
    );
    open.batch_execute("COMMIT").unwrap();
    assert_eq!(positions_after(&mut client, 0), [1, 2, 3]);
}

#[test]
fn a_session_that_is_behind_notices_a_sequence_that_was_set_back() {
    let database = database();
    let (mut behind, mut client) = (database.connect(), database.connect());
    registered(&mut behind);
    for _ in 0..5 {
        registered(&mut client);
    }
    client
        .batch_execute(
            "SELECT customers.subscribe('mailer'); SELECT customers.acknowledge('mailer', 6);
             SELECT customers.prune_events('0 days');
             SELECT setval('customers.events_position_seq', 3)",
        )
        .unwrap();
    // Once a second a session compares the sequence with the feed.
    let is_over = "SELECT clock_timestamp() > (SELECT max(acknowledged_at) FROM customers.consumers) + interval '1.5 s'";
    await_true(&mut client, is_over, &[]);
    assert_refused(call(&mut behind, "register_customer($1)", &[&address()]), "55000", &[]);
}
