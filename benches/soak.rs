//! Sixteen clients of all kinds for ten minutes, while backends are killed, sessions terminated, tables altered, dumps
//! taken and restored, and a synchronous standby promoted. Afterwards nothing acknowledged is lost, every copy equals
//! the table, verify() finds nothing, and no session has grown.

#[allow(dead_code)] // the tests use all of it
#[path = "../tests/server/kit/mod.rs"]
mod kit;

use kit::attack::SECRET;
use kit::copying::{Copy, Place, Primary};
use kit::traffic::{Change, Rng, SetWhenDropped};
use kit::{Database, Server, address, all, await_true, eventually, id, kill, one};
use postgres::{Client, Error, Row};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use uuid::Uuid;

const DURATION: Duration = Duration::from_secs(600);
const DATABASE: &str = "soak";
/// Twelve clients that write or read; three consumers with copies, and one that keeps every event, are the others.
const CLIENTS: [Act; 12] =
    [call, call, call, call, call, plain, plain, copy_in, import, in_turn, read, tidy];
const PLACES: [Place; 3] = [Place::Own, Place::Kept("mailer"), Place::Kept("search")];
const AUDIT: &str = "audit";
const CONSUMER: &str = "consumer";
/// A session's memory is compared with what it was at this age.
const WARM_UP: Duration = Duration::from_secs(60);
/// By how much the private memory of a session or the worker may grow after that.
const GROWTH: u64 = 8 << 20;

/// Does one thing; returns what it has changed, if that certainly committed.
type Act = fn(&mut Client, &mut Rng, &Shared) -> Result<Vec<Change>, Error>;

/// What all clients know of each other.
#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    quiet: AtomicBool,
    customers: Mutex<Vec<Uuid>>,
    calls: AtomicUsize,
    /// By process, since when it runs, and its memory at the end of its warm-up and at most.
    sessions: Mutex<BTreeMap<i32, Session>>,
}

struct Session {
    what: String,
    since: Instant,
    warm: Option<u64>,
    most: u64,
}

impl Shared {
    fn customer(&self, rng: &mut Rng) -> Uuid {
        rng.pick(&self.customers.lock().unwrap())
    }

    /// Of the customers that were registered some become known to all.
    fn add(&self, changes: &[Change], rng: &mut Rng) {
        let mut customers = self.customers.lock().unwrap();
        for (id, _) in changes.iter().filter(|(_, version)| *version == 1) {
            let place = rng.roll(200) as usize;
            match customers.get_mut(place) {
                Some(other) if rng.roll(10) == 0 => *other = *id,
                Some(_) => {}
                None => customers.push(*id),
            }
        }
    }

    fn enter(&self, what: &str, pid: i32) {
        let session = Session { what: what.to_owned(), since: Instant::now(), warm: None, most: 0 };
        self.sessions.lock().unwrap().insert(pid, session);
    }

    /// Looks at the memory of a session between two calls.
    fn look(&self, pid: i32) {
        // It may have ended meanwhile.
        let Some(memory) = private_memory(pid) else { return };
        let mut sessions = self.sessions.lock().unwrap();
        let session = sessions.get_mut(&pid).expect("it has entered");
        if session.since.elapsed() > WARM_UP {
            session.warm.get_or_insert(memory);
            session.most = session.most.max(memory);
        }
    }

    /// How many processes were compared, and by how much each kind has grown at most.
    fn growth(&self) -> (usize, BTreeMap<String, u64>) {
        let sessions = self.sessions.lock().unwrap();
        let warm: Vec<_> =
            sessions.values().filter_map(|s| Some((s.what.clone(), s.most - s.warm?))).collect();
        let mut most = BTreeMap::new();
        for (what, growth) in &warm {
            let known: &mut u64 = most.entry(what.clone()).or_default();
            *known = (*known).max(*growth);
        }
        assert!(most.len() > CLIENTS.len(), "not all were compared: {most:?}");
        (warm.len(), most)
    }
}

fn private_memory(pid: i32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024)
}

fn new_address() -> String {
    format!("{SECRET}{}", address())
}

fn new_name(rng: &mut Rng) -> String {
    format!("{SECRET} {}", rng.roll(1_000_000))
}

