//! Promise: a feed that moves to another server, by recovery to a moment, logical replication, pg_upgrade or a dump,
//! goes on for every reader that has read nothing which the new server lacks, and refuses the others (PT410) for
//! ever; a crash that loses commits moves nothing and misleads no copy.

use super::epochs::{STRIDE, assert_lost, epochs};
use super::failover::{LOAD, PLACES, assert_true, under_load};
use crate::kit::copying::Primary;
use crate::kit::history::{assert_recorded_since, positions_after, recorded, register};
use crate::kit::{
    Database, Server, assert_refused, await_true, eventually, fetched, home, on_16, one, positions,
    registered, skipped, succeed,
};
use postgres::Client;
use std::fs;
use std::path::Path;

/// Whether the extension is installed for these major versions too.
fn have(majors: &[&str]) -> bool {
    majors.iter().all(|major| {
        let files = ["share/extension/customer_db.control", "lib/customer_db.so"];
        let here = files.iter().all(|file| home(major).join(file).exists());
        if !here {
            skipped(&format!("needs the extension for PostgreSQL {major}"));
        }
        here
    })
}

/// Asserts that readers at each of these places go on, with what the feed has after them.
#[track_caller]
fn assert_goes_on(client: &mut Client, places: impl IntoIterator<Item = i64>) {
    let feed = positions(client);
    for place in places {
        let rest: Vec<i64> = feed.iter().copied().filter(|position| *position > place).collect();
        assert_eq!(positions_after(client, place), rest, "from {place}");
    }
}

fn feed_position(client: &mut Client) -> i64 {
    one(client, "SELECT customers.feed_position()", &[])
}

fn acknowledge(client: &mut Client, consumer: &str, up_to: i64) {
    client.execute("SELECT customers.subscribe($1)", &[&consumer]).unwrap();
    client.execute("SELECT customers.acknowledge($1, $2)", &[&consumer, &up_to]).unwrap();
}

/// Waits until a file is in the archive.
fn await_archived(archive: &Path, file: &str) {
    eventually(file, || archive.join(file).exists());
}

/// Starts a backup, which recovers from the archive to a target and takes over.
fn recover(backup: &Server, archive: &Path, target: &str, timeline: &str) {
    backup.configure(&[
        &format!("restore_command = 'cp {}/%f %p'", archive.display()),
        target,
        &format!("recovery_target_timeline = '{timeline}'"),
        "recovery_target_action = promote",
    ]);
    fs::write(backup.data().join("recovery.signal"), "").unwrap();
    backup.pg_ctl("start");
    await_true(&mut backup.connect("postgres"), "SELECT NOT pg_is_in_recovery()", &[]);
}

#[test]
fn a_recovery_to_a_moment_refuses_who_had_read_beyond_it_and_nobody_else() {
    if !on_16() {
        return;
    }
    let primary = Server::start(&["archive_mode = on"]);
    let archive = Path::new(primary.host()).join("archive");
    fs::create_dir(&archive).unwrap();
    let command =
        format!("archive_command = 'cp %p {0}/new.%f && mv {0}/new.%f {0}/%f'", archive.display());
    primary.configure(&[&command]);
    primary.pg_ctl("reload");
    let name = primary.database().name;
    let mut client = primary.connect(&name);
    register(&mut client, 3);
    let (by_name, by_lsn) = (primary.backup(&[]), primary.backup(&[]));

    register(&mut client, 2);
    acknowledge(&mut client, "mailer", 2);
    client.batch_execute("SELECT pg_create_restore_point('moment')").unwrap();
    register(&mut client, 2);
    acknowledge(&mut client, "mailer", 6);
    let lsn: String = one(&mut client, "SELECT pg_current_wal_insert_lsn()::text", &[]);
    register(&mut client, 10);
    assert_eq!(feed_position(&mut client), 17);
    let last: String = one(&mut client, "SELECT pg_walfile_name(pg_switch_wal())", &[]);
    await_archived(&archive, &last);
    drop(client);
    primary.crash();

    recover(&by_name, &archive, "recovery_target_name = 'moment'", "latest");
    let mut client = by_name.connect(&name);
    for _ in 0..2 {
        assert_goes_on(&mut client, 0..=5);
        for place in 6..=17 {
            assert_lost(&mut client, place, "Epoch 1 of the feed ended at position 5");
        }
        register(&mut client, 20);
    }
    assert_eq!(epochs(&mut client), [(1, 1, 0), (2, STRIDE, 5)]);
    assert_eq!(positions_after(&mut client, 4)[..2], [5, STRIDE]);
    assert_eq!(fetched(&mut client, "fetch_events('mailer', 4)"), [3, 4, 5, STRIDE]);
    let ahead = feed_position(&mut client);
    await_archived(&archive, "00000002.history");

    // Another recovery from the same archive, after the first one was given up.
    recover(&by_lsn, &archive, &format!("recovery_target_lsn = '{lsn}'"), "1");
    let mut client = by_lsn.connect(&name);
    for _ in 0..2 {
        assert_goes_on(&mut client, 0..=7);
        for place in (8..=17).chain([STRIDE, ahead]) {
            assert_lost(&mut client, place, "Epoch 1 of the feed ended at position 7");
        }
        register(&mut client, 50);
    }
    assert_eq!(epochs(&mut client), [(1, 1, 0), (3, 2 * STRIDE, 7)]);
    assert_eq!(fetched(&mut client, "fetch_events('mailer', 2)"), [7, 2 * STRIDE]);
}

