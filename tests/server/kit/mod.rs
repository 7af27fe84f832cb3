//! Real clusters for tests: private, started here, always stopped.
//!
//! All tests of a run share one cluster; each uses a database of its own in it. A test that configures,
//! kills or restores a cluster starts its own. `CUSTOMER_DB_PG` names the major version.

pub mod attack;
pub mod calls;
pub mod copying;
pub mod example;
pub mod history;
pub mod http;
pub mod traffic;

use postgres::error::DbError;
use postgres::types::{FromSqlOwned, ToSql};
use postgres::{Client, Config, GenericClient, NoTls, Row};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime};
use uuid::Uuid;

/// The major version under test.
pub fn major() -> u32 {
    std::env::var("CUSTOMER_DB_PG").map_or(16, |major| major.parse().expect("CUSTOMER_DB_PG"))
}

/// Whether to test a promise in full that does not depend on the major version: only on one.
pub fn on_16() -> bool {
    let here = major() == 16;
    if !here {
        skipped("held on PostgreSQL 16 alone");
    }
    here
}

/// Notes that the test at work was not run, or only in part. `bin/test` prints the notes and counts them: what a
/// passing test prints is not shown.
pub fn skipped(why: &str) {
    use std::io::Write;
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let file =
        fs::OpenOptions::new().create(true).append(true).open(project().join(".local/skipped"));
    let line = format!("{}\t{test}\t{why}\n", major());
    file.and_then(|mut file| file.write_all(line.as_bytes())).expect(".local/skipped");
}

pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder of a PostgreSQL: "16", or another name in the same folder.
pub fn home(version: &str) -> PathBuf {
    project().join(".local/postgresql").join(version)
}

/// A program, run as the servers' user, with environment variables; RUST_BACKTRACE too, which
/// bin/as-server-user unsets.
fn program_in(environment: &[(String, String)], home: &Path, name: &str) -> Command {
    let mut command = Command::new(project().join("bin/as-server-user"));
    command
        .arg("env")
        .args(environment.iter().map(|(name, value)| format!("{name}={value}")))
        .arg(home.join("bin").join(name))
        .env("LD_LIBRARY_PATH", home.join("lib"))
        .env_remove("PGHOST")
        .env_remove("PGPORT")
        .env_remove("PGUSER")
        .env_remove("PGDATABASE");
    command
}

