//! Promise: after a failover, a recovery or a restore that took events back, a reader that has read them is
//! refused (PT410) for ever, before and after the next write; one that has not goes on, and no position is
//! drawn twice.

use crate::kit::history::{positions_after, register};
use crate::kit::{
    Database, Server, address, all, assert_refused, await_blocked, await_true, begin_change, call,
    database, disable_notify, fetched, on_16, one, pid, positions, refusal, registered, role,
    succeed,
};
use postgres::Client;

pub(super) const STRIDE: i64 = 10_000_000_000;

/// Waits until the standby has replayed what the primary has committed.
fn await_replay(primary: &mut Client, standby: &Server) {
    let lsn: String = one(primary, "SELECT pg_current_wal_flush_lsn()::text", &[]);
    let replayed = "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn";
    await_true(&mut standby.connect("postgres"), replayed, &[&lsn]);
}

/// A database whose primary was lost: what was registered after `last` never reached the standby that took over.
struct FailedOver {
    server: Server,
    name: String,
    /// The position of the last event that is still there.
    last: i64,
}

impl FailedOver {
    fn connect(&self) -> Client {
        self.server.connect(&self.name)
    }
}

/// `before` runs on the primary, then a standby gets everything, then `lost` runs on the primary alone.
fn fail_over(before: impl FnOnce(&Database), lost: impl FnOnce(&Database)) -> FailedOver {
    let primary = Server::start(&["wal_log_hints = on"]);
    let database = primary.database();
    let standby = primary.standby();
    before(&database);
    let mut client = database.connect();
    let last = positions(&mut client).last().copied().unwrap_or_default();
    await_replay(&mut client, &standby);
    standby.pg_ctl("stop");
    lost(&database);
    let name = database.name.clone();
    primary.crash();
    standby.pg_ctl("start");
    standby.pg_ctl("promote");
    FailedOver { server: standby, name, last }
}

pub(super) fn epochs(client: &mut Client) -> Vec<(i32, i64, i64)> {
    let query =
        "SELECT epoch, first_position, previous_end FROM customers.feed_epochs ORDER BY epoch";
    let rows = client.query(query, &[]).unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
}

/// Asserts that readers at this place are refused, with the epoch's end in DETAIL.
#[track_caller]
pub(super) fn assert_lost(client: &mut Client, place: i64, detail: &str) {
    for call in [
        format!("read_events({place})"),
        format!("read_events({place}, 1)"),
        format!("subscribe('at {place}', {place})"),
    ] {
        let refused = client.batch_execute(&format!("SELECT customers.{call}"));
        let error = refusal(refused.inspect(|()| eprintln!("{call}")));
        assert_eq!(error.code().code(), "PT410", "{call}");
        assert!(error.detail().is_some_and(|text| text.contains(detail)), "{error:?}");
        assert!(error.hint().is_some_and(|hint| hint.contains("CONSUMING")), "{error:?}");
    }
}

/// A consumer whose place the database keeps says how far it was, when it connects again.
#[track_caller]
fn assert_lost_to_subscriber(client: &mut Client, consumer: &str, place: i64) {
    let subscribe = client.execute("SELECT customers.subscribe($1, $2)", &[&consumer, &place]);
    assert_refused(subscribe, "PT410", &[]);
    client.execute("SELECT customers.subscribe($1)", &[&consumer]).unwrap();
}

