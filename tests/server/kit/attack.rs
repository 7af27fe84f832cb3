//! Tools for attacks: settings that are not UTF-8, rows written by bypassing the triggers, a session's
//! memory and limits.

use crate::kit::{Database, Server, all, one, project};
use postgres::types::ToSql;
use postgres::{Client, NoTls};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// Part of every address, name and reason that must not be disclosed.
pub const SECRET: &str = "zyxw";

/// Octets that are not valid UTF-8, written as in a configuration file. PostgreSQL does not verify settings.
const BROKEN: [(&str, &str); 7] = [
    ("cut_short", r"zyxw\360"),
    ("latin", r"zyxw\351t"),
    ("continued", r"\200zyxw"),
    ("surrogate", r"zyxw\355\240\200"),
    ("overlong", r"zyxw\300\257"),
    ("beyond", r"zyxw\364\220\200\200"),
    ("nowhere", r"zyxw\377"),
];

/// A server with a setting for each kind of invalid UTF-8.
pub fn server_with_broken_settings() -> Server {
    let lines = BROKEN.map(|(name, octets)| format!("broken.{name} = '{octets}'"));
    Server::start(&lines.each_ref().map(String::as_str))
}

/// SQL for each kind of invalid UTF-8.
pub fn broken_texts() -> [String; 7] {
    BROKEN.map(|(name, _)| format!("current_setting('broken.{name}')"))
}

/// psql that runs a statement in a session with these options in its startup packet, as this role.
pub fn psql(database: &Database, role: &[u8], options: &[u8], statement: &[u8]) -> Command {
    let mut command = database.server.program("psql");
    command
        .args(["--no-psqlrc", "--quiet", "--set=VERBOSITY=verbose", "--host"])
        .args([database.server.host(), "--dbname", &database.name, "--username"])
        .args([OsStr::from_bytes(role), OsStr::new("--command"), OsStr::from_bytes(statement)])
        .env("PGOPTIONS", OsStr::from_bytes(options));
    command
}

/// Observes whether a server stays up.
pub struct Watch<'server> {
    server: &'server Server,
    postmaster: String,
    /// The crash of any backend would end this session.
    witness: Client,
}

impl<'server> Watch<'server> {
    pub fn over(server: &'server Server) -> Self {
        Self { server, postmaster: postmaster(server), witness: server.connect("postgres") }
    }

    pub fn assert_stayed_up(&mut self) {
        let log = self.server.log();
        assert!(!log.contains("was terminated by signal"), "{log}");
        assert_eq!(postmaster(self.server), self.postmaster, "{log}");
        assert_eq!(one::<i32>(&mut self.witness, "SELECT 1", &[]), 1);
    }
}

fn postmaster(server: &Server) -> String {
    let file = fs::read_to_string(server.data().join("postmaster.pid")).expect("the cluster runs");
    file.lines().next().expect("a process id").to_owned()
}

/// Runs a statement on a table with its triggers disabled, and restores them.
pub fn past_the_triggers(client: &mut Client, table: &str, statement: &str) {
    let triggers = "SELECT format('ALTER TABLE %s ENABLE %s TRIGGER %I;', tgrelid::regclass,
                                  CASE tgenabled WHEN 'A' THEN 'ALWAYS' WHEN 'R' THEN 'REPLICA' END, tgname)
                      FROM pg_trigger
                     WHERE tgrelid = $1::text::regclass AND NOT tgisinternal AND tgenabled <> 'D'";
    let enable: Vec<String> = all(client, triggers, &[&table]);
    let mut transaction = client.transaction().expect("BEGIN");
    for statement in [format!("ALTER TABLE {table} DISABLE TRIGGER USER"), statement.to_owned()] {
        if let Err(error) = transaction.batch_execute(&statement) {
            panic!("{statement}: {error:?}");
        }
    }
    transaction.batch_execute(&enable.concat()).expect("a superuser may");
    transaction.commit().expect("COMMIT");
}

/// The processor time that a process has used so far.
pub fn processor_time(pid: i32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    // The name of the program, in brackets, may contain spaces.
    let (_, fields) = stat.rsplit_once(") ").expect("a name in brackets");
    let ticks =
        fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("ticks"));
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

/// A number of octets that /proc reports for a process, such as "VmHWM", the maximum of its resident memory.
pub fn octets(pid: i32, of: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix(of)?.strip_prefix(':'));
    let kilobytes = line.expect("a line of its own").trim().trim_end_matches(" kB");
    kilobytes.parse::<u64>().expect("a number") * 1024
}

/// Limits a process's address space to its current size plus `more` octets, as `ulimit -v` does.
pub fn limit(pid: i32, more: u64) {
    let limit = octets(pid, "VmSize") + more;
    // The user that runs the server needs no capability for this.
    let status = Command::new(project().join("bin/as-server-user"))
        .args(["prlimit", "--pid", &pid.to_string(), &format!("--as={limit}:{limit}")])
        .status()
        .expect("prlimit, of util-linux, starts");
    assert!(status.success(), "prlimit");
}

/// A statement with parameters $1 to $9, each cast from text.
pub struct Call {
    pub statement: &'static str,
    pub params: Vec<String>,
}

impl Call {
    pub fn new<const N: usize>(statement: &'static str, params: [&str; N]) -> Self {
        Self { statement, params: params.map(str::to_owned).into() }
    }

    /// The statement with its parameters replaced by literals.
    pub fn literally(&self) -> String {
        let mut statement = self.statement.to_owned();
        for (n, param) in self.params.iter().enumerate() {
            statement = statement.replace(&format!("${}", n + 1), &format!("'{param}'"));
        }
        statement
    }

    /// Runs it, either as a simple query with literals or with bound parameters.
    pub fn run(&self, client: &mut Client, bound: bool) -> Result<(), postgres::Error> {
        if !bound {
            return client.batch_execute(&self.literally());
        }
        let params: Vec<&(dyn ToSql + Sync)> =
            self.params.iter().map(|param| param as &(dyn ToSql + Sync)).collect();
        client.query(self.statement, &params).map(drop)
    }

    /// The same in a session that reports the error which ends it.
    pub fn run_in(&self, session: &Session, bound: bool) -> Result<(), postgres::Error> {
        if !bound {
            return session.run(&self.literally());
        }
        let params: Vec<&(dyn ToSql + Sync)> =
            self.params.iter().map(|param| param as &(dyn ToSql + Sync)).collect();
        session.runtime.block_on(session.client.query(self.statement, &params)).map(drop)
    }
}

/// A superuser session that may be terminated: the synchronous client would lose the error that ended it.
pub struct Session {
    runtime: Runtime,
    client: tokio_postgres::Client,
    pub pid: i32,
}

impl Session {
    pub fn of(database: &Database) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let connect = tokio_postgres::Config::new()
            .host(database.server.host())
            .dbname(&database.name)
            .user("postgres")
            .to_owned();
        let (client, connection) =
            runtime.block_on(connect.connect(NoTls)).expect("a superuser may connect");
        runtime.spawn(connection);
        let pid = runtime.block_on(client.query_one("SELECT pg_backend_pid()", &[]));
        Self { pid: pid.expect("an answer").get(0), runtime, client }
    }

    pub fn run(&self, statements: &str) -> Result<(), postgres::Error> {
        self.runtime.block_on(self.client.batch_execute(statements))
    }
}