/// Runs a program to its end and returns its output; panics with the output if it fails.
#[track_caller]
pub fn succeed(command: &mut Command) -> String {
    let output = command.output().expect("the program starts");
    assert!(output.status.success(), "{command:?}\n{}", printed(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn printed(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// A private cluster, stopped and removed when dropped.
pub struct Server {
    home: PathBuf,
    environment: Vec<(String, String)>,
    folder: PathBuf,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

/// An empty folder for a cluster, to be removed by whom it is given to.
pub fn new_folder() -> PathBuf {
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("customer_db.{}.{count}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).expect("a folder for the cluster");
    folder
}

impl Server {
    /// Starts a cluster with additional lines in postgresql.conf.
    pub fn start(settings: &[&str]) -> Self {
        Self::start_of(&home(&major().to_string()), &[], settings)
    }

    /// Starts a cluster of a given PostgreSQL, with environment variables.
    pub fn start_of(home: &Path, environment: &[(&str, &str)], settings: &[&str]) -> Self {
        let environment =
            environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let server = Self { home: home.to_owned(), environment, folder: new_folder() };
        succeed(
            server
                .program("initdb")
                .args(["--username=postgres", "--auth=trust", "--encoding=UTF8"])
                .args(["--locale=C.UTF-8", "--no-sync", "--pgdata"])
                .arg(server.data()),
        );
        let mut conf = vec![
            "listen_addresses = ''".to_owned(),
            server.socket_setting(),
            "fsync = off".to_owned(),
            "max_connections = 120".to_owned(),
            "max_prepared_transactions = 20".to_owned(),
            "log_line_prefix = '%p %d '".to_owned(),
        ];
        conf.extend(settings.iter().map(|line| line.to_string()));
        fs::write(server.data().join("postgresql.auto.conf"), conf.join("\n") + "\n")
            .expect("postgresql.auto.conf");
        server.pg_ctl("start");
        server
    }

    /// A hot standby that streams from this cluster.
    pub fn standby(&self) -> Self {
        let standby = self.backup(&["--write-recovery-conf"]);
        standby.pg_ctl("start");
        standby
    }

    /// A place for a cluster of the same PostgreSQL, which another program creates in `data()` and may start.
    pub fn reserve(&self) -> Self {
        Self {
            home: self.home.clone(),
            environment: self.environment.clone(),
            folder: new_folder(),
        }
    }

    /// A copy of this cluster by pg_basebackup, not started yet.
    pub fn backup(&self, options: &[&str]) -> Self {
        let backup = self.reserve();
        succeed(
            self.program("pg_basebackup")
                .args(["--host", self.host(), "--username=postgres", "--checkpoint=fast"])
                .args(["--no-sync", "--pgdata"])
                .arg(backup.data())
                .args(options),
        );
        backup.configure(&[&backup.socket_setting()]);
        backup
    }

    /// Makes a cluster that was a primary once, and has been stopped or killed, a standby of another.
    pub fn rewind(&self, source: &Server) {
        succeed(
            self.program("pg_rewind")
                .arg("--target-pgdata")
                .arg(self.data())
                .arg(format!(
                    "--source-server=host={} user=postgres dbname=postgres",
                    source.host()
                ))
                .args(["--write-recovery-conf", "--no-sync"]),
        );
        // pg_rewind has copied the other's configuration.
        self.configure(&[&self.socket_setting()]);
        self.pg_ctl("start");
    }

    /// Appends lines to the configuration, for the next start or reload.
    pub fn configure(&self, lines: &[&str]) {
        let path = self.data().join("postgresql.auto.conf");
        let conf = fs::read_to_string(&path).expect("postgresql.auto.conf");
        fs::write(&path, format!("{conf}\n{}\n", lines.join("\n"))).expect("postgresql.auto.conf");
    }

    /// The socket's folder, as a line of postgresql.conf.
    fn socket_setting(&self) -> String {
        format!("unix_socket_directories = '{}'", self.folder.display())
    }

    /// A program of the same PostgreSQL, in the same environment.
    pub fn program(&self, name: &str) -> Command {
        program_in(&self.environment, &self.home, name)
    }

    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The folder of the socket, as the host that clients connect to.
    pub fn host(&self) -> &str {
        self.folder.to_str().expect("a path in UTF-8")
    }

    /// The complete server log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).expect("the server log")
    }

    pub fn pg_ctl(&self, action: &str) {
        // No pipe: the postmaster would inherit it, and reading it would not end.
        let status = self
            .program("pg_ctl")
            .args(["--wait", "--silent", "--mode=fast", action, "--pgdata"])
            .arg(self.data())
            .arg("--log")
            .arg(self.folder.join("log"))
            .stdout(std::process::Stdio::null())
            .status()
            .expect("pg_ctl starts");
        assert!(status.success(), "pg_ctl {action}: {}", self.log());
    }

    /// A connection as superuser.
    pub fn connect(&self, database: &str) -> Client {
        self.connect_as(database, "postgres").expect("a superuser may connect")
    }

    pub fn connect_as(&self, database: &str, role: &str) -> Result<Client, postgres::Error> {
        Config::new().host(self.host()).dbname(database).user(role).connect(NoTls)
    }

    /// A new database with the extension.
    pub fn database(&self) -> Database<'_> {
        let database = self.empty_database("");
        database.connect().batch_execute("CREATE EXTENSION customer_db").expect("CREATE EXTENSION");
        database
    }

    /// A new database without the extension; `options` follow the name in CREATE DATABASE.
    pub fn empty_database(&self, options: &str) -> Database<'_> {
        // CREATE DATABASE copies template1, to which no other session may be connected meanwhile.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let name = unique("d");
        self.connect("postgres")
            .batch_execute(&format!("CREATE DATABASE {name} {options}"))
            .expect("CREATE DATABASE");
        Database { server: self, name }
    }

    /// Kills the postmaster as a crash would, and waits until its children have exited.
    pub fn crash(&self) {
        let postmaster = postmaster(&self.data()).expect("the cluster runs");
        // Stopped first, so that it starts no further children.
        kill(postmaster, libc::SIGSTOP);
        let children = children(postmaster);
        kill(postmaster, libc::SIGKILL);
        std::iter::once(postmaster).chain(children).for_each(await_end);
    }

    fn stop(&self) {
        if let Some(postmaster) = postmaster(&self.data()) {
            // Immediate shutdown.
            kill(postmaster, libc::SIGQUIT);
            await_end(postmaster);
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The postmaster that the pid file of a data folder names.
pub fn postmaster(data: &Path) -> Option<i32> {
    let pid_file = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    pid_file.lines().next()?.parse().ok()
}

/// The children of a process, of all its threads; none if it does not run.
pub fn children(pid: i32) -> Vec<i32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let children =
        threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let children: Vec<String> = children.collect();
    let pids = children.iter().flat_map(|pids| pids.split_whitespace());
    pids.map(|pid| pid.parse().expect("a process id")).collect()
}

/// Sends a signal to a process of a cluster started here.
pub fn kill(pid: i32, signal: i32) {
    // SAFETY: kill() takes any arguments, and accesses no memory of this process.
    unsafe { libc::kill(pid, signal) };
}

pub fn await_end(pid: i32) {
    let since = Instant::now();
    // SAFETY: as above; signal 0 only tests whether the process exists.
    while unsafe { libc::kill(pid, 0) } == 0 && since.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(5));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Keeps a cluster until the process exits, since statics are never dropped.
pub fn keep(server: Server) -> &'static Server {
    static KEPT: Mutex<Vec<&Server>> = Mutex::new(Vec::new());
    extern "C" fn stop() {
        KEPT.lock().unwrap().iter().for_each(|server| server.stop());
    }
    let server: &Server = Box::leak(Box::new(server));
    let mut kept = KEPT.lock().unwrap();
    if kept.is_empty() {
        // SAFETY: `stop` is a plain function without captures; it runs at exit, and uses only statics.
        unsafe { libc::atexit(stop) };
    }
    kept.push(server);
    server
}

/// The cluster that all tests of a run share.
pub fn server() -> &'static Server {
    static SHARED: OnceLock<&Server> = OnceLock::new();
    SHARED.get_or_init(|| keep(Server::start(&[])))
}

/// A new database with the extension, in the shared cluster.
pub fn database() -> Database<'static> {
    server().database()
}

pub struct Database<'server> {
    pub server: &'server Server,
    pub name: String,
}

impl Database<'_> {
    /// A connection as superuser.
    pub fn connect(&self) -> Client {
        self.server.connect(&self.name)
    }

    pub fn connect_as(&self, role: &str) -> Client {
        self.server.connect_as(&self.name, role).expect("the role may connect")
    }

    /// A superuser connection, with the notices and warnings that the server sends.
    pub fn connect_for_notices(&self) -> (Client, Notices) {
        let notices = Notices::default();
        let told = notices.clone();
        let client = Config::new()
            .host(self.server.host())
            .dbname(&self.name)
            .user("postgres")
            .notice_callback(move |notice| told.0.lock().unwrap().push(notice))
            .connect(NoTls)
            .expect("a superuser may connect");
        (client, notices)
    }

    /// A PostgreSQL program that connects to this database.
    pub fn program(&self, name: &str) -> Command {
        let mut command = self.server.program(name);
        command.args(["--host", self.server.host(), "--username=postgres", "--dbname", &self.name]);
        command
    }

    /// A dump by pg_dump, as a file in the cluster's folder.
    pub fn dump(&self, options: &[&str]) -> PathBuf {
        let file = self.server.data().with_file_name(unique("dump"));
        succeed(self.program("pg_dump").args(options).arg("--file").arg(&file));
        file
    }

    /// A new database restored from a dump of this one.
    pub fn copy(&self) -> Self {
        let dump = self.dump(&["--format=custom"]);
        let copy = self.server.empty_database("TEMPLATE template0");
        succeed(copy.program("pg_restore").arg("--exit-on-error").arg(dump));
        copy
    }

    /// A connection that listens to the channel "customers".
    pub fn listen(&self) -> Client {
        let mut client = self.connect();
        client.batch_execute("LISTEN customers").expect("LISTEN");
        client
    }
}

