//! Promise: no consumer acknowledges or begins at a position that nobody can have read, and feed_position()
//! is the position up to which the feed is complete.

use crate::kit::history::register;
use crate::kit::{
    Database, Server, assert_refused, begin_change, caller, database, disable_notify, fetched,
    on_16, one, received, registered,
};
use postgres::Client;

fn feed_position(client: &mut Client) -> i64 {
    one(client, "SELECT customers.feed_position()", &[])
}

fn place(client: &mut Client, consumer: &str) -> i64 {
    one(client, "SELECT position FROM customers.consumers WHERE consumer = $1", &[&consumer])
}

/// Event 1 of an open transaction, event 2 of a committed one, and a consumer that has read nothing.
fn held(database: &Database) -> (Client, Client) {
    let (mut holder, mut client) = (database.connect(), database.connect());
    client.batch_execute("SELECT customers.subscribe('mailer')").unwrap();
    begin_change(&mut holder);
    registered(&mut client);
    (holder, client)
}

fn assert_beyond(client: &mut Client, place: i64) {
    for call in [
        "acknowledge('mailer', {})",
        "acknowledge(consumer => 'mailer', up_to => {})",
        "subscribe('late', {})",
        "subscribe(consumer => 'late', after => {})",
    ] {
        let call = format!("SELECT customers.{}", call.replace("{}", &place.to_string()));
        assert_refused(client.batch_execute(&call).inspect(|()| eprintln!("{call}")), "22023", &[]);
    }
}

#[test]
fn the_feed_is_complete_up_to_the_last_event_that_none_can_come_before() {
    let database = database();
    let mut client = database.connect();
    assert_eq!(feed_position(&mut client), 0);
    registered(&mut client);
    assert_eq!(feed_position(&mut client), 1);
    let mut holder = database.connect();
    begin_change(&mut holder);
    registered(&mut client);
    assert_eq!(feed_position(&mut client), 1);
    holder.batch_execute("ROLLBACK").unwrap();
    assert_eq!(feed_position(&mut client), 3);
    // A position that was drawn and rolled back belongs to no event.
    begin_change(&mut holder);
    holder.batch_execute("ROLLBACK").unwrap();
    assert_eq!(feed_position(&mut client), 3);
    assert_eq!(fetched(&mut client, "read_events(0)"), [1, 3]);
}

#[test]
fn a_place_beyond_an_open_writer_is_refused_and_its_event_is_delivered() {
    for prepared in [false, true] {
        let database = database();
        let (mut holder, mut client) = held(&database);
        if prepared {
            holder.batch_execute("ROLLBACK").unwrap();
            disable_notify(&mut holder);
            begin_change(&mut holder);
            let prepare = format!("PREPARE TRANSACTION '{}'", database.name);
            holder.batch_execute(&prepare).unwrap();
            client.batch_execute("SELECT customers.acknowledge('mailer', 2)").unwrap();
            registered(&mut client);
        }
        let (open, committed) = if prepared { (3, 4) } else { (1, 2) };
        assert_eq!(feed_position(&mut client), open - 1);
        for place in [open, committed, committed + 1, 1 << 52, i64::MAX] {
            assert_beyond(&mut client, place);
        }
        let commit = match prepared {
            true => format!("COMMIT PREPARED '{}'", database.name),
            false => "COMMIT".to_owned(),
        };
        holder.batch_execute(&commit).unwrap();
        assert_eq!(feed_position(&mut client), committed);
        assert_eq!(fetched(&mut client, "fetch_events('mailer')"), [open, committed]);
        client.execute("SELECT customers.acknowledge('mailer', $1)", &[&committed]).unwrap();
        assert_beyond(&mut client, committed + 1);
    }
}

#[test]
fn the_position_of_a_notification_is_not_acknowledged_before_it_can_be_read() {
    let database = database();
    let mut listener = database.listen();
    let (mut holder, mut client) = held(&database);
    let told = received(&mut listener)[0]["position"].as_i64().unwrap();
    assert_eq!(told, 2);
    assert_beyond(&mut client, told);
    holder.batch_execute("COMMIT").unwrap();
    client.execute("SELECT customers.acknowledge('mailer', $1)", &[&told]).unwrap();
    assert_eq!(place(&mut client, "mailer"), told);
}