fn changes(rows: Vec<Row>) -> Vec<Change> {
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// A call of one of the functions for one customer.
fn call(client: &mut Client, rng: &mut Rng, shared: &Shared) -> Result<Vec<Change>, Error> {
    let (customer, name, email) = (shared.customer(rng), new_name(rng), new_address());
    let status = rng.pick(&["ACTIVE", "ACTIVE", "SUSPENDED"]);
    let patch = match rng.roll(3) {
        0 => json!({"name": null}),
        1 => json!({"name": name, "status": status}),
        _ => json!({"email": email}),
    };
    let returned = "SELECT customer_id, version FROM customers";
    let rows = match rng.roll(6) {
        0 => client.query(&format!("{returned}.register_customer($1, $2)"), &[&email, &name]),
        1 => {
            let register = format!("{returned}.register_customer($1, $2, $3)");
            let id = id();
            client.query(&register, &[&email, &name, &id])?;
            client.query(&register, &[&email, &name, &id])
        }
        2 => client
            .query(&format!("{returned}.set_status($1, $2, $3)"), &[&customer, &status, &name]),
        3 => client.query(
            &format!("{returned}.update_customer($1, $2, $3, $4)"),
            &[&customer, &email, &name, &status],
        ),
        4 => client.query(
            &format!("{returned}.update_customer($1, name => $2, expected_version => 3)"),
            &[&customer, &name],
        ),
        _ => client.query(&format!("{returned}.patch_customer($1, $2)"), &[&customer, &patch]),
    };
    rows.map(changes)
}

/// Plain SQL, of several rows.
fn plain(client: &mut Client, rng: &mut Rng, shared: &Shared) -> Result<Vec<Change>, Error> {
    let name = new_name(rng);
    let returning = "RETURNING customer_id, version";
    let rows = if rng.roll(2) == 0 {
        let emails: Vec<String> = (0..=rng.roll(8)).map(|_| new_address()).collect();
        let insert = "INSERT INTO customers.customers (email, name) SELECT unnest($1::text[]), $2";
        client.query(&format!("{insert} {returning}"), &[&emails, &name])
    } else {
        let several = [shared.customer(rng), shared.customer(rng), shared.customer(rng)];
        let update = "UPDATE customers.customers SET name = $2
                       WHERE customer_id = ANY ($1) AND status <> 'CLOSED'";
        client.query(&format!("{update} {returning}"), &[&several.as_slice(), &name])
    };
    rows.map(changes)
}

fn copy_in(client: &mut Client, rng: &mut Rng, _: &Shared) -> Result<Vec<Change>, Error> {
    let ids: Vec<Uuid> = (0..=rng.roll(20)).map(|_| id()).collect();
    let mut copy = client.copy_in("COPY customers.customers (customer_id, email) FROM STDIN")?;
    for id in &ids {
        writeln!(copy, "{id}\t{}", new_address()).expect("a row is buffered");
    }
    copy.finish()?;
    Ok(ids.into_iter().map(|id| (id, 1)).collect())
}

fn import(client: &mut Client, rng: &mut Rng, _: &Shared) -> Result<Vec<Change>, Error> {
    let customer = |n: u64| match n % 10 {
        0 => json!({"email": "not an address"}),
        _ => {
            json!({"email": new_address(), "name": SECRET, "customerId": n.is_multiple_of(2).then(id)})
        }
    };
    let customers: Value = (0..=rng.roll(60)).map(customer).collect();
    let import = "SELECT customer_id, 1::bigint FROM customers.import_customers($1)
                   WHERE outcome = 'registered'";
    client.query(import, &[&customers]).map(changes)
}

/// A transaction of several steps, some of which are rolled back to a savepoint.
fn in_turn(client: &mut Client, rng: &mut Rng, shared: &Shared) -> Result<Vec<Change>, Error> {
    let mut transaction = client.transaction()?;
    let mut kept = Vec::new();
    for _ in 0..=rng.roll(4) {
        let mut savepoint = transaction.savepoint("s")?;
        let update = "SELECT customer_id, version FROM customers.update_customer($1, $2)";
        let register =
            "SELECT customer_id, version FROM customers.register_customer($2, customer_id => $1)";
        let rows = match rng.roll(2) {
            0 => savepoint.query(update, &[&shared.customer(rng), &new_address()])?,
            _ => savepoint.query(register, &[&id(), &new_address()])?,
        };
        if rng.roll(3) == 0 {
            savepoint.rollback()?;
        } else {
            savepoint.commit()?;
            kept.extend(changes(rows));
        }
        rng.sleep(10);
    }
    transaction.commit()?;
    Ok(kept)
}

fn read(client: &mut Client, rng: &mut Rng, shared: &Shared) -> Result<Vec<Change>, Error> {
    let customer = shared.customer(rng);
    let by_id = ["get_customer", "customer_history", "customer_timeline", "export_customer"];
    let query = match rng.roll(9) {
        n @ 0..=3 => format!("{}('{customer}')", by_id[n as usize]),
        4 => format!("list_customers(after => '{customer}')"),
        5 => format!("search_customers('{}')", &SECRET[..3]),
        6 => "find_customer('nobody@example.com')".to_owned(),
        7 => "metrics()".to_owned(),
        _ => "verify()".to_owned(),
    };
    client.query(&format!("SELECT * FROM customers.{query}"), &[])?;
    Ok(Vec::new())
}

/// Erasing and pruning.
fn tidy(client: &mut Client, rng: &mut Rng, shared: &Shared) -> Result<Vec<Change>, Error> {
    rng.sleep(500);
    match rng.roll(3) {
        0 => {
            client.query("SELECT customers.prune_events('20 seconds', 5000)", &[])?;
            client.query("SELECT customers.reapply_erasures()", &[])?;
            Ok(Vec::new())
        }
        _ => {
            let erase = "SELECT customer_id, version FROM customers.erase_customer($1, $2)";
            client.query(erase, &[&shared.customer(rng), &new_name(rng)]).map(changes)
        }
    }
}

/// Whether an error only reports the end of a session or its server.
fn died(error: &Error) -> bool {
    error.as_db_error().is_none_or(|error| error.code().code().starts_with("57P"))
}

/// Whether an error is one that concurrent clients have to expect.
fn is_expected(error: &Error) -> bool {
    // A deadlock, a closed account, another version, a lock that altering the table waited for too long.
    error.code().is_some_and(|code| ["40P01", "23514", "PT409", "55P03"].contains(&code.code()))
}

/// A session on the primary, whose memory is observed; None once the clients are to stop.
fn session(primary: &Primary, what: &str, shared: &Shared) -> Option<(Client, i32)> {
    let consumes = what.starts_with(CONSUMER);
    while !shared.stop.load(Ordering::Acquire) || consumes {
        let connected = primary.connect().and_then(|mut client| {
            let setup = format!("SET application_name = '{what}'; SET deadlock_timeout = '20ms'");
            client.batch_execute(&setup)?;
            let pid = client.query_one("SELECT pg_backend_pid()", &[])?.get(0);
            Ok((client, pid))
        });
        match connected {
            Ok((client, pid)) => {
                shared.enter(what, pid);
                return Some((client, pid));
            }
            Err(error) => assert!(died(&error), "{error:?}"),
        }
        thread::sleep(Duration::from_millis(20));
    }
    None
}

/// Works until it is to stop; returns the changes that were acknowledged.
fn work(primary: &Primary, seed: usize, shared: &Shared) -> Vec<Change> {
    let mut rng = Rng(seed as u64);
    let mut acknowledged = Vec::new();
    while let Some((mut client, pid)) = session(primary, &format!("client {seed}"), shared) {
        while !shared.stop.load(Ordering::Acquire) {
            match CLIENTS[seed](&mut client, &mut rng, shared) {
                Ok(changes) => {
                    shared.calls.fetch_add(1, Ordering::Relaxed);
                    shared.add(&changes, &mut rng);
                    acknowledged.extend(changes);
                }
                Err(error) if died(&error) => break,
                Err(error) => assert!(is_expected(&error), "client {seed}: {error:?}"),
            }
            shared.look(pid);
            rng.sleep(20);
        }
    }
    acknowledged
}

/// Consumes in one session after another until `quiet` is set and nothing is left.
fn consume(
    primary: &Primary,
    shared: &Shared,
    name: &str,
    mut catch_up: impl FnMut(&mut Client) -> Result<bool, Error>,
) {
    while let Some((mut client, pid)) = session(primary, &format!("{CONSUMER} {name}"), shared) {
        loop {
            let last_look = shared.quiet.load(Ordering::Acquire);
            match catch_up(&mut client) {
                Ok(false) if last_look => return,
                Ok(true) => {}
                Ok(false) => thread::sleep(Duration::from_millis(5)),
                Err(error) if died(&error) => break,
                Err(error) => panic!("{error:?}"),
            }
            shared.look(pid);
        }
    }
}

/// Every change that the feed has told of.
#[derive(Default)]
struct Audit(HashSet<Change>);

impl Audit {
    fn catch_up(&mut self, client: &mut Client) -> Result<bool, Error> {
        let fetch = "SELECT customer_id, version, position FROM customers.fetch_events($1, 1000)";
        let rows = match client.query(fetch, &[&AUDIT]) {
            Err(error) if error.code().is_some_and(|code| code.code() == "PT410") => {
                // What was pruned has been acknowledged, and so read.
                let pruned = "SELECT value::bigint FROM customers.metrics()
                               WHERE name = 'customer_db_feed_pruned_to_position'";
                let mut transaction = client.transaction()?;
                let pruned: i64 = transaction.query_one(pruned, &[])?.get(0);
                transaction.execute("SELECT customers.unsubscribe($1)", &[&AUDIT])?;
                transaction.execute("SELECT customers.subscribe($1, $2)", &[&AUDIT, &pruned])?;
                transaction.commit()?;
                return Ok(true);
            }
            rows => rows?,
        };
        self.0.extend(rows.iter().map(|row| (row.get::<_, Uuid>(0), row.get::<_, i64>(1))));
        let Some(last) = rows.last() else { return Ok(false) };
        let acknowledge = "SELECT customers.acknowledge($1, $2)";
        client.execute(acknowledge, &[&AUDIT, &last.get::<_, i64>(2)])?;
        Ok(true)
    }
}

/// What happens to the server meanwhile.
#[derive(Debug, Default)]
struct Told {
    kills: usize,
    terminations: usize,
    alterations: usize,
    restores: usize,
}

struct Operator<'a> {
    primary: &'a Primary,
    shared: &'a Shared,
    rng: Rng,
    told: Told,
}