#[test]
fn a_failover_that_loses_events_refuses_who_has_read_them_for_ever_and_nobody_else() {
    let (mut lost_place, mut read) = (0, 0_i64);
    let after = fail_over(
        |database| {
            let mut client = database.connect();
            register(&mut client, 5);
            client.batch_execute("SELECT customers.subscribe('mailer')").unwrap();
            read = one(&mut client, "SELECT customers.feed_position()", &[]);
        },
        |database| {
            let mut client = database.connect();
            register(&mut client, 20);
            lost_place = *positions_after(&mut client, 0).last().unwrap();
        },
    );
    assert_eq!((after.last, read), (5, 5));
    let mut client = after.connect();
    let detail = "Epoch 1 of the feed ended at position 5";
    for place in 6..=lost_place {
        assert_lost(&mut client, place, detail);
    }
    assert_eq!(positions_after(&mut client, 5), [0; 0]);
    assert_eq!(positions_after(&mut client, 3), [4, 5]);
    assert_eq!(one::<i64>(&mut client, "SELECT customers.feed_position()", &[]), 5);

    register(&mut client, 3);
    assert_eq!(epochs(&mut client), [(1, 1, 0), (2, STRIDE, 5)]);
    // The feed has overtaken the reader, and still it is refused.
    for client in [&mut client, &mut after.connect()] {
        for place in 6..=lost_place {
            assert_lost(client, place, detail);
        }
        assert_lost_to_subscriber(client, "mailer", lost_place);
        for place in [lost_place + 1, 1000, STRIDE - 1] {
            assert_lost(client, place, detail);
        }
        assert_eq!(positions_after(client, 5), [STRIDE, STRIDE + 1, STRIDE + 2]);
        assert_eq!(positions_after(client, STRIDE), [STRIDE + 1, STRIDE + 2]);
        assert_eq!(fetched(client, "fetch_events('mailer', 7)").len(), 7);
        assert_eq!(one::<i64>(client, "SELECT customers.feed_position()", &[]), STRIDE + 2);
    }
    for bad in ["-1", "9007199254740993", "9223372036854775807"] {
        let read = client.query(&format!("SELECT customers.read_events({bad})"), &[]);
        let expected = if bad == "-1" { "22023" } else { "PT410" };
        assert_refused(read, expected, &[]);
    }
}

#[test]
fn a_consumer_that_was_ahead_is_refused_and_begins_again() {
    if !on_16() {
        return;
    }
    let after = fail_over(
        |database| {
            let mut client = database.connect();
            register(&mut client, 3);
            client.batch_execute("SELECT customers.subscribe('mailer')").unwrap();
        },
        |_| {},
    );
    let mut client = after.connect();
    // As a consumer's place is that was kept elsewhere, and brought here.
    client.batch_execute("UPDATE customers.consumers SET position = 7").unwrap();
    assert_refused(client.query("SELECT customers.fetch_events('mailer')", &[]), "PT410", &[]);
    registered(&mut client);
    assert_refused(client.query("SELECT customers.fetch_events('mailer')", &[]), "PT410", &[]);
    client
        .batch_execute(
            "SELECT customers.unsubscribe('mailer');
             SELECT customers.subscribe('mailer', customers.feed_position())",
        )
        .unwrap();
    registered(&mut client);
    assert_eq!(fetched(&mut client, "fetch_events('mailer')"), [STRIDE + 1]);
}

#[test]
fn a_switch_over_that_loses_nothing_refuses_nobody() {
    if !on_16() {
        return;
    }
    let primary = Server::start(&[]);
    let database = primary.database();
    let standby = primary.standby();
    let mut client = database.connect();
    register(&mut client, 4);
    client.batch_execute("BEGIN").unwrap();
    registered(&mut client);
    client.batch_execute("ROLLBACK").unwrap();
    let place: i64 = one(&mut client, "SELECT customers.feed_position()", &[]);
    drop(client);
    primary.pg_ctl("stop");
    standby.pg_ctl("promote");
    let mut client = standby.connect(&database.name);
    assert_eq!(positions_after(&mut client, place), [0; 0]);
    assert_eq!(positions_after(&mut client, 0), [1, 2, 3, 4]);
    registered(&mut client);
    assert_eq!(positions_after(&mut client, place), [STRIDE]);
    assert_eq!(positions_after(&mut client, 3), [4, STRIDE]);
}

#[test]
fn a_restart_or_a_crash_begins_no_epoch() {
    if !on_16() {
        return;
    }
    let server = Server::start(&[]);
    let database = server.database();
    register(&mut database.connect(), 2);
    server.crash();
    server.pg_ctl("start");
    register(&mut database.connect(), 2);
    server.pg_ctl("restart");
    let mut client = database.connect();
    register(&mut client, 2);
    assert_eq!(epochs(&mut client), [(1, 1, 0)]);
    assert_eq!(positions(&mut client).len(), 6);
}

