//! Promise: every usual client tells the same story, directly and through PgBouncer, and raises for each refusal the
//! exception that doc/clients.md says.

use super::{PAGE, PgBouncer, Target, server};
use crate::installation::documentation;
use crate::kit::{address, all, on_16, printed, project};
use postgres::Client;
use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;

/// The clients of the page, each with its program and the role as which it connects.
const CLIENTS: [(&str, &str, &str); 11] = [
    ("psql", "with_psql.sql", "customer_api"),
    ("tokio-postgres", "with_tokio_postgres", "customer_api"),
    ("sqlx", "with_sqlx", "customer_api"),
    ("psycopg", "with_psycopg.py", "customer_api"),
    ("asyncpg", "with_asyncpg.py", "customer_api"),
    ("SQLAlchemy", "with_sqlalchemy.py", "customer_orm"),
    ("Django", "with_django.py", "customer_django"),
    ("pg", "with_pg.mjs", "customer_api"),
    ("postgres", "with_postgres.mjs", "customer_api"),
    ("Prisma", "with_prisma.mjs", "customer_api"),
    ("JDBC", "WithJdbc.java", "customer_api"),
];

const ROLES: [&str; 3] = ["customer_api", "customer_orm", "customer_django"];

/// What each program prints; after a SQLSTATE, the exception's class.
const STORY: [(&str, &str); 15] = [
    ("registered", "ACTIVE, version 1"),
    ("the address again", "23505"),
    ("no address", "22023"),
    ("a name with a NUL", "22021"),
    ("by id", "Ann Example"),
    ("by address", "Ann Example"),
    ("no such id", "no row"),
    ("a page", "1"),
    ("patched", "Ann E. Example, version 2"),
    ("an old version", "PT409"),
    ("a patch of no such id", "PT404"),
    ("by agent 7", "SUSPENDED, version 3"),
    ("closed", "CLOSED, version 4"),
    ("a closed account", "23514"),
    ("the feed", FEED),
];

/// Stands for the SQLSTATE that depends on what the role may do.
const FEED: &str = "the feed's";

/// What programs with a model of the table add.
const MODEL: [(&str, &str); 3] = [
    ("the model registers", "ACTIVE, version 1"),
    ("the model renames", "Bea Example, version 2"),
    ("the model, outdated", "no row changes"),
];