/// Subscribes a database to the whole schema of another, with or without a copy of what is there.
fn replicate(publisher: &Database, subscriber: &Database, copy: bool) {
    let publish = "CREATE PUBLICATION everything FOR TABLES IN SCHEMA customers";
    publisher.connect().batch_execute(publish).unwrap();
    let subscribe = format!(
        "CREATE SUBSCRIPTION {} CONNECTION 'host={} dbname={} user=postgres' PUBLICATION everything
             WITH (copy_data = {copy})",
        subscriber.name,
        publisher.server.host(),
        publisher.name
    );
    subscriber.connect().batch_execute(&subscribe).unwrap();
    await_applied(publisher.server, subscriber);
}

/// Waits until the subscriber has everything that the publisher has committed.
fn await_applied(publisher: &Server, subscriber: &Database) {
    let copied = "SELECT NOT EXISTS (SELECT FROM pg_subscription_rel WHERE srsubstate <> 'r')";
    await_true(&mut subscriber.connect(), copied, &[]);
    let mut client = publisher.connect("postgres");
    let lsn: String = one(&mut client, "SELECT pg_current_wal_flush_lsn()::text", &[]);
    let applied = "SELECT confirmed_flush_lsn >= $2::text::pg_lsn FROM pg_replication_slots WHERE slot_name = $1";
    await_true(&mut client, applied, &[&subscriber.name, &lsn]);
}

/// Ends the subscription without a connection to the publisher.
fn stop_following(subscriber: &Database) {
    let mut client = subscriber.connect();
    for change in ["DISABLE", "SET (slot_name = NONE)"] {
        client.batch_execute(&format!("ALTER SUBSCRIPTION {} {change}", subscriber.name)).unwrap();
    }
    client.batch_execute(&format!("DROP SUBSCRIPTION {}", subscriber.name)).unwrap();
}

/// Two clusters, of PostgreSQL 16 and 18.
fn publisher_and_subscriber() -> (Server, Server) {
    let start = |major| Server::start_of(&home(major), &[], &["wal_level = logical"]);
    (start("16"), start("18"))
}

/// How far a feed was pruned by the publisher.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Pruned {
    NotAtAll,
    BeforeTheCopy,
    WhileReplicated,
    BeforeTheCopyToTheEnd,
    WhileReplicatedToTheEnd,
}