/// A transaction may draw its position first and commit last. Its event can be lost while later positions are
/// still there; a reader of the lost history has read it.
#[test]
fn an_event_that_is_missing_before_the_last_one_is_lost_too() {
    if !on_16() {
        return;
    }
    let (mut ahead, mut behind) = (0, 0);
    let primary = Server::start(&[]);
    let database = primary.database();
    let standby = primary.standby();
    let (mut first, mut client) = (database.connect(), database.connect());
    register(&mut client, 3);
    behind += *positions_after(&mut client, 0).last().unwrap();
    first.batch_execute("BEGIN").unwrap();
    let ghost = registered(&mut first);
    let moved = [registered(&mut client), registered(&mut client)];
    await_replay(&mut client, &standby);
    standby.pg_ctl("stop");
    first.batch_execute("COMMIT").unwrap();
    ahead += *positions_after(&mut client, behind).last().unwrap();
    assert_eq!((behind, ahead), (3, 6));
    drop((first, client));
    primary.crash();
    standby.pg_ctl("start");
    standby.pg_ctl("promote");

    let mut client = standby.connect(&database.name);
    // What may have to move is not given to anybody before it has.
    assert_eq!(positions_after(&mut client, behind), [0; 0]);
    assert_eq!(one::<i64>(&mut client, "SELECT customers.feed_position()", &[]), behind);
    for place in 4..=6 {
        assert_lost(&mut client, place, "ended at position 3");
    }
    let last = registered(&mut client);
    assert_eq!(epochs(&mut client), [(1, 1, 0), (2, STRIDE, 3)]);
    let rest = client
        .query("SELECT position, customer_id FROM customers.read_events($1)", &[&behind])
        .unwrap();
    let rest: Vec<(i64, uuid::Uuid)> = rest.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(rest, [(STRIDE, moved[0]), (STRIDE + 1, moved[1]), (STRIDE + 2, last)]);
    for place in 4..=6 {
        assert_lost(&mut client, place, "ended at position 3");
    }
    let gone = "SELECT NOT EXISTS (SELECT FROM customers.customers WHERE customer_id = $1)";
    assert!(one::<bool>(&mut client, gone, &[&ghost]));
}

#[test]
fn what_was_prepared_before_and_commits_afterwards_is_no_lost_tail() {
    let after = fail_over(
        |database| {
            let (mut client, mut preparing) = (database.connect(), database.connect());
            register(&mut client, 2);
            disable_notify(&mut preparing);
            begin_change(&mut preparing);
            preparing.batch_execute("PREPARE TRANSACTION 'prepared'").unwrap();
        },
        |_| {},
    );
    let mut client = after.connect();
    registered(&mut client);
    assert_eq!(positions_after(&mut client, 0), [1, 2], "the prepared one holds the feed");
    client.batch_execute("COMMIT PREPARED 'prepared'").unwrap();
    assert_eq!(positions_after(&mut client, 0), [1, 2, 3, STRIDE]);
    assert_eq!(positions_after(&mut client, 3), [STRIDE], "who has read it goes on");
}

#[test]
fn a_beginning_that_fails_before_it_draws_leaves_the_epoch_to_the_next_change() {
    if !on_16() {
        return;
    }
    let after = fail_over(|database| register(&mut database.connect(), 5), |_| {});
    let (mut owner, mut client) = (after.connect(), after.connect());
    for _ in 0..2 {
        owner.batch_execute("BEGIN; LOCK TABLE customers.feed_epochs IN SHARE MODE").unwrap();
        client.batch_execute("SET lock_timeout = '100ms'").unwrap();
        let refused = refusal(call(&mut client, "register_customer($1)", &[&address()]));
        assert_eq!(refused.code().code(), "55P03");
        owner.batch_execute("COMMIT").unwrap();
    }
    registered(&mut client);
    // A server that is promoted after this one begins epoch 3 at twice the stride.
    assert_eq!(epochs(&mut client), [(1, 1, 0), (2, STRIDE, 5)]);
    assert_eq!(positions_after(&mut client, 5), [STRIDE]);
}

