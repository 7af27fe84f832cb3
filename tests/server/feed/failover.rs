//! Promise: whatever a failover loses, every consumer that follows the reference ends with a true copy; where it
//! loses nothing, nobody has to copy again.

use crate::kit::copying::{Copy, Place, Primary};
use crate::kit::traffic::{Rng, SetWhenDropped};
use crate::kit::{Server, address, await_true, eventually, on_16, one};
use postgres::{Client, Error};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// As much as this machine can do.
pub(super) const LOAD: Load =
    Load { writers: 6, pause: Duration::ZERO, before_connecting: Duration::from_millis(5) };
pub(super) const PLACES: [Place; 4] =
    [Place::Own, Place::Own, Place::Kept("mailer"), Place::Kept("search")];
/// A failover is answered by PT410 alone if the primary crashes; see pg_rewind for the last setting.
const SETTINGS: [&str; 2] = ["wal_log_hints = on", "wal_keep_size = '1GB'"];

pub(super) struct Load {
    pub writers: u64,
    /// What writers wait for between two transactions, and consumers before they look again.
    pub pause: Duration,
    /// What both wait for when there was no primary.
    pub before_connecting: Duration,
}

/// Writes until `stop`, on whichever server is the primary.
fn write(primary: &Primary, seed: u64, load: &Load, stop: &AtomicBool, written: &AtomicUsize) {
    let mut rng = Rng(seed);
    while !stop.load(Ordering::Acquire) {
        let Ok(mut client) = primary.connect() else {
            thread::sleep(load.before_connecting);
            continue;
        };
        while !stop.load(Ordering::Acquire) && change(&mut client, &mut rng).is_ok() {
            written.fetch_add(1, Ordering::Relaxed);
            thread::sleep(load.pause);
        }
    }
}

/// A transaction of one to three registrations and changes, which stays open for a while at times.
fn change(client: &mut Client, rng: &mut Rng) -> Result<(), Error> {
    let mut transaction = client.transaction()?;
    for _ in 0..=rng.roll(3) {
        let registered = transaction.query_one(
            "SELECT customer_id FROM customers.register_customer($1, $2)",
            &[&address(), &format!("Name {}", rng.roll(1000))],
        )?;
        let id: uuid::Uuid = registered.get(0);
        if rng.roll(2) == 0 {
            transaction.query("SELECT customers.set_status($1, 'SUSPENDED')", &[&id])?;
        }
        if rng.roll(4) == 0 {
            rng.sleep(10);
        }
    }
    transaction.commit()
}

/// Keeps a copy until `quiet`, and then until nothing is left.
fn copy(primary: &Primary, place: Place, load: &Load, quiet: &AtomicBool) -> Copy {
    let mut copy = Copy::new(place);
    loop {
        let mut client = match primary.connect() {
            Ok(client) => client,
            Err(error) => {
                assert!(!quiet.load(Ordering::Acquire), "no primary at the end: {error:?}");
                thread::sleep(load.before_connecting);
                continue;
            }
        };
        loop {
            let last_look = quiet.load(Ordering::Acquire);
            match copy.catch_up(&mut client) {
                Ok(false) if last_look => return copy,
                Ok(true) => {}
                Ok(false) => thread::sleep(load.pause.max(Duration::from_millis(1))),
                Err(error) => {
                    if let Some(error) = error.as_db_error() {
                        let code = error.code().code();
                        assert!(code.starts_with("57P"), "{error:?}");
                    }
                    break;
                }
            }
        }
    }
}