#[test]
fn a_planned_switch_over_by_logical_replication_refuses_nobody_however_far_the_feed_was_pruned() {
    use Pruned::*;
    if !on_16() || !have(&["16", "18"]) {
        return;
    }
    let (old, new) = publisher_and_subscriber();
    for pruned in
        [NotAtAll, BeforeTheCopy, WhileReplicated, BeforeTheCopyToTheEnd, WhileReplicatedToTheEnd]
    {
        let publisher = old.database();
        let mut client = publisher.connect();
        let prune = |client: &mut Client, up_to: i64| {
            acknowledge(client, "mailer", up_to);
            let pruned: i64 = one(client, "SELECT customers.prune_events('0')", &[]);
            assert_eq!(pruned, up_to);
        };
        register(&mut client, 4);
        match pruned {
            BeforeTheCopy => prune(&mut client, 2),
            BeforeTheCopyToTheEnd => prune(&mut client, 4),
            _ => {}
        }
        let subscriber = new.database();
        replicate(&publisher, &subscriber, true);
        let mut end = 4;
        if pruned != BeforeTheCopyToTheEnd {
            register(&mut client, 4);
            end = 8;
        }
        let begin = match pruned {
            NotAtAll => 0,
            BeforeTheCopy => 2,
            BeforeTheCopyToTheEnd => 4,
            WhileReplicated => {
                prune(&mut client, 6);
                6
            }
            WhileReplicatedToTheEnd => {
                prune(&mut client, 8);
                8
            }
        };
        let place = begin.max(3);
        acknowledge(&mut client, "mailer", place);
        assert_eq!(feed_position(&mut client), end);
        await_applied(&old, &subscriber);
        stop_following(&subscriber);

        let mut client = subscriber.connect();
        let context = format!("{pruned:?}");
        assert_eq!(feed_position(&mut client), end, "{context}");
        for _ in 0..2 {
            assert_goes_on(&mut client, begin..=end);
            for place in 0..begin {
                assert_lost(
                    &mut client,
                    place,
                    &format!("Events up to position {begin} were pruned"),
                );
            }
            register(&mut client, 3);
        }
        let fetched = fetched(&mut client, "fetch_events('mailer')");
        let expected: Vec<i64> = (place + 1..=end).chain(STRIDE..STRIDE + 6).collect();
        assert_eq!(fetched, expected, "{context}");
        assert_eq!(epochs(&mut client), [(1, 1, 0), (2, STRIDE, end)], "{context}");
        assert_eq!(
            one::<i64>(&mut client, "SELECT count(*) FROM customers.customers", &[]),
            end + 6
        );
    }
}

#[test]
fn an_unplanned_switch_over_by_logical_replication_refuses_who_was_ahead_and_nobody_else() {
    if !on_16() || !have(&["16", "18"]) {
        return;
    }
    let (old, new) = publisher_and_subscriber();
    let publisher = old.database();
    let mut client = publisher.connect();
    register(&mut client, 4);
    let subscriber = new.database();
    replicate(&publisher, &subscriber, true);
    let name = &subscriber.name;
    register(&mut client, 2);
    acknowledge(&mut client, "mailer", 5);
    await_applied(&old, &subscriber);
    subscriber.connect().batch_execute(&format!("ALTER SUBSCRIPTION {name} DISABLE")).unwrap();
    await_true(&mut client, "SELECT NOT active FROM pg_replication_slots", &[]);
    register(&mut client, 10);
    acknowledge(&mut client, "mailer", 12);
    assert_eq!(feed_position(&mut client), 16);
    drop(client);
    old.crash();
    stop_following(&subscriber);

    let mut client = subscriber.connect();
    for _ in 0..2 {
        assert_goes_on(&mut client, 0..=6);
        for place in 7..=16 {
            assert_lost(&mut client, place, "Epoch 1 of the feed ended at position 6");
        }
        register(&mut client, 20);
    }
    assert_eq!(epochs(&mut client), [(1, 1, 0), (2, STRIDE, 6)]);
    let resumed = client.query("SELECT customers.subscribe('mailer', 12)", &[]);
    assert_refused(resumed, "PT410", &[]);
    assert_eq!(fetched(&mut client, "fetch_events('mailer', 2)"), [6, STRIDE]);
}

#[test]
fn a_switch_over_by_logical_replication_under_load_sends_nobody_back() {
    if !on_16() || !have(&["16", "18"]) {
        return;
    }
    let (old, new) = publisher_and_subscriber();
    let publisher = old.database();
    let name = &publisher.name;
    new.connect("postgres").batch_execute(&format!("CREATE DATABASE {name}")).unwrap();
    let subscriber = Database { server: &new, name: name.clone() };
    subscriber.connect().batch_execute("CREATE EXTENSION customer_db").unwrap();
    let (copies, mut client) =
        under_load(&Primary::new(&old, name), &PLACES, &LOAD, |primary, write_on| {
            write_on();
            replicate(&publisher, &subscriber, true);
            write_on();
            let mut operator = old.connect("postgres");
            let close = format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false");
            operator.batch_execute(&close).unwrap();
            let terminated = "SELECT count(pg_terminate_backend(pid)) = 0 FROM pg_stat_activity
                           WHERE datname = $1 AND backend_type = 'client backend'";
            await_true(&mut operator, terminated, &[name]);
            await_applied(&old, &subscriber);
            stop_following(&subscriber);
            primary.moves_to(&new);
            write_on();
        });
    assert_true(&copies, &mut client);
    let begun_again: Vec<usize> = copies.iter().map(|copy| copy.begun_again).collect();
    assert_eq!(begun_again, [0; 4]);
    let epochs = epochs(&mut client);
    assert_eq!((epochs.len(), epochs[1].0), (2, 2));
}