#[test]
fn an_epoch_that_is_rolled_back_is_begun_by_the_next_change() {
    if !on_16() {
        return;
    }
    let after = fail_over(|database| register(&mut database.connect(), 3), |_| {});
    let mut client = after.connect();
    // By the whole transaction, and by a savepoint of one that goes on.
    client.batch_execute("BEGIN").unwrap();
    registered(&mut client);
    client.batch_execute("ROLLBACK").unwrap();
    assert_eq!(epochs(&mut client), [(1, 1, 0)]);
    client.batch_execute("BEGIN; SAVEPOINT s").unwrap();
    registered(&mut client);
    client.batch_execute("ROLLBACK TO s").unwrap();
    registered(&mut client);
    registered(&mut client);
    client.batch_execute("COMMIT").unwrap();
    registered(&mut client);

    assert_eq!(epochs(&mut client), [(1, 1, 0), (2, STRIDE, 3)]);
    assert_eq!(positions_after(&mut client, 3), [STRIDE + 2, STRIDE + 3, STRIDE + 4]);
    for place in [4, STRIDE - 1] {
        assert_lost(&mut client, place, "Epoch 1 of the feed ended at position 3");
    }
}

#[test]
fn sessions_that_notice_at_once_begin_one_epoch() {
    if !on_16() {
        return;
    }
    let after = fail_over(|database| register(&mut database.connect(), 3), |_| {});
    let start = std::sync::Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = after.connect();
                start.wait();
                register(&mut client, 5);
            });
        }
    });
    let mut client = after.connect();
    assert_eq!(epochs(&mut client), [(1, 1, 0), (2, STRIDE, 3)]);
    assert_eq!(positions_after(&mut client, 3).len(), 40);
}

/// What was drawn meanwhile would be in no epoch if it were rolled back.
#[test]
fn a_transaction_that_begins_an_epoch_is_waited_for_as_long_as_the_caller_allows() {
    if !on_16() {
        return;
    }
    let after = fail_over(|database| register(&mut database.connect(), 3), |_| {});
    let (mut open, mut client) = (after.connect(), after.connect());
    begin_change(&mut open);
    client.batch_execute("SET lock_timeout = '10ms'").unwrap();
    let refused = refusal(call(&mut client, "register_customer($1)", &[&address()]));
    assert_eq!(refused.code().code(), "55P03");
    client.batch_execute("RESET lock_timeout").unwrap();
    let session = pid(&mut client);
    let waiting = std::thread::spawn(move || registered(&mut client));
    await_blocked(&mut after.connect(), session);
    open.batch_execute("ROLLBACK").unwrap();
    waiting.join().unwrap();
    let mut client = after.connect();
    let rest = positions_after(&mut client, 3);
    assert_eq!(rest.len(), 1, "{rest:?}");
    assert_eq!(epochs(&mut client), [(1, 1, 0), (2, STRIDE, 3)]);
    for place in [4, STRIDE - 1] {
        assert_lost(&mut client, place, "ended at position 3");
    }
}

/// Two standbys of one primary are promoted, one after the other is lost with all that it wrote.
#[test]
fn servers_promoted_from_the_same_one_begin_different_epochs() {
    if !on_16() {
        return;
    }
    let primary = Server::start(&[]);
    let database = primary.database();
    let (b, c) = (primary.standby(), primary.standby());
    let mut client = database.connect();
    register(&mut client, 3);
    await_replay(&mut client, &b);
    await_replay(&mut client, &c);
    drop(client);
    primary.crash();
    b.pg_ctl("promote");
    let mut client = b.connect(&database.name);
    register(&mut client, 5);
    let lost = *positions_after(&mut client, 3).last().unwrap();
    drop(client);
    b.crash();
    // It knows of the other's timeline, as from an archive.
    let history = "pg_wal/00000002.history";
    let file = c.data().join(history);
    std::fs::copy(b.data().join(history), &file).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    c.pg_ctl("promote");
    let mut client = c.connect(&database.name);
    assert_lost(&mut client, lost, "ended at position 3");
    register(&mut client, 20);
    assert_lost(&mut client, lost, "ended at position 3");
    assert_eq!(epochs(&mut client), [(1, 1, 0), (3, 2 * STRIDE, 3)]);
}