#[test]
fn an_event_of_ones_own_open_transaction_is_not_acknowledged() {
    let database = database();
    let mut client = database.connect();
    client.batch_execute("SELECT customers.subscribe('mailer')").unwrap();
    begin_change(&mut client);
    let refused = client.batch_execute("SELECT customers.acknowledge('mailer', 1)");
    assert_refused(refused, "22023", &[]);
    client.batch_execute("ROLLBACK").unwrap();
}

#[test]
fn ones_own_place_and_what_lies_below_it_may_be_acknowledged_again() {
    let database = database();
    let mut client = database.connect();
    register(&mut client, 3);
    client
        .batch_execute(
            "SELECT customers.subscribe('mailer'); SELECT customers.acknowledge('mailer', 3)",
        )
        .unwrap();
    for and_then in ["SELECT 1", "SELECT customers.prune_events('0 days')"] {
        client.batch_execute(and_then).unwrap();
        for up_to in [3, 2, 0] {
            let acknowledge = "SELECT customers.acknowledge('mailer', up_to => $1)";
            client.execute(acknowledge, &[&i64::from(up_to)]).unwrap();
            assert_eq!(place(&mut client, "mailer"), 3);
        }
        assert_beyond(&mut client, 4);
    }
}

/// The procedure that the documentation gives for a consumer that copies the table.
#[test]
fn a_consumer_that_copies_the_table_begins_at_the_feeds_position() {
    let database = database();
    let (mut holder, mut client) = held(&database);
    let begin = feed_position(&mut client);
    client.execute("SELECT customers.subscribe('copy', $1)", &[&begin]).unwrap();
    let copied: i64 = one(&mut client, "SELECT count(*) FROM customers.customers", &[]);
    assert_eq!(copied, 1);
    holder.batch_execute("COMMIT").unwrap();
    let told = fetched(&mut client, "fetch_events('copy')");
    assert!(told.contains(&1), "the one that was not copied: {told:?}");

    // Also for a feed from which everything was pruned.
    for consumer in ["mailer", "copy"] {
        client.execute("SELECT customers.acknowledge($1, 2)", &[&consumer]).unwrap();
    }
    client.batch_execute("SELECT customers.prune_events('0 days')").unwrap();
    let begin = feed_position(&mut client);
    client.execute("SELECT customers.subscribe('another', $1)", &[&begin]).unwrap();
    assert!(fetched(&mut client, "fetch_events('another')").is_empty());
    registered(&mut client);
    assert_eq!(fetched(&mut client, "fetch_events('another')"), [3]);
}

#[test]
fn the_feeds_position_is_told_in_read_committed_transactions_only() {
    let mut client = database().connect();
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        client.batch_execute(&format!("BEGIN ISOLATION LEVEL {level}")).unwrap();
        assert_refused(client.batch_execute("SELECT customers.feed_position()"), "25001", &[]);
        client.batch_execute("ROLLBACK").unwrap();
    }
    client
        .batch_execute(
            "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT customers.feed_position(); COMMIT",
        )
        .unwrap();
}

#[test]
fn the_feeds_position_needs_no_right_to_a_table_and_assigns_no_transaction_id() {
    let database = database();
    let mut owner = database.connect();
    registered(&mut owner);
    let mut client = database.connect_as(&caller(&mut owner));
    client.batch_execute("BEGIN READ ONLY").unwrap();
    assert_eq!(feed_position(&mut client), 1);
    let assigned = "SELECT pg_current_xact_id_if_assigned() IS NOT NULL";
    assert!(!one::<bool>(&mut client, assigned, &[]));
}

#[test]
fn a_read_only_transaction_moves_and_locks_no_place() {
    let mut client = database().connect();
    client.batch_execute("SELECT customers.subscribe('mailer')").unwrap();
    client.batch_execute("SET default_transaction_read_only = on").unwrap();
    for call in [
        "subscribe('mailer')",
        "unsubscribe('mailer')",
        "fetch_events('mailer')",
        "acknowledge('mailer', 0)",
    ] {
        let refused = client.batch_execute(&format!("SELECT customers.{call}"));
        assert_refused(refused, "25006", &[]);
    }
}

#[test]
fn a_standby_does_not_know_the_feeds_position() {
    if !on_16() {
        return;
    }
    let primary = Server::start(&[]);
    let database = primary.database();
    registered(&mut database.connect());
    let standby = primary.standby();
    let mut client = standby.connect(&database.name);
    assert_refused(client.batch_execute("SELECT customers.feed_position()"), "25006", &[]);
    drop(primary);
    standby.pg_ctl("promote");
    assert_eq!(feed_position(&mut client), 1);
}