/// A session compares its sequence with the epochs once a second, although nobody else has drawn from it.
#[test]
fn a_session_that_outlived_a_switch_over_and_back_hides_no_event() {
    if !on_16() {
        return;
    }
    let start = || Server::start(&["wal_level = logical"]);
    let (here, there) = (start(), start());
    let (a, b) = (here.database(), there.database());
    let mut living = a.connect();
    register(&mut living, 4);
    replicate(&a, &b, true);
    stop_following(&b);
    replicate(&b, &a, false);
    let mut client = b.connect();
    register(&mut client, 3);
    let place = feed_position(&mut client);
    assert_eq!(place, STRIDE + 2);
    await_applied(&there, &a);
    stop_following(&a);

    let is_over =
        "SELECT clock_timestamp() > max(began_at) + interval '1.5 s' FROM customers.feed_epochs";
    await_true(&mut a.connect(), is_over, &[]);
    register(&mut living, 2);
    let mut client = a.connect();
    assert_eq!(positions_after(&mut client, place), [2 * STRIDE, 2 * STRIDE + 1]);
    assert_eq!(epochs(&mut client), [(1, 1, 0), (2, STRIDE, 4), (3, 2 * STRIDE, place)]);
}

/// A cluster of another major version that pg_upgrade has moved everything of this one to.
fn upgraded(old: &Server, from: &str, to: &str) -> Server {
    let new = Server::start_of(&home(to), &[], &[]);
    new.pg_ctl("stop");
    old.pg_ctl("stop");
    if to == "18" {
        // Its initdb enables them, unlike those before.
        succeed(new.program("pg_checksums").args(["--disable", "--pgdata"]).arg(new.data()));
    }
    succeed(
        new.program("pg_upgrade")
            .current_dir(new.host())
            .args(["--username=postgres", "--old-bindir"])
            .arg(home(from).join("bin"))
            .arg("--old-datadir")
            .arg(old.data())
            .arg("--new-bindir")
            .arg(home(to).join("bin"))
            .arg("--new-datadir")
            .arg(new.data()),
    );
    new.pg_ctl("start");
    new
}

#[test]
fn upgrades_through_all_major_versions_leave_every_consumer_where_it_is() {
    let majors = ["15", "16", "17", "18"];
    if !on_16() || !have(&majors) {
        return;
    }
    let mut server = Server::start_of(&home("15"), &[], &[]);
    let (name, pruned) = (server.database().name, server.database().name);
    let mut client = server.connect(&name);
    register(&mut client, 6);
    let history = recorded(&mut client);
    // The mailer is always three events behind, the reader none.
    acknowledge(&mut client, "mailer", 3);
    let (mut place, mut read) = (3, feed_position(&mut client));
    let mut client = server.connect(&pruned);
    register(&mut client, 4);
    acknowledge(&mut client, "mailer", 4);
    assert_eq!(one::<i64>(&mut client, "SELECT customers.prune_events('0')", &[]), 4);

    for (step, pair) in majors.windows(2).enumerate() {
        server = upgraded(&server, pair[0], pair[1]);
        let epoch = STRIDE * (step as i64 + 1);
        let mut client = server.connect(&name);
        let version: String = one(&mut client, "SHOW server_version", &[]);
        assert!(version.starts_with(pair[1]), "{version}");
        let before = positions(&mut client);
        assert_goes_on(&mut client, before.iter().copied().chain([0]));
        assert_eq!(positions_after(&mut client, read), [0; 0]);
        let behind: Vec<i64> =
            before.iter().copied().filter(|position| *position > place).collect();
        assert_eq!(behind.len(), 3);
        assert_eq!(fetched(&mut client, "fetch_events('mailer')"), behind);

        register(&mut client, 3);
        assert_goes_on(&mut client, before.iter().copied().chain([0]));
        let new = [epoch, epoch + 1, epoch + 2];
        assert_eq!(positions_after(&mut client, read), new);
        assert_eq!(
            fetched(&mut client, "fetch_events('mailer')"),
            [&behind[..], &new[..]].concat()
        );
        place = behind[2];
        acknowledge(&mut client, "mailer", place);
        read = feed_position(&mut client);

        let mut client = server.connect(&pruned);
        assert_eq!(fetched(&mut client, "fetch_events('mailer')"), [0; 0]);
        registered(&mut client);
        assert_eq!(fetched(&mut client, "fetch_events('mailer')"), [epoch]);
        acknowledge(&mut client, "mailer", epoch);
        assert_eq!(one::<i64>(&mut client, "SELECT customers.prune_events('0')", &[]), 1);
    }
    let mut client = server.connect(&name);
    assert_recorded_since(&mut client, &history, "after three upgrades");
    assert_eq!(
        epochs(&mut client),
        [(1, 1, 0), (2, STRIDE, 6), (3, 2 * STRIDE, STRIDE + 2), (4, 3 * STRIDE, 2 * STRIDE + 2)]
    );
    assert_eq!(positions(&mut client).len(), 15);
}