/// A dump restored into a database of another name, or into the same one.
fn restore(dump: &std::path::Path, into: &Database, options: &[&str]) {
    succeed(into.program("pg_restore").args(["--exit-on-error"]).args(options).arg(dump));
}

#[test]
fn a_restored_dump_refuses_who_was_ahead_of_it() {
    let database = database();
    let mut client = database.connect();
    register(&mut client, 4);
    let dump = database.dump(&["--format=custom"]);
    register(&mut client, 10);
    let ahead = *positions_after(&mut client, 0).last().unwrap();

    let copy = crate::kit::server().empty_database("TEMPLATE template0");
    restore(&dump, &copy, &[]);
    drop(client);
    // Into the database that it came from, whose server history is the same.
    restore(&dump, &database, &["--clean"]);
    for database in [&copy, &database] {
        let mut client = database.connect();
        assert_eq!(positions_after(&mut client, 4), [0; 0]);
        assert_lost(&mut client, ahead, "ended at position 4");
        assert_lost(&mut client, 5, "ended at position 4");
        register(&mut client, 20);
        assert_lost(&mut client, ahead, "ended at position 4");
        assert_lost(&mut client, 5, "ended at position 4");
        assert_eq!(positions_after(&mut client, 4)[..2], [STRIDE, STRIDE + 1]);
        assert_eq!(positions_after(&mut client, 2)[..2], [3, 4]);
        assert_eq!(epochs(&mut client), [(1, 1, 0), (2, STRIDE, 4)]);
    }
    // A copy of a copy.
    let again = copy.copy();
    let mut client = again.connect();
    registered(&mut client);
    assert_eq!(epochs(&mut client)[2], (3, 2 * STRIDE, STRIDE + 19));
    assert_lost(&mut client, 5, "Epoch 1 of the feed ended at position 4");
    assert_lost(&mut client, STRIDE + 20, "Epoch 2 of the feed ended at");
}

#[test]
fn a_feed_restored_without_its_events_counts_as_pruned() {
    let database = database();
    let mut client = database.connect();
    register(&mut client, 6);
    client
        .batch_execute(
            "SELECT customers.subscribe('mailer'); SELECT customers.acknowledge('mailer', 2)",
        )
        .unwrap();
    let dump = database.dump(&["--format=custom", "--exclude-table-data=customers.events"]);
    let copy = crate::kit::server().empty_database("TEMPLATE template0");
    restore(&dump, &copy, &[]);
    let mut client = copy.connect();
    for _ in 0..2 {
        for place in 0..6 {
            assert_lost(&mut client, place, "Events up to position 6 were pruned");
        }
        assert_refused(client.query("SELECT customers.fetch_events('mailer')", &[]), "PT410", &[]);
        assert_lost(&mut client, 7, "");
        let place: i64 = one(&mut client, "SELECT customers.feed_position()", &[]);
        positions_after(&mut client, place);
        registered(&mut client);
    }
    assert_eq!(positions_after(&mut client, 6), [STRIDE, STRIDE + 1]);
}

#[test]
fn who_has_waited_for_an_epoch_that_began_lets_others_go_on() {
    let database = database();
    register(&mut database.connect(), 6);
    let copy = database.copy();
    let mut clients = [copy.connect(), copy.connect(), copy.connect()];
    for client in &mut clients {
        client.batch_execute("BEGIN").unwrap();
    }
    let [first, waiting @ ..] = &mut clients;
    registered(first);
    let mut observer = copy.connect();
    // All of them stay open.
    std::thread::scope(|scope| {
        let waiting = waiting.each_mut().map(|client| {
            client.batch_execute("SET lock_timeout = '20s'").unwrap();
            let pid = pid(client);
            let registering = scope.spawn(|| registered(client));
            await_blocked(&mut observer, pid);
            registering
        });
        first.batch_execute("COMMIT").unwrap();
        for registering in waiting {
            registering.join().unwrap();
        }
    });
}

#[test]
fn a_restore_that_lost_the_sequence_draws_no_position_twice() {
    let database = database();
    let mut client = database.connect();
    register(&mut client, 6);
    let copy = database.copy();
    let mut client = copy.connect();
    client.batch_execute("SELECT setval('customers.events_position_seq', 1, false)").unwrap();
    assert_eq!(positions_after(&mut client, 0).len(), 6);
    registered(&mut client);
    assert_eq!(positions(&mut client), [1, 2, 3, 4, 5, 6, STRIDE]);
}