/// Runs `fail` while writers write and consumers copy, and returns the copies when all is quiet again.
pub(super) fn under_load(
    primary: &Primary,
    places: &[Place],
    load: &Load,
    fail: impl FnOnce(&Primary, &dyn Fn()),
) -> (Vec<Copy>, Client) {
    let (stop, quiet, written) =
        (AtomicBool::new(false), AtomicBool::new(false), AtomicUsize::new(0));
    let copies = thread::scope(|scope| {
        let _stop = (SetWhenDropped(&stop), SetWhenDropped(&quiet));
        let writers: Vec<_> = (0..load.writers)
            .map(|seed| {
                scope.spawn({
                    let (stop, written) = (&stop, &written);
                    move || write(primary, seed, load, stop, written)
                })
            })
            .collect();
        let copies: Vec<_> = places
            .iter()
            .map(|&place| {
                let quiet = &quiet;
                scope.spawn(move || copy(primary, place, load, quiet))
            })
            .collect();
        fail(primary, &|| {
            let before = written.load(Ordering::Relaxed);
            eventually("100 transactions", || written.load(Ordering::Relaxed) >= before + 100);
        });
        stop.store(true, Ordering::Release);
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        quiet.store(true, Ordering::Release);
        copies.into_iter().map(|copy| copy.join().unwrap()).collect()
    });
    let client = primary.connect().unwrap();
    (copies, client)
}

fn await_streaming(primary: &Server) {
    let streaming = "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE state = 'streaming')";
    await_true(&mut primary.connect("postgres"), streaming, &[]);
}

pub(super) fn assert_true(copies: &[Copy], client: &mut Client) {
    for copy in copies {
        assert_eq!(copy.faults(client), (0, 0), "wrong and ghosts of {:?}", copy.place);
    }
    let twice = "SELECT count(*) FROM (SELECT FROM customers.events GROUP BY customer_id, version
                                        HAVING count(*) > 1) AS twice";
    assert_eq!(one::<i64>(client, twice, &[]), 0);
}

#[test]
fn an_asynchronous_failover_leaves_no_copy_wrong_also_twice_and_back_again() {
    if !on_16() {
        return;
    }
    let a = Server::start(&SETTINGS);
    let name = a.database().name;
    let b = a.standby();
    let c = b.standby();
    let primary = Primary::new(&a, &name);
    let (copies, mut client) = under_load(&primary, &PLACES, &LOAD, |primary, write_on| {
        write_on();
        // The standby lacks what is written from here on.
        b.pg_ctl("stop");
        write_on();
        a.crash();
        b.pg_ctl("start");
        b.pg_ctl("promote");
        primary.moves_to(&b);
        write_on();

        // What the standby lacks is what was under way.
        await_streaming(&b);
        write_on();
        b.crash();
        c.pg_ctl("promote");
        primary.moves_to(&c);
        write_on();

        // Back again.
        a.rewind(&c);
        await_streaming(&c);
        write_on();
        a.pg_ctl("stop");
        write_on();
        c.crash();
        a.pg_ctl("start");
        a.pg_ctl("promote");
        primary.moves_to(&a);
        write_on();
    });
    assert_true(&copies, &mut client);
    assert!(copies.iter().any(|copy| copy.begun_again > 0), "nothing was lost");
    let epochs = "SELECT array_agg(epoch ORDER BY epoch) FROM customers.feed_epochs";
    assert_eq!(one::<Vec<i32>>(&mut client, epochs, &[]), [1, 2, 3, 4]);
}

#[test]
fn a_synchronous_failover_and_a_switch_over_send_nobody_back() {
    if !on_16() {
        return;
    }
    let a = Server::start(&[&SETTINGS[..], &["synchronous_standby_names = '*'"]].concat());
    a.configure(&["synchronous_commit = local"]);
    a.pg_ctl("reload");
    let name = a.database().name;
    let b = a.standby();
    b.configure(&["synchronous_standby_names = ''"]);
    b.pg_ctl("restart");
    await_streaming(&a);
    a.configure(&["synchronous_commit = on"]);
    a.pg_ctl("reload");
    let mut others = Vec::new();
    let primary = Primary::new(&a, &name);
    let (copies, mut client) = under_load(&primary, &PLACES, &LOAD, |primary, write_on| {
        write_on();
        a.crash();
        b.pg_ctl("promote");
        primary.moves_to(&b);
        write_on();

        let c = b.standby();
        await_streaming(&b);
        write_on();
        b.pg_ctl("stop");
        c.pg_ctl("promote");
        primary.moves_to(&c);
        write_on();
        others.push(c);
    });
    assert_true(&copies, &mut client);
    let begun_again: Vec<usize> = copies.iter().map(|copy| copy.begun_again).collect();
    assert_eq!(begun_again, [0; 4]);
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM customers.feed_epochs", &[]), 3);
}
