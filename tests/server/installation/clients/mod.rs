//! The usual clients of PostgreSQL, as eg/clients uses them, and the tools that read the schema.

mod pgtap;
mod pooling;
mod reflecting;
mod story;

use crate::kit::example::Running;
use crate::kit::http::free_ports;
use crate::kit::{Server, all, eventually, keep, project, role, skipped, succeed, unique};
use postgres::Client;
use std::env::consts::ARCH;
use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

const PAGE: &str = include_str!("../../../../doc/clients.md");

/// A cluster that can be reached by TCP, since JDBC has no Unix sockets; and its address.
fn server() -> (&'static Server, Ipv4Addr) {
    static SERVER: OnceLock<&Server> = OnceLock::new();
    // No other run of the tests has this address of the loopback network.
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let host = Ipv4Addr::new(127, 77, high, low);
    let start = || keep(Server::start(&[&format!("listen_addresses = '{host}'")]));
    (SERVER.get_or_init(start), host)
}

/// A new role with one duty.
fn role_with(admin: &mut Client, duty: &str) -> String {
    let role = role(admin, "");
    let grant = "SELECT customers.grant_access($1::text::regrole, $2)";
    admin.execute(grant, &[&role, &duty]).unwrap();
    role
}

/// A folder that bin/fetch-clients has filled.
fn fetched(name: &str) -> Option<PathBuf> {
    let folder = project().join(".local/clients").join(name);
    // Which says that the folder is what bin/fetch-clients now asks for.
    if !folder.join("fetched").exists() {
        skipped(&format!("no .local/clients/{name}, see bin/fetch-clients"));
        return None;
    }
    Some(folder)
}

/// Where clients connect to.
#[derive(Clone, Copy)]
struct Target<'a> {
    host: Ipv4Addr,
    port: u16,
    database: &'a str,
}

impl Target<'_> {
    /// The command that runs a file of eg/clients as a role; None, and a note, where the client is missing.
    fn program(&self, file: &str, role: &str) -> Option<Command> {
        let source = project().join("eg/clients").join(file);
        let Self { host, port, database } = self;
        let uri = format!("postgresql://{role}@{host}:{port}/{database}");
        let mut command = match file.rsplit_once('.') {
            Some((_, "sql")) => {
                let mut command = server().0.program("psql");
                command.arg(uri).args(["--no-psqlrc", "--quiet", "--file"]).arg(source);
                return Some(command);
            }
            Some((_, "py")) => {
                let mut command = Command::new("python3");
                command.env("PYTHONPATH", fetched("python")?).arg(source);
                command
            }
            Some((_, "mjs")) => {
                // Node.js looks for modules beside the program.
                let folder = fetched(if file == "with_prisma.mjs" { "prisma" } else { "node" })?;
                let copy = folder.join(source.file_name().expect("a file"));
                fs::copy(source, &copy).unwrap();
                let mut command = Command::new("node");
                command.arg(copy);
                command
            }
            Some((class, "java")) => {
                let driver = fetched("debian")?.join("usr/share/java/postgresql.jar");
                let mut command = Command::new("java");
                command.arg("-cp").arg(format!("{}:{}", driver.display(), compiled()?.display()));
                let uri = format!("jdbc:postgresql://{host}:{port}/{database}?user={role}");
                command.arg(class).arg(format!("{uri}&prepareThreshold=0"));
                return Some(command);
            }
            _ => Command::new(built().join(file)),
        };
        command.arg(uri);
        Some(command)
    }
}

/// A copy of a file of eg/clients with another text in one place.
fn changed(file: &str, from: &str, to: &str) -> String {
    let text = fs::read_to_string(project().join("eg/clients").join(file)).unwrap();
    assert!(text.contains(from), "{file} has no {from:?}");
    let copy = server().0.data().with_file_name(format!("{}_{file}", unique("changed")));
    fs::write(&copy, text.replace(from, to)).unwrap();
    copy.to_str().expect("a path in UTF-8").to_owned()
}

/// The folder of the programs in Rust, built once.
fn built() -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    let target = project().join("target/eg");
    BUILT.get_or_init(|| {
        let manifest = project().join("eg/clients/rust/Cargo.toml");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--locked", "--manifest-path"]).arg(manifest);
        succeed(cargo.env("CARGO_TARGET_DIR", &target));
    });
    target.join("debug")
}

/// The folder of the class in Java, compiled once.
fn compiled() -> Option<PathBuf> {
    static COMPILED: OnceLock<bool> = OnceLock::new();
    let target = project().join("target/eg/java");
    let is_compiled = COMPILED.get_or_init(|| {
        let mut javac = Command::new("javac");
        let runs = javac.arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if runs.is_err() {
            return false;
        }
        let source = project().join("eg/clients/WithJdbc.java");
        succeed(Command::new("javac").arg("-d").arg(&target).arg(source));
        true
    });
    if !is_compiled {
        skipped("no javac (apt-get install default-jdk-headless)");
    }
    is_compiled.then_some(target)
}

/// A PgBouncer before the cluster.
struct PgBouncer {
    _process: Running,
    port: u16,
}

impl PgBouncer {
    /// Starts it as the page configures it, with this many connections to the server for each role and database.
    fn start(pool_size: u32) -> Option<Self> {
        let root = fetched("debian")?;
        let (server, host) = server();
        let file = server.data().with_file_name(unique("pgbouncer"));
        let users = file.with_extension("users");
        let roles = "SELECT format('\"%s\" \"\"', rolname) FROM pg_roles";
        fs::write(&users, all::<String>(&mut server.connect("postgres"), roles, &[]).join("\n"))
            .unwrap();
        let [port] = free_ports();
        let settings = PAGE.split_once("```ini\n").expect("a block").1;
        let settings = settings.split_once("```").expect("its end").0;
        let here = [
            format!("listen_addr = {host}"),
            format!("listen_port = {port}"),
            "unix_socket_dir =".to_owned(),
            "auth_type = trust".to_owned(),
            format!("auth_file = {}", users.display()),
            format!("default_pool_size = {pool_size}"),
            "[databases]".to_owned(),
            format!("* = host={host}"),
        ];
        fs::write(&file, format!("{settings}{}\n", here.join("\n"))).unwrap();
        let process = Command::new(project().join("bin/as-server-user"))
            .arg(root.join("usr/sbin/pgbouncer"))
            .arg(&file)
            .env("LD_LIBRARY_PATH", root.join(format!("usr/lib/{ARCH}-linux-gnu")))
            .stderr(Stdio::null())
            .spawn()
            .expect("PgBouncer starts");
        let pgbouncer = Self { _process: Running(process), port };
        eventually("PgBouncer listens", || TcpStream::connect((host, port)).is_ok());
        Some(pgbouncer)
    }
}