#[test]
fn a_beginning_that_is_rolled_back_is_not_taken_for_a_new_installation() {
    let database = database();
    register(&mut database.connect(), 6);
    // As restored without the rows of feed_epochs and the sequence's value.
    let mut owner = database.connect();
    owner
        .batch_execute(
            "DELETE FROM customers.feed_epochs;
             SELECT setval('customers.events_position_seq', 1, false)",
        )
        .unwrap();
    let [mut first, mut second, mut third] = std::array::from_fn(|_| database.connect());
    first.batch_execute("BEGIN").unwrap();
    registered(&mut first);
    std::thread::scope(|scope| {
        let second_pid = pid(&mut second);
        let beginning = scope.spawn(|| {
            second.batch_execute("BEGIN").unwrap();
            registered(&mut second);
            second
        });
        await_blocked(&mut owner, second_pid);
        first.batch_execute("ROLLBACK").unwrap();
        let mut second = beginning.join().unwrap();
        let third_pid = pid(&mut third);
        let registering = scope.spawn(|| registered(&mut third));
        await_blocked(&mut owner, third_pid);
        second.batch_execute("ROLLBACK").unwrap();
        registering.join().unwrap();
    });
    assert_eq!(epochs(&mut owner).iter().map(|epoch| epoch.2).collect::<Vec<_>>(), [6]);
    for place in [7, STRIDE - 1] {
        assert_lost(&mut owner, place, "ended at position 6");
    }
    assert_eq!(positions_after(&mut owner, 6).len(), 1);
}

#[test]
fn pruning_that_records_the_first_epoch_keeps_nobody_waiting() {
    let database = database();
    let (mut owner, mut writer) = (database.connect(), database.connect());
    register(&mut owner, 3);
    owner.batch_execute("DELETE FROM customers.feed_epochs").unwrap();
    owner.batch_execute("BEGIN; SELECT customers.prune_events('0')").unwrap();
    writer.batch_execute("SET lock_timeout = '10s'").unwrap();
    registered(&mut writer);
    // Nor does it hold the feed back.
    assert_eq!(positions_after(&mut writer, 3), [4]);
    owner.batch_execute("COMMIT").unwrap();
    registered(&mut writer);
    assert_eq!(epochs(&mut owner), [(1, 1, 0)]);
    assert_lost(&mut owner, 2, "Events up to position 3 were pruned");
}

#[test]
fn pruning_begins_the_epoch_that_a_restore_without_recorded_epochs_requires() {
    // The sequence lies behind the events, or the events lie in a later epoch.
    for (first, behind) in [(1, 5), (3 * STRIDE, 0)] {
        let database = database();
        let mut client = database.connect();
        let begin = format!("SELECT setval('customers.events_position_seq', {first}, false)");
        client.batch_execute(&begin).unwrap();
        register(&mut client, 10);
        let all = positions(&mut client);
        let (third, last) = (all[2], all[9]);
        let restored = format!(
            "TRUNCATE customers.feed_epochs;
             SELECT setval('customers.events_position_seq', {})",
            last - behind
        );
        client.batch_execute(&restored).unwrap();
        let mut client = database.connect();
        client.batch_execute("SELECT customers.prune_events('0', 3)").unwrap();
        register(&mut client, 10);
        assert_lost(&mut client, third - 1, &format!("up to position {third} were pruned"));
        assert_lost(&mut client, last + 5, &format!("ended at position {last}"));
        assert_eq!(positions_after(&mut client, last).len(), 10);
    }
}

#[test]
fn verify_expects_no_epoch_while_the_first_transaction_is_open() {
    let database = database();
    let (mut first, mut client) = (database.connect(), database.connect());
    first.batch_execute("BEGIN").unwrap();
    registered(&mut first);
    registered(&mut client);
    let ok = "SELECT ok FROM customers.verify() WHERE check_name = 'epochs'";
    assert!(one::<bool>(&mut client, ok, &[]));
    first.batch_execute("ROLLBACK").unwrap();
    assert!(!one::<bool>(&mut client, ok, &[]), "there are events and no epoch");
    registered(&mut client);
    assert!(one::<bool>(&mut client, ok, &[]));
}