impl Operator<'_> {
    fn connect(&self) -> Client {
        let mut client = None;
        eventually("there is a primary", || {
            client = self.primary.connect().ok();
            client.is_some()
        });
        client.expect("connected")
    }

    /// Kills a backend, which restarts the cluster, and waits until it has recovered.
    fn kill_one(&mut self) {
        let mut client = self.connect();
        let others = "SELECT pid FROM pg_stat_activity
                       WHERE datname = current_database() AND pid <> pg_backend_pid()";
        let pids: Vec<i32> = all(&mut client, others, &[]);
        kill(self.rng.pick(&pids), libc::SIGKILL);
        eventually("the server notices", || client.batch_execute("SELECT 1").is_err());
        self.connect();
        self.told.kills += 1;
    }

    fn terminate(&mut self) {
        let terminate = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                          WHERE datname = current_database() AND application_name LIKE 'consumer%'
                            AND random() < 0.3";
        self.told.terminations += one::<i64>(&mut self.connect(), terminate, &[]) as usize;
    }

    fn alter(&mut self) {
        let mut client = self.connect();
        for statement in [
            "ALTER TABLE customers.customers ADD COLUMN IF NOT EXISTS extra text",
            "DROP INDEX CONCURRENTLY IF EXISTS customers.customers_extra",
            "CREATE INDEX CONCURRENTLY customers_extra ON customers.customers (name)",
            "SELECT customers.attach()",
            "DROP INDEX CONCURRENTLY customers.customers_extra",
            "ALTER TABLE customers.customers DROP COLUMN extra",
            "VACUUM ANALYZE customers.customers, customers.events",
        ] {
            match client.batch_execute(statement) {
                Ok(()) => self.told.alterations += 1,
                Err(error) => assert!(is_expected(&error), "{statement}: {error:?}"),
            }
        }
    }

    fn restore(&mut self, server: &Server) {
        let copy = Database { server, name: DATABASE.to_owned() }.copy();
        let mut client = copy.connect();
        assert_verified(&mut client);
        drop(client);
        let drop = format!("DROP DATABASE {} (FORCE)", copy.name);
        server.connect("postgres").batch_execute(&drop).unwrap();
        self.told.restores += 1;
    }

    /// Half of the time with crashes, then a failover, then the rest without.
    fn run(&mut self, a: &Server, b: &Server) {
        let start = Instant::now();
        let (mut server, mut round) = (a, 0);
        while start.elapsed() < DURATION {
            if std::ptr::eq(server, a) && start.elapsed() > DURATION / 2 {
                a.crash();
                b.pg_ctl("promote");
                self.primary.moves_to(b);
                server = b;
            }
            round += 1;
            match round % 5 {
                0 => self.restore(server),
                1 => self.terminate(),
                2 => self.alter(),
                _ if std::ptr::eq(server, a) => self.kill_one(),
                _ => {}
            }
            self.look_at_worker();
            self.rng.sleep(5_000);
            let calls = self.shared.calls.load(Ordering::Relaxed);
            println!("    {:>3} s: {calls} calls, {:?}", start.elapsed().as_secs(), self.told);
        }
    }

    fn look_at_worker(&self) {
        let worker =
            "SELECT pid FROM pg_stat_activity WHERE backend_type = 'customer_db notifications'";
        for pid in all::<i32>(&mut self.connect(), worker, &[]) {
            if !self.shared.sessions.lock().unwrap().contains_key(&pid) {
                self.shared.enter("worker", pid);
            }
            self.shared.look(pid);
        }
    }
}