/// Notices and warnings in the order of their arrival.
#[derive(Clone, Default)]
pub struct Notices(Arc<Mutex<Vec<DbError>>>);

impl Notices {
    /// Those that arrived since the last call.
    pub fn take(&self) -> Vec<DbError> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// The payloads that have arrived, as JSON.
#[track_caller]
pub fn received(listener: &mut Client) -> Vec<serde_json::Value> {
    let json = |payload: &String| serde_json::from_str(payload).expect("a payload is JSON");
    payloads(listener).iter().map(json).collect()
}

/// The payloads that have arrived. They include the notifications of all transactions that committed before
/// this call: PostgreSQL delivers them before it answers the query.
#[track_caller]
pub fn payloads(listener: &mut Client) -> Vec<String> {
    use postgres::fallible_iterator::FallibleIterator;
    listener.batch_execute("SELECT 1").expect("the listener is connected");
    let mut notifications = listener.notifications();
    let mut payloads = Vec::new();
    let mut iter = notifications.iter();
    while let Some(notification) = iter.next().expect("the listener is connected") {
        assert_eq!(notification.channel(), "customers");
        payloads.push(notification.payload().to_owned());
    }
    payloads
}

/// The error with which a statement was refused; panics if it succeeded.
#[track_caller]
pub fn refusal<T>(result: Result<T, postgres::Error>) -> DbError {
    match result {
        Ok(_) => panic!("this should have been refused"),
        Err(error) => error.as_db_error().unwrap_or_else(|| panic!("{error}")).clone(),
    }
}

/// Asserts what is promised of a refusal: this SQLSTATE, a HINT, and none of `secrets` in any part.
#[track_caller]
pub fn assert_refused<T>(result: Result<T, postgres::Error>, sqlstate: &str, secrets: &[&str]) {
    let error = refusal(result);
    assert_eq!(error.code().code(), sqlstate, "{error:?}");
    assert!(error.hint().is_some_and(|hint| !hint.is_empty()), "no HINT: {error:?}");
    let everything = format!("{error:?}").to_lowercase();
    for secret in secrets {
        assert!(!everything.contains(&secret.to_lowercase()), "{secret:?} in {error:?}");
    }
    assert!(!everything.contains("backtrace"), "{error:?}");
}

/// The first column of the single row that a query returns.
#[track_caller]
pub fn one<T: FromSqlOwned>(client: &mut impl GenericClient, query: &str, params: Params) -> T {
    match client.query_one(query, params) {
        Ok(row) => row.get(0),
        Err(error) => panic!("{query}: {error:?}"),
    }
}

/// The first column of all rows that a query returns.
#[track_caller]
pub fn all<T: FromSqlOwned>(
    client: &mut Client,
    query: &str,
    params: &[&(dyn ToSql + Sync)],
) -> Vec<T> {
    match client.query(query, params) {
        Ok(rows) => rows.iter().map(|row| row.get(0)).collect(),
        Err(error) => panic!("{query}: {error:?}"),
    }
}

/// Registers a new customer by address only.
#[track_caller]
pub fn registered(client: &mut Client) -> Uuid {
    one(client, "SELECT customer_id FROM customers.register_customer($1)", &[&address()])
}

/// A new role with LOGIN; `options` follow the name in CREATE ROLE.
pub fn role(client: &mut Client, options: &str) -> String {
    let role = unique("role");
    client.batch_execute(&format!("CREATE ROLE {role} LOGIN {options}")).expect("CREATE ROLE");
    role
}

/// A role that may call every function, by GRANT statements instead of duties.
pub fn caller(client: &mut Client) -> String {
    let role = role(client, "");
    client
        .batch_execute(&format!(
            "GRANT USAGE ON SCHEMA customers TO {role};
             GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA customers TO {role}"
        ))
        .expect("GRANT");
    role
}

/// PUBLIC, for [`grants`].
pub const PUBLIC: &str = "-";

/// The privileges of a role on the schema and the objects in it, as in "EXECUTE on function
/// customers.attach()". Names are quoted where necessary.
pub fn grants(client: &mut Client, role: &str) -> Vec<String> {
    let query = "
        WITH object (name, acl) AS (
            SELECT 'schema ' || nspname, coalesce(nspacl, acldefault('n', nspowner))
              FROM pg_namespace WHERE nspname = 'customers'
            UNION ALL
            SELECT 'relation ' || relname,
                   coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::\"char\", relowner))
              FROM pg_class WHERE relnamespace = 'customers'::regnamespace AND relkind NOT IN ('i', 'I', 'c')
            UNION ALL
            SELECT 'column ' || attrelid::regclass || '.' || attname, attacl
              FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
             WHERE relnamespace = 'customers'::regnamespace
            UNION ALL
            SELECT 'function ' || oid::regprocedure, coalesce(proacl, acldefault('f', proowner))
              FROM pg_proc WHERE pronamespace = 'customers'::regnamespace
            UNION ALL
            SELECT 'type ' || oid::regtype, coalesce(typacl, acldefault('T', typowner))
              FROM pg_type WHERE oid = 'customers.profile'::regtype)
        SELECT privilege_type || CASE WHEN is_grantable THEN ' with grant option' ELSE '' END || ' on ' || name
          FROM object, aclexplode(acl)
         WHERE grantee = $1::text::regrole
         ORDER BY 1";
    all(client, query, &[&role])
}

/// Waits until a session waits for a lock.
#[track_caller]
pub fn await_blocked(observer: &mut Client, pid: i32) {
    await_true(observer, "SELECT cardinality(pg_blocking_pids($1)) > 0", &[&pid]);
}

/// Terminates a session, and waits until it is gone.
#[track_caller]
pub fn terminate(observer: &mut Client, pid: i32) {
    observer.execute("SELECT pg_terminate_backend($1)", &[&pid]).expect("a superuser may");
    let gone = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)";
    await_true(observer, gone, &[&pid]);
}

