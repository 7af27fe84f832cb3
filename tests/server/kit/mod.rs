//! Real clusters for tests: private, started here, always stopped.
//!
//! One cluster serves all tests of a run; each test takes a database of its own in it. A test that
//! configures, kills or restores starts a cluster of its own. `CUSTOMER_DB_PG` names the major version.

use postgres::error::DbError;
use postgres::types::ToSql;
use postgres::{Client, Config, GenericClient, NoTls, Row};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime};
use uuid::Uuid;

/// The major version under test.
pub fn major() -> u32 {
    std::env::var("CUSTOMER_DB_PG").map_or(16, |major| major.parse().expect("CUSTOMER_DB_PG"))
}

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A program of the PostgreSQL under test, run as PostgreSQL wants to be run.
pub fn program(name: &str) -> Command {
    program_in(&[], name)
}

/// The same, with further environment variables, as in "NAME=value".
fn program_in(environment: &[String], name: &str) -> Command {
    let home = project().join(".local/postgresql").join(major().to_string());
    let mut command = Command::new(project().join("bin/as-server-user"));
    command
        .arg("env")
        .args(environment)
        .arg(home.join("bin").join(name))
        .env("LD_LIBRARY_PATH", home.join("lib"))
        .env_remove("PGHOST")
        .env_remove("PGPORT")
        .env_remove("PGUSER")
        .env_remove("PGDATABASE");
    command
}

/// Runs a program to its end and gives its output; panics with what it printed where it fails.
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

/// A cluster of its own, stopped and removed when dropped.
pub struct Server {
    folder: PathBuf,
    environment: Vec<String>,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

impl Server {
    /// Starts a cluster with further lines of postgresql.conf.
    pub fn start(settings: &[&str]) -> Self {
        Self::start_in(&[], settings)
    }