/// The exceptions that programs saw, by client and SQLSTATE.
type Exceptions = BTreeMap<(&'static str, String), String>;

/// Runs all programs at once, and asserts that each tells the story.
fn tell(admin: &mut Client, target: Target, feed: &str, seen: &mut Exceptions) {
    let running = CLIENTS.iter().filter_map(|&(client, file, role)| {
        let address = address();
        let mut command = target.program(file, role)?;
        match client {
            "psql" => command.arg("--variable").arg(format!("address={address}")),
            _ => command.arg(&address),
        };
        let process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        Some((client, role, address, process.expect("the program starts")))
    });
    // All have ended before the first is judged.
    let running: Vec<_> = running.collect();
    let ended = running.into_iter().map(|(client, role, address, process)| {
        (client, role, address, process.wait_with_output().unwrap())
    });
    for (client, role, address, output) in ended.collect::<Vec<_>>() {
        assert!(output.status.success(), "{client}\n{}", printed(&output));
        let told = String::from_utf8(output.stdout).unwrap();
        let mut told_lines = told.lines();
        let model: &[_] = if role == "customer_api" { &[] } else { &MODEL };
        for &(what, expected) in STORY.iter().chain(model) {
            let line = told_lines.next().unwrap_or_default();
            let said = line.strip_prefix(what).and_then(|rest| rest.strip_prefix(": "));
            let said = said.unwrap_or_else(|| panic!("{client}: {line:?}, expected {what:?}"));
            let sqlstate = if expected == FEED { feed } else { expected };
            match said.split_once(' ') {
                Some((code, class)) if code == sqlstate => {
                    seen.insert((client, code.to_owned()), format!("`{class}`"));
                }
                // Refused by the driver.
                Some(("None", class)) if sqlstate == "22021" => {
                    seen.insert((client, sqlstate.to_owned()), format!("`{class}`, no SQLSTATE"));
                }
                _ => assert_eq!(said, expected, "{client}: {what}"),
            }
        }
        assert_eq!(told_lines.next(), None, "{client}");

        // The programs print every exception as a whole.
        let exceptions = String::from_utf8_lossy(&output.stderr).to_lowercase();
        assert!(exceptions.contains("the e-mail address is already registered"), "{exceptions}");
        let person = address.split('@').next().unwrap();
        assert!(!exceptions.contains(person), "{client} prints an address: {exceptions}");

        let events = "SELECT concat_ws(' ', event.version, recorded_by, actor)
                        FROM customers.find_customer($1) JOIN customers.events AS event USING (customer_id)
                       ORDER BY event.version";
        let by = [
            format!("1 {role}"),
            format!("2 {role}"),
            format!("3 {role} agent 7"),
            format!("4 {role}"),
        ];
        assert_eq!(all::<String>(admin, events, &[&address]), by, "{client}");
    }
}

/// The table of the page, by client and SQLSTATE.
fn table() -> Exceptions {
    let rows = PAGE.lines().skip_while(|line| !line.starts_with("| client | 22023"));
    let mut rows = rows.take_while(|line| line.starts_with('|'));
    let cells = |row: &'static str| row.trim_matches('|').split('|').map(str::trim);
    let header: Vec<&str> = cells(rows.next().expect("a table")).skip(1).collect();
    let rows = rows.skip(1).flat_map(|row| {
        let mut cells = cells(row);
        let client = cells.next().expect("a client");
        let cells = header.iter().zip(cells).flat_map(move |(states, exception)| {
            states.split(", ").map(move |state| ((client, state.to_owned()), exception.to_owned()))
        });
        cells.collect::<Vec<_>>()
    });
    rows.collect()
}

#[test]
fn every_client_tells_the_same_story_and_raises_what_the_page_says() {
    if !on_16() {
        return;
    }
    let (server, host) = server();
    let database = server.database();
    let mut admin = database.connect();
    for block in PAGE.split("```sql\n").skip(1) {
        documentation::run(&mut admin, block.split_once("```").expect("a block ends").0);
    }
    let mut seen = Exceptions::new();
    let mut target = Target { host, port: 5432, database: &database.name };
    tell(&mut admin, target, "42501", &mut seen);

    // What a consumer is told, through PgBouncer with one connection to the server for several clients.
    for role in ROLES {
        let grant = "SELECT customers.grant_access($1::text::regrole, 'consumer')";
        admin.execute(grant, &[&role]).unwrap();
    }
    if let Some(pgbouncer) = PgBouncer::start(2) {
        target.port = pgbouncer.port;
        tell(&mut admin, target, "PT410", &mut seen);
    }
    for role in ROLES {
        let set =
            format!("ALTER ROLE {role} SET default_transaction_isolation = 'repeatable read'");
        admin.batch_execute(&set).unwrap();
    }
    if let Some(pgbouncer) = PgBouncer::start(2) {
        target.port = pgbouncer.port;
        tell(&mut admin, target, "25001", &mut seen);
    }

    let mut promised = table();
    assert_eq!(promised.len(), CLIENTS.len() * 9);
    promised.retain(|which, _| seen.contains_key(which));
    assert_eq!(seen, promised);
    let not_ok = "SELECT check_name FROM customers.verify() WHERE NOT ok";
    assert_eq!(all::<String>(&mut admin, not_ok, &[]), [""; 0]);
}

#[test]
fn the_programs_are_short_enough_to_read() {
    let folder = project().join("eg/clients");
    for file in [folder.as_path(), &folder.join("rust/src/bin")].map(|f| f.read_dir().unwrap()) {
        for file in file.map(|file| file.unwrap().path()).filter(|file| file.is_file()) {
            let text = fs::read_to_string(&file).unwrap();
            assert!(text.lines().count() < 110, "{}", file.display());
        }
    }
}