/// Waits until a query returns true.
#[track_caller]
pub fn await_true(observer: &mut Client, query: &str, params: Params) {
    eventually(query, || one(observer, query, params));
}

/// Waits until a condition holds.
#[track_caller]
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < Duration::from_secs(60), "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub fn pid(client: &mut Client) -> i32 {
    one(client, "SELECT pg_backend_pid()", &[])
}

/// A name that no other test uses.
pub fn unique(prefix: &str) -> String {
    format!("{prefix}{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// An address that no other test uses.
pub fn address() -> String {
    format!("{}@example.com", unique("person-"))
}

/// An id that no other test gives to a customer.
pub fn id() -> Uuid {
    Uuid::from_u128(0x4000_8000_0000_0000_0000 | u128::from(COUNT.fetch_add(1, Ordering::Relaxed)))
}

/// A customer as it is stored, or as a function returned it.
#[derive(Clone, Debug, PartialEq)]
pub struct Customer {
    pub id: Uuid,
    pub email: String,
    pub name: Option<String>,
    pub status: String,
    pub registered_at: SystemTime,
    pub updated_at: SystemTime,
    pub version: i64,
}

impl From<&Row> for Customer {
    fn from(row: &Row) -> Self {
        Self {
            id: row.get("customer_id"),
            email: row.get("email"),
            name: row.get("name"),
            status: row.get("status"),
            registered_at: row.get("registered_at"),
            updated_at: row.get("updated_at"),
            version: row.get("version"),
        }
    }
}

pub type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// Calls a function that returns a customer, as in "set_status($1, 'CLOSED')".
#[track_caller]
pub fn call(
    client: &mut impl GenericClient,
    command: &str,
    params: Params,
) -> Result<Customer, postgres::Error> {
    let row = client.query_one(&format!("SELECT * FROM customers.{command}"), params)?;
    Ok(Customer::from(&row))
}

/// Registers a customer named Ann, at an address that no other test uses.
#[track_caller]
pub fn register_ann(client: &mut impl GenericClient) -> Customer {
    call(client, "register_customer($1, 'Ann')", &[&address()]).expect("a good address and name")
}

/// The customer's row in the table.
#[track_caller]
pub fn stored(client: &mut impl GenericClient, id: Uuid) -> Customer {
    let row = client.query_one("SELECT * FROM customers.customers WHERE customer_id = $1", &[&id]);
    Customer::from(&row.expect("the customer is there"))
}

/// The number of events.
pub fn event_count(client: &mut impl GenericClient) -> i64 {
    one(client, "SELECT count(*) FROM customers.events", &[])
}

/// The positions of all events.
pub fn positions(client: &mut Client) -> Vec<i64> {
    all(client, "SELECT position FROM customers.events ORDER BY position", &[])
}

/// Asserts that the feed has this many events, each valid against the contract's schema.
#[track_caller]
pub fn assert_feed_keeps_contract(client: &mut Client, count: usize) {
    let events = client.query("SELECT type, event FROM customers.read_events(0)", &[]).unwrap();
    assert_eq!(events.len(), count);
    let contract = project().join("contract");
    for row in events {
        let (r#type, event): (String, serde_json::Value) = (row.get(0), row.get(1));
        let schema = fs::read(contract.join(format!("{type}.schema.json"))).unwrap();
        let schema = serde_json::from_slice(&schema).unwrap();
        let schema = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
        if let Err(error) = schema.validate(&event) {
            panic!("{event}: {error}");
        }
    }
}

/// The positions that a function of the feed returns, as in "fetch_events('mailer')".
#[track_caller]
pub fn fetched(client: &mut Client, function: &str) -> Vec<i64> {
    all(client, &format!("SELECT position FROM customers.{function}"), &[])
}

/// Makes a session write without NOTIFY, so that its transactions can be prepared.
pub fn disable_notify(client: &mut Client) {
    client
        .batch_execute("LOAD 'customer_db'; SET customer_db.notify = off")
        .expect("a superuser may");
}

/// Begins a transaction and registers a customer in it.
pub fn begin_change(client: &mut Client) {
    client.batch_execute("BEGIN").expect("BEGIN");
    registered(client);
}

/// The contents of all tables, to compare before and after something that must change nothing.
pub fn contents(client: &mut impl GenericClient) -> String {
    one(
        client,
        "SELECT concat((SELECT json_agg(c ORDER BY c.customer_id) FROM customers.customers AS c),
                       (SELECT json_agg(e ORDER BY e.position) FROM customers.events AS e),
                       (SELECT json_agg(c) FROM customers.consumers AS c),
                       (SELECT json_agg(e) FROM customers.erasures AS e))",
        &[],
    )
}