    /// The same, the postmaster running with environment variables, as in "NAME=value".
    pub fn start_in(environment: &[&str], settings: &[&str]) -> Self {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("customer_db.{}.{count}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).expect("a folder for the cluster");
        let environment = environment.iter().map(|variable| variable.to_string()).collect();
        let server = Self { folder, environment };
        succeed(
            program("initdb")
                .args(["--username=postgres", "--auth=trust", "--encoding=UTF8"])
                .args(["--locale=C.UTF-8", "--no-sync", "--pgdata"])
                .arg(server.data()),
        );
        let mut conf = vec![
            "listen_addresses = ''".to_owned(),
            format!("unix_socket_directories = '{}'", server.folder.display()),
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

    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Where its socket is: the host that clients connect to.
    pub fn host(&self) -> &str {
        self.folder.to_str().expect("a path in UTF-8")
    }

    /// The whole server log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).expect("the server log")
    }

    pub fn pg_ctl(&self, action: &str) {
        // A pipe that the postmaster inherits would keep us waiting for its end.
        let status = program_in(&self.environment, "pg_ctl")
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

    /// A new database without it; `options` follow CREATE DATABASE's name.
    pub fn empty_database(&self, options: &str) -> Database<'_> {
        let name = format!("d{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.connect("postgres")
            .batch_execute(&format!("CREATE DATABASE {name} {options}"))
            .expect("CREATE DATABASE");
        Database { server: self, name }
    }

    fn stop(&self) {
        let pid_file = self.data().join("postmaster.pid");
        let pid = fs::read_to_string(&pid_file)
            .ok()
            .and_then(|text| text.lines().next()?.parse::<i32>().ok());
        if let Some(pid) = pid {
            // SAFETY: SIGQUIT, "immediate shutdown", to the postmaster that we started.
            unsafe { libc::kill(pid, libc::SIGQUIT) };
            let since = Instant::now();
            // SAFETY: signal 0 only asks whether it is still there.
            while unsafe { libc::kill(pid, 0) } == 0 && since.elapsed() < Duration::from_secs(30) {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The cluster that all tests of this run share.
pub fn server() -> &'static Server {
    static SHARED: OnceLock<Server> = OnceLock::new();
    // Statics are never dropped, so the cluster is stopped when the process exits.
    extern "C" fn stop() {
        if let Some(server) = SHARED.get() {
            server.stop();
        }
    }
    SHARED.get_or_init(|| {
        // SAFETY: the handler runs once, at the end, and touches nothing that is gone by then.
        unsafe { libc::atexit(stop) };
        Server::start(&[])
    })
}

/// A new database with the extension, in the shared cluster.
pub fn database() -> Database<'static> {
    // CREATE DATABASE copies template1, which nobody else may be connected to meanwhile.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let server = server();
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    server.database()
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

    /// A connection that listens to the channel "customers".
    pub fn listen(&self) -> Client {
        let mut client = self.connect();
        client.batch_execute("LISTEN customers").expect("LISTEN");
        client
    }
}

/// The payloads that have arrived. Notifications of transactions that committed before this call are
/// among them: PostgreSQL delivers them before it answers the query.
pub fn received(listener: &mut Client) -> Vec<serde_json::Value> {
    use postgres::fallible_iterator::FallibleIterator;
    listener.batch_execute("SELECT 1").expect("the listener is connected");
    let mut notifications = listener.notifications();
    let mut payloads = Vec::new();
    let mut iter = notifications.iter();
    while let Some(notification) = iter.next().expect("the listener is connected") {
        assert_eq!(notification.channel(), "customers");
        payloads.push(serde_json::from_str(notification.payload()).expect("a payload is JSON"));
    }
    payloads
}

/// The error a statement was refused with; panics where it was not.
pub fn refusal<T>(result: Result<T, postgres::Error>) -> DbError {
    match result {
        Ok(_) => panic!("this should have been refused"),
        Err(error) => error.as_db_error().unwrap_or_else(|| panic!("{error}")).clone(),
    }
}

/// Holds a refusal to its promises: this SQLSTATE, a HINT, and none of `secrets` anywhere in it.
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

/// An address that no other test uses.
pub fn address() -> String {
    format!("person{}@example.com", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A customer as it stands, or as a command returned it.
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

/// Calls a command, as in "set_status($1, 'CLOSED')".
pub fn call(
    client: &mut impl GenericClient,
    command: &str,
    params: Params,
) -> Result<Customer, postgres::Error> {
    let row = client.query_one(&format!("SELECT * FROM customers.{command}"), params)?;
    Ok(Customer::from(&row))
}

/// Registers somebody by the name of Ann, at an address that no other test uses.
pub fn register_ann(client: &mut impl GenericClient) -> Customer {
    call(client, "register_customer($1, 'Ann')", &[&address()]).expect("a good address and name")
}

/// The customer as the table has it.
pub fn stored(client: &mut impl GenericClient, id: Uuid) -> Customer {
    let row = client.query_one("SELECT * FROM customers.customers WHERE customer_id = $1", &[&id]);
    Customer::from(&row.expect("the customer is there"))
}

/// The first column of the only row.
pub fn value<T>(client: &mut impl GenericClient, query: &str, params: Params) -> T
where
    T: for<'a> postgres::types::FromSql<'a>,
{
    client.query_one(query, params).unwrap_or_else(|error| panic!("{query}: {error:?}")).get(0)
}

/// How many events are recorded.
pub fn event_count(client: &mut impl GenericClient) -> i64 {
    value(client, "SELECT count(*) FROM customers.events", &[])
}

/// Everything in the tables: what must be the same before and after something that changes nothing.
pub fn contents(client: &mut impl GenericClient) -> String {
    value(
        client,
        "SELECT concat((SELECT json_agg(c ORDER BY c.customer_id) FROM customers.customers AS c),
                       (SELECT json_agg(e ORDER BY e.position) FROM customers.events AS e),
                       (SELECT json_agg(c) FROM customers.consumers AS c),
                       (SELECT json_agg(e) FROM customers.erasures AS e))",
        &[],
    )
}