#[test]
fn crashes_that_lose_commits_begin_no_epoch_and_mislead_no_copy() {
    if !on_16() {
        return;
    }
    // WAL stays in memory until a reader has it flushed.
    let server = Server::start(&[
        "synchronous_commit = off",
        "wal_writer_delay = '10s'",
        "wal_writer_flush_after = '1GB'",
        "wal_buffers = '64MB'",
    ]);
    let name = server.database().name;
    let (copies, mut client) =
        under_load(&Primary::new(&server, &name), &PLACES, &LOAD, |_, write_on| {
            for _ in 0..8 {
                write_on();
                server.crash();
                server.pg_ctl("start");
            }
            write_on();
        });
    assert_true(&copies, &mut client);
    let begun_again: Vec<usize> = copies.iter().map(|copy| copy.begun_again).collect();
    assert_eq!(begun_again, [0; 4]);
    assert_eq!(epochs(&mut client), [(1, 1, 0)]);
}

/// Restores a dump of a database into another server.
fn restored<'a>(database: &Database, server: &'a Server) -> Database<'a> {
    let dump = database.dump(&["--format=custom"]);
    let copy = server.empty_database("TEMPLATE template0");
    succeed(copy.program("pg_restore").arg("--exit-on-error").arg(dump));
    copy
}

#[test]
fn a_dump_restored_into_another_server_refuses_who_was_ahead_of_it_and_nobody_else() {
    if !on_16() {
        return;
    }
    let (old, new) = (Server::start(&[]), Server::start(&[]));
    let database = old.database();
    let mut client = database.connect();
    register(&mut client, 4);
    acknowledge(&mut client, "mailer", 2);
    let behind = restored(&database, &new);
    register(&mut client, 10);
    acknowledge(&mut client, "mailer", 9);
    assert_eq!(feed_position(&mut client), 14);
    let up_to_date = restored(&database, &new);

    for (copy, end, place) in [(behind, 4, 2), (up_to_date, 14, 9)] {
        let mut client = copy.connect();
        assert_eq!(feed_position(&mut client), end);
        for _ in 0..2 {
            assert_goes_on(&mut client, 0..=end);
            for place in end + 1..=15 {
                let detail = format!("Epoch 1 of the feed ended at position {end}");
                assert_lost(&mut client, place, &detail);
            }
            register(&mut client, 20);
        }
        assert_eq!(epochs(&mut client), [(1, 1, 0), (2, STRIDE, end)]);
        let expected: Vec<i64> = (place + 1..=end).chain(STRIDE..STRIDE + 40).collect();
        assert_eq!(fetched(&mut client, "fetch_events('mailer')"), expected);
    }
}

/// Where it ended is known from the WAL, but not from a dump.
#[test]
fn a_dump_of_a_promoted_server_that_has_written_nothing_refuses_who_has_read_what_was_lost() {
    if !on_16() {
        return;
    }
    let primary = Server::start(&[]);
    let name = primary.database().name;
    let standby = primary.standby();
    let (mut first, mut client) = (primary.connect(&name), primary.connect(&name));
    register(&mut client, 3);
    assert_eq!(feed_position(&mut client), 3);
    first.batch_execute("BEGIN").unwrap();
    registered(&mut first);
    register(&mut client, 2);
    let lsn: String = one(&mut client, "SELECT pg_current_wal_flush_lsn()::text", &[]);
    let replayed = "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn";
    await_true(&mut standby.connect("postgres"), replayed, &[&lsn]);
    standby.pg_ctl("stop");
    first.batch_execute("COMMIT").unwrap();
    assert_eq!(feed_position(&mut client), 6);
    drop((first, client));
    primary.crash();
    standby.pg_ctl("start");
    standby.pg_ctl("promote");
    assert_lost(&mut standby.connect(&name), 6, "ended at position 3");

    let other = Server::start(&[]);
    let copy = restored(&Database { server: &standby, name }, &other);
    let mut client = copy.connect();
    for _ in 0..2 {
        assert_lost(&mut client, 6, "");
        registered(&mut client);
    }
    // The customers of positions 5 and 6, and the two that were registered here.
    assert_eq!(positions_after(&mut client, 3).len(), 4);
}