#[test]
fn an_owner_who_edits_the_epochs_breaks_no_session_and_hides_no_loss() {
    for edit in [
        "DELETE FROM customers.feed_epochs",
        "UPDATE customers.feed_epochs SET history = ''",
        "UPDATE customers.feed_epochs SET history = repeat('x', 100000)",
        "UPDATE customers.feed_epochs SET first_position = -5, previous_end = 9223372036854775807",
        "UPDATE customers.feed_epochs SET first_position = 9223372036854775807, previous_end = -9223372036854775808",
        "UPDATE customers.feed_epochs SET epoch = -2147483648",
        "UPDATE customers.feed_epochs SET pruned_to = -1",
        "INSERT INTO customers.feed_epochs VALUES (2147483647, 0, 0, now(), 0, '')",
        "TRUNCATE customers.feed_epochs",
        "ALTER TABLE customers.feed_epochs ALTER first_position TYPE text",
    ] {
        let database = database();
        let (mut living, mut client) = (database.connect(), database.connect());
        register(&mut living, 5);
        client.batch_execute(edit).unwrap();
        for client in [&mut living, &mut client, &mut database.connect()] {
            match client.query("SELECT position FROM customers.read_events(0)", &[]) {
                Ok(rows) => assert!(rows.len() >= 5, "{edit}: {} events", rows.len()),
                Err(error) => {
                    let error = error.as_db_error().expect("the session lives").clone();
                    assert!(["PT410", "55000"].contains(&error.code().code()), "{edit}: {error:?}");
                }
            }
            if let Err(error) = call(client, "register_customer($1)", &[&address()]) {
                assert_refused::<()>(Err(error), "55000", &["person"]);
            }
            let all: Vec<i64> = all(client, "SELECT position FROM customers.events", &[]);
            assert!(all.len() >= 5, "{edit}");
        }
    }
}

#[test]
fn an_owner_can_have_an_epoch_begin() {
    // As after a volume was set back to a snapshot, which leaves the server's history as it was.
    let database = database();
    let mut client = database.connect();
    register(&mut client, 3);
    database
        .connect()
        .batch_execute("UPDATE customers.feed_epochs SET history = 'ended' WHERE epoch = 1")
        .unwrap();
    let mut new = database.connect();
    registered(&mut new);
    assert_eq!(positions(&mut new), [1, 2, 3, STRIDE]);
    assert_lost(&mut new, 4, "Epoch 1 of the feed ended at position 3");
}

#[test]
fn positions_run_out_below_two_to_the_53_with_a_refusal_when_an_epoch_begins() {
    let database = database();
    let mut client = database.connect();
    register(&mut client, 3);
    client
        .batch_execute(
            "SELECT setval('customers.events_position_seq', 9007199254740000);
             UPDATE customers.feed_epochs SET history = 'ended'",
        )
        .unwrap();
    let mut new = database.connect();
    for _ in 0..2 {
        assert_refused(
            call(&mut new, "register_customer($1)", &[&address()]),
            "55000",
            &["person"],
        );
    }
    assert_eq!(positions_after(&mut new, 0), [1, 2, 3]);
}

#[test]
fn a_writer_without_a_right_to_the_feed_begins_an_epoch() {
    if !on_16() {
        return;
    }
    let after = fail_over(
        |database| {
            let mut client = database.connect();
            register(&mut client, 3);
            let writer = role(&mut client, "");
            client
                .batch_execute(&format!("SELECT customers.grant_access('{writer}', 'writer')"))
                .unwrap();
            client
                .batch_execute(&format!("COMMENT ON DATABASE {} IS '{writer}'", database.name))
                .unwrap();
        },
        |_| {},
    );
    let name = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()";
    let writer: String = one(&mut after.connect(), name, &[]);
    let mut client = after.server.connect_as(&after.name, &writer).unwrap();
    registered(&mut client);
    assert_eq!(positions_after(&mut after.connect(), 3), [STRIDE]);
}