fn assert_verified(client: &mut Client) {
    let wrong = "SELECT check_name || ': ' || detail FROM customers.verify() WHERE NOT ok";
    assert_eq!(all::<String>(client, wrong, &[]), [""; 0]);
}

/// Nothing went wrong that was not our doing, and no value is in the log.
fn assert_log_is_clean(server: &Server, kills: usize) {
    let log = server.log();
    let killed = log.matches("was terminated by signal 9").count();
    assert_eq!((killed, log.matches("was terminated by signal").count()), (kills, kills));
    for bad in ["PANIC", "TRAP", " XX"] {
        assert!(!log.contains(bad), "{bad} in the server log");
    }
    assert!(!log.to_lowercase().contains(SECRET), "a value is in the server log");
}

fn main() {
    // cargo test runs benches too, without --bench.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let a = Server::start(&[
        "wal_keep_size = '8GB'",
        "log_line_prefix = '%p %d %e '",
        "shared_preload_libraries = 'customer_db'",
        &format!("customer_db.databases = '{DATABASE}'"),
    ]);
    let create = format!(
        "CREATE DATABASE {DATABASE}; ALTER DATABASE {DATABASE} SET customer_db.notify = 'worker'"
    );
    create.split(';').for_each(|sql| a.connect("postgres").batch_execute(sql).unwrap());
    let mut client = a.connect(DATABASE);
    client.batch_execute("CREATE EXTENSION customer_db").unwrap();
    client.execute("SELECT customers.subscribe($1)", &[&AUDIT]).unwrap();
    let shared = Shared::default();
    let first = (0..50).map(|_| kit::registered(&mut client)).collect();
    *shared.customers.lock().unwrap() = first;
    let b = a.standby();
    let streaming = "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE state = 'streaming')";
    await_true(&mut client, streaming, &[]);
    drop(client);
    a.configure(&["synchronous_standby_names = '*'"]);
    a.pg_ctl("reload");

    let primary = &Primary::new(&a, DATABASE);
    let mut operator = Operator { primary, shared: &shared, rng: Rng(1), told: Told::default() };
    let (acknowledged, copies, audit) = thread::scope(|scope| {
        let _stop = (SetWhenDropped(&shared.stop), SetWhenDropped(&shared.quiet));
        let shared = &shared;
        let clients: Vec<_> = (0..CLIENTS.len())
            .map(|seed| scope.spawn(move || work(primary, seed, shared)))
            .collect();
        let copies = PLACES.map(|place| {
            scope.spawn(move || {
                let mut copy = Copy::new(place);
                consume(primary, shared, &format!("{place:?}").replace('"', ""), |client| {
                    copy.catch_up(client)
                });
                copy
            })
        });
        let audit = scope.spawn(move || {
            let mut audit = Audit::default();
            consume(primary, shared, AUDIT, |client| audit.catch_up(client));
            audit
        });
        operator.run(&a, &b);
        shared.stop.store(true, Ordering::Release);
        let acknowledged: Vec<Change> =
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        shared.quiet.store(true, Ordering::Release);
        (acknowledged, copies.map(|copy| copy.join().unwrap()), audit.join().unwrap())
    });

    let told = &operator.told;
    assert!(told.kills > 0 && told.terminations > 0 && told.restores > 0, "{told:?}");
    let mut client = operator.connect();
    let lost = acknowledged.iter().filter(|change| !audit.0.contains(change)).count();
    assert_eq!(lost, 0, "of {} changes", acknowledged.len());
    for copy in &copies {
        assert_eq!(copy.faults(&mut client), (0, 0), "wrong and ghosts of {:?}", copy.place);
    }
    assert_verified(&mut client);
    let locks = "SELECT count(*) = 0 FROM pg_locks WHERE locktype = 'userlock'";
    await_true(&mut client, locks, &[]);
    assert_log_is_clean(&a, told.kills);
    assert_log_is_clean(&b, 0);
    let (sessions, growth) = shared.growth();
    println!("octets of growth: {growth:?}");
    assert!(growth.values().all(|growth| *growth < GROWTH), "a session has grown");
    let again: Vec<usize> = copies.iter().map(|copy| copy.begun_again).collect();
    println!(
        "{} calls, {} changes, {told:?}, 1 failover; {lost} lost; copies begun again {again:?}; {sessions} sessions older \
         than {} s, of which none has grown by more than {} kB",
        shared.calls.load(Ordering::Relaxed),
        acknowledged.len(),
        WARM_UP.as_secs(),
        growth.values().max().expect("there are some") / 1024,
    );
}
