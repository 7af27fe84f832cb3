//! Promise: every command of doc/operations.md runs as it stands, and does what the page says.

use super::documentation;
use crate::kit::attack::SECRET;
use crate::kit::{
    Server, all, assert_refused, await_blocked, await_true, begin_change, call, database,
    event_count, eventually, fetched, grants, home, major, one, pid, printed, project, refusal,
    register_ann, registered, stored, terminate,
};
use postgres::{Client, Config, NoTls};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use uuid::Uuid;

const PAGE: &str = include_str!("../../../doc/operations.md");

/// What the page shows without its being run: the language of each block, and why.
const NOT_RUN: [(&str, &str); 4] = [
    ("sh", "builds a release, and replaces the library that the other tests use"),
    ("properties", "needs Kafka Connect and Debezium"),
    ("sql", "needs pg_cron"),
    ("ini", "needs systemd"),
];

const ROLES: [&str; 4] = ["customer_api", "customer_feed", "customer_desk", "customer_jobs"];

/// A block of commands. Its fence is ```LANGUAGE, ```LANGUAGE on SERVER or ```LANGUAGE not-run: REASON.
struct Block {
    language: &'static str,
    server: &'static str,
    not_run: Option<&'static str>,
    text: String,
}

/// What stands under one heading.
struct Section {
    title: &'static str,
    prose: Vec<&'static str>,
    blocks: Vec<Block>,
}

fn sections() -> Vec<Section> {
    let mut sections = Vec::new();
    let mut lines = PAGE.lines();
    while let Some(line) = lines.next() {
        if let Some(title) = line.strip_prefix("## ").or_else(|| line.strip_prefix("### ")) {
            sections.push(Section { title, prose: Vec::new(), blocks: Vec::new() });
        }
        let Some(section) = sections.last_mut() else { continue };
        let Some(fence) = line.strip_prefix("```") else {
            section.prose.push(line);
            continue;
        };
        let (language, how) = fence.split_once(' ').unwrap_or((fence, ""));
        let text = lines.by_ref().take_while(|line| *line != "```");
        section.blocks.push(Block {
            language,
            server: how.strip_prefix("on ").unwrap_or("primary"),
            not_run: how.strip_prefix("not-run: "),
            text: text.flat_map(|line| [line, "\n"]).collect(),
        });
    }
    sections
}

/// The servers of the page, and the folder in which its commands are typed.
struct Site {
    primary: Server,
    reports: Server,
    standby: Option<Server>,
    recovered: Server,
    old: Server,
    new: Server,
    folder: PathBuf,
    /// Who is erased after the restore point.
    gone: Option<Uuid>,
    /// The events before something that must keep or lose them.
    events: i64,
}

impl Site {
    fn new() -> Self {
        let primary = Server::start(&[]);
        let folder = Path::new(primary.host()).join("typed");
        fs::create_dir(&folder).unwrap();
        fs::create_dir(folder.join("archive")).unwrap();
        let reports = Server::start(&[]);
        reports.connect("postgres").batch_execute("CREATE DATABASE reports").unwrap();
        let old = Server::start(&[]);
        Self {
            recovered: primary.reserve(),
            new: primary.reserve(),
            primary,
            reports,
            standby: None,
            old,
            folder,
            gone: None,
            events: 0,
        }
    }

    fn shop(&self) -> Client {
        self.primary.connect("shop")
    }

    fn reports(&self) -> Client {
        self.reports.connect("reports")
    }

    /// The server that was recovered to a moment: on another port.
    fn recovered(&self) -> Client {
        let mut config = Config::new();
        config.host(self.primary.host()).port(5433).dbname("shop").user("postgres");
        config.connect(NoTls).expect("a superuser may connect")
    }

    /// A text of the page with the folders and the host of this machine.
    fn here(&self, text: &str) -> String {
        let bin = home(&major().to_string()).join("bin");
        let places = [
            ("/usr/lib/postgresql/16/bin", bin.clone()),
            ("/usr/lib/postgresql/18/bin", bin),
            ("/srv/postgresql/16", self.old.data()),
            ("/srv/postgresql/18", self.new.data()),
            ("/srv/recovered", self.recovered.data()),
            ("/srv/archive", self.folder.join("archive")),
            ("host=db1", PathBuf::from(format!("host={}", self.primary.host()))),
        ];
        places.iter().fold(text.to_owned(), |text, (there, here)| {
            text.replace(there, here.to_str().expect("a path in UTF-8"))
        })
    }

    fn run(&self, block: &Block) {
        let text = self.here(&block.text);
        match (block.language, block.server) {
            ("conf", "primary") => {
                self.primary.configure(&text.lines().collect::<Vec<_>>());
                self.primary.pg_ctl("restart");
            }
            ("sql", server) => {
                let mut client = match server {
                    "primary" => self.shop(),
                    "standby" => self.standby.as_ref().expect("a standby").connect("shop"),
                    "recovered" => self.recovered(),
                    "reports" => self.reports(),
                    server => panic!("no such server: {server}"),
                };
                documentation::run(&mut client, &text);
            }
            ("sh", "primary") => self.type_in(&text),
            (language, server) => panic!("cannot run {language} on {server}"),
        }
    }

    /// Runs commands of a shell, which stops at the first that fails.
    fn type_in(&self, commands: &str) {
        let home = home(&major().to_string());
        let path = std::env::var("PATH").unwrap_or_default();
        // No pipe: a server that is started would inherit it, and reading it would not end.
        let printed = self.folder.join("printed");
        let output = File::create(&printed).unwrap();
        let status = Command::new(project().join("bin/as-server-user"))
            .args(["sh", "-euc", commands])
            .current_dir(&self.folder)
            .env("PATH", format!("{}:{path}", home.join("bin").display()))
            .env("LD_LIBRARY_PATH", home.join("lib"))
            .env("PGHOST", self.primary.host())
            .env("PGUSER", "postgres")
            .env_remove("PGPORT")
            .env_remove("PGDATABASE")
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .status()
            .expect("a shell");
        let printed = fs::read_to_string(printed).unwrap();
        assert!(status.success(), "{commands}\n{printed}");
    }

    /// Waits until subscribers and standby have what the primary has.
    fn await_replicas(&self) {
        let mut client = self.primary.connect("postgres");
        let lsn: String = one(&mut client, "SELECT pg_current_wal_flush_lsn()::text", &[]);
        if let Some(standby) = &self.standby {
            let replayed = "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn";
            await_true(&mut standby.connect("postgres"), replayed, &[&lsn]);
        }
        let copied = "SELECT NOT EXISTS (SELECT FROM pg_subscription_rel WHERE srsubstate <> 'r')";
        await_true(&mut self.reports(), copied, &[]);
        let applied = "SELECT coalesce(bool_and(confirmed_flush_lsn >= $1::text::pg_lsn), true)
                         FROM pg_replication_slots WHERE active";
        await_true(&mut client, applied, &[&lsn]);
    }

    /// What has happened before a block, counted from 0 in its section.
    fn prepare(&mut self, section: &str, block: usize) {
        match (section, block) {
            ("Dumping and restoring", 0) => {
                let mut client = self.shop();
                for _ in 0..3 {
                    register_ann(&mut client);
                }
                let erased = registered(&mut client);
                call(&mut client, "set_status($1, 'SUSPENDED')", &[&erased]).unwrap();
                call(&mut client, "erase_customer($1)", &[&erased]).unwrap();
                client
                    .batch_execute(
                        "SELECT customers.subscribe('mailer');
                         SELECT customers.acknowledge('mailer', 2);
                         SELECT customers.prune_events('0', 1)",
                    )
                    .unwrap();
            }
            ("Deleted rows", 0) => {
                let delete = "SET session_replication_role = replica;
                              DELETE FROM customers.customers AS customer
                               WHERE status = 'ACTIVE'
                                 AND EXISTS (SELECT FROM customers.events
                                              WHERE events.customer_id = customer.customer_id)";
                self.shop().batch_execute(delete).unwrap();
                assert!(!in_order(&mut self.shop(), "rows_match_events"));
            }
            ("Recovering", 0) => {
                let mut client = self.shop();
                let gone = all(
                    &mut client,
                    "SELECT customer_id FROM customers.find_customer('ann@example.com')",
                    &[],
                );
                self.gone = gone.first().copied();
                call(&mut client, "erase_customer($1)", &[&self.gone]).unwrap();
                let last: String = one(&mut client, "SELECT pg_walfile_name(pg_switch_wal())", &[]);
                // The file alone may be there only in part.
                let archived =
                    "SELECT coalesce(last_archived_wal >= $1, false) FROM pg_stat_archiver";
                await_true(&mut client, archived, &[&last]);
            }
            ("Recovery to a moment", 1) => {
                call(&mut self.shop(), "register_customer('ann@example.com', 'Ann')", &[]).unwrap();
            }
            ("Replicas and failover", 0) => self.standby = Some(self.primary.standby()),
            ("Pruning by a timer", 0) => {
                let mut client = self.shop();
                client
                    .batch_execute(
                        "SET session_replication_role = replica;
                         UPDATE customers.events SET occurred_at = occurred_at - interval '2 years'",
                    )
                    .unwrap();
                self.events = event_count(&mut client);
            }
            ("Upgrading", 1) => {
                let database = self.old.empty_database("");
                let mut client = database.connect();
                client.batch_execute("CREATE EXTENSION customer_db").unwrap();
                registered(&mut client);
            }
            ("Uninstalling", 0) => self.events = event_count(&mut self.shop()),
            _ => {}
        }
    }

    /// Asserts that a block, counted from 0 in its section, has done what the page says.
    fn check(&mut self, section: &Section, block: usize) {
        match (section.title, block) {
            ("Deleted rows", 0) => {
                assert!(in_order(&mut self.shop(), "rows_match_events"));
                let back = "SELECT count(*) FROM customers.customers WHERE status = 'ACTIVE'";
                assert_eq!(one::<i64>(&mut self.shop(), back, &[]), 3);
            }
            ("Memory and settings", 0) => {
                let runs = "SELECT count(*) = 1 FROM pg_stat_activity
                             WHERE backend_type = 'customer_db notifications' AND datname = 'shop'";
                await_true(&mut self.shop(), runs, &[]);
            }
            ("Roles and duties", 0) => {
                let mut client = self.shop();
                for (role, right) in ROLES.into_iter().zip([
                    "register_customer(text,text,uuid)",
                    "read_events(bigint,integer)",
                    "customer_timeline(uuid)",
                    "prune_events(interval,integer)",
                ]) {
                    let right = format!("EXECUTE on function customers.{right}");
                    assert!(grants(&mut client, role).contains(&right), "{role}: {right}");
                }
                let jobs = grants(&mut client, "customer_jobs");
                assert!(!jobs.iter().any(|right| right.contains("history")), "{jobs:?}");
            }
            ("Dumping and restoring", 2) => {
                self.check_copies(section);
                self.check_data_alone();
            }
            ("Recovering", 0) => self.check_recovered(),
            ("Recovering", 1) => {
                let mut client = self.recovered();
                registered(&mut client);
                let epochs = "SELECT count(*) FROM customers.feed_epochs";
                let before = one::<i64>(&mut self.shop(), epochs, &[]);
                assert_eq!(one::<i64>(&mut client, epochs, &[]), before + 2);
            }
            ("Replicas and failover", 0) => self.standby = None,
            ("A copy without addresses and names", 1) => self.check_masked(),
            ("Events as an outbox", 1) => self.check_outbox(),
            ("A copy of the events", 1) => self.check_archive(),
            ("Pruning by a timer", 0) => {
                // The mailer has not acknowledged the rest.
                let mut client = self.shop();
                let left: i64 = one(&mut client, "SELECT min(position) FROM customers.events", &[]);
                assert_eq!(fetched(&mut client, "fetch_events('mailer', 1)"), [left]);
                assert!(event_count(&mut client) < self.events);
            }
            ("Upgrading", 1) => {
                let socket = format!("unix_socket_directories = '{}'", self.new.host());
                self.new.configure(&["listen_addresses = ''", &socket]);
                self.new.pg_ctl("start");
                let mut client = self.new.connect("postgres");
                let database = "SELECT datname FROM pg_database WHERE datname LIKE 'd%'";
                let mut client = self.new.connect(&one::<String>(&mut client, database, &[]));
                registered(&mut client);
                assert_eq!(fetched(&mut client, "read_events(0)"), [1, 10_000_000_000]);
            }
            ("Uninstalling", 0) => {
                let mut client = self.shop();
                assert_eq!(event_count(&mut client), self.events);
                let unruled = "INSERT INTO customers.customers (email) VALUES ('not an address')";
                let transaction = format!("BEGIN; {unruled}; ROLLBACK");
                client.batch_execute(&transaction).expect("no rule holds");
                let granted =
                    "SELECT has_table_privilege('customer_api', 'customers.customers', 'SELECT')";
                assert!(one::<bool>(&mut client, granted, &[]));
            }
            ("Uninstalling", 1) => {
                let mut client = self.primary.connect_as("shop", "customer_api").unwrap();
                call(&mut client, "register_customer('back@example.com')", &[]).unwrap();
                assert_eq!(event_count(&mut self.shop()), self.events + 1);
            }
            ("Uninstalling", 2) => {
                let left = "SELECT count(*) FROM pg_extension, pg_namespace
                             WHERE extname = 'customer_db' OR nspname = 'customers'";
                assert_eq!(one::<i64>(&mut self.shop(), left, &[]), 0);
            }
            _ => {}
        }
    }

    /// Compares each copy with what the table of the page says that it has.
    fn check_copies(&self, section: &Section) {
        let mut shop = self.shop();
        let mut checked = 0;
        for row in section.prose.iter().filter(|line| line.starts_with("| `copy")) {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let numbers: Vec<u32> = cells[1]
                .split('`')
                .filter_map(|word| word.strip_prefix("copy")?.parse().ok())
                .collect();
            for number in numbers[0]..=numbers[numbers.len() - 1] {
                let mut copy = self.primary.connect(&format!("copy{number}"));
                for (table, said) in ["customers", "events", "consumers", "erasures", "feed_epochs"]
                    .iter()
                    .zip(&cells[2..])
                {
                    assert_eq!(&kept(&mut shop, &mut copy, table), said, "{table} of copy{number}");
                }
                assert_eq!(kept_grants(&mut shop, &mut copy), cells[7], "grants of copy{number}");
                // The rules are in force, and a change begins an epoch.
                assert_refused(copy.batch_execute("DELETE FROM customers.customers"), "23514", &[]);
                let id = registered(&mut copy);
                let position = "SELECT position FROM customers.customer_history($1)";
                let first = if number == 9 { 1 } else { 10_000_000_000 };
                assert_eq!(one::<i64>(&mut copy, position, &[&id]), first, "copy{number}");
                checked += 1;
            }
        }
        assert_eq!(checked, 9);
    }

    /// The data alone are refused without --disable-triggers.
    fn check_data_alone(&self) {
        let database = self.primary.database();
        let mut restore = database.program("pg_restore");
        restore.args(["--exit-on-error", "--data-only"]).arg(self.folder.join("data.dump"));
        let output = restore.output().unwrap();
        assert!(!output.status.success(), "{}", printed(&output));
        assert_eq!(event_count(&mut database.connect()), 0);
    }

    fn check_recovered(&self) {
        let mut client = self.recovered();
        assert!(!one::<bool>(&mut client, "SELECT pg_is_in_recovery()", &[]));
        let gone = self.gone.expect("somebody was erased");
        assert_eq!(stored(&mut client, gone).name, None);
        let erased = stored(&mut self.shop(), gone);
        assert_eq!(stored(&mut client, gone).email, erased.email);
        // The erasure here is another event than the one which was lost.
        let last =
            "SELECT position FROM customers.customer_history($1) ORDER BY position DESC LIMIT 1";
        let lost: i64 = one(&mut self.shop(), last, &[&gone]);
        let here: i64 = one(&mut client, last, &[&gone]);
        assert!(here >= lost + 1_000_000_000, "{here} after {lost}");
        let ahead = client.query("SELECT customers.read_events($1)", &[&lost]);
        assert_refused(ahead, "PT410", &[]);
    }

    fn check_masked(&self) {
        let mut client = self.shop();
        let ann = register_ann(&mut client);
        self.await_replicas();
        call(&mut client, "set_status($1, 'SUSPENDED')", &[&ann.id]).unwrap();
        self.await_replicas();
        let columns = "SELECT json_agg(json_build_array(customer_id, status, registered_at, updated_at, version)
                                       ORDER BY customer_id)::text FROM customers.customers";
        assert_eq!(
            one::<String>(&mut self.reports(), columns, &[]),
            one::<String>(&mut client, columns, &[])
        );

        // Who knows the password of the subscription can decode everything.
        let mut spy = self.primary.connect_as("shop", "customer_copy").unwrap();
        assert_eq!(
            refusal(spy.query("SELECT email FROM customers.customers", &[])).code().code(),
            "42501"
        );
        spy.batch_execute("SELECT pg_create_logical_replication_slot('spy', 'test_decoding')")
            .unwrap();
        let ann = register_ann(&mut client);
        let decoded =
            "SELECT string_agg(data, ' ') FROM pg_logical_slot_get_changes('spy', NULL, NULL)";
        assert!(one::<String>(&mut spy, decoded, &[]).contains(&ann.email));
        spy.batch_execute("SELECT pg_drop_replication_slot('spy')").unwrap();
    }

    /// Registers two customers, of whom the one with the higher position commits first. Returns both ids in the order
    /// of the commits.
    fn overtaking(&self) -> [Uuid; 2] {
        let (mut slow, mut fast) = (self.shop(), self.shop());
        begin_change(&mut slow);
        let late =
            "SELECT customer_id FROM customers.customers ORDER BY registered_at DESC LIMIT 1";
        let late: Uuid = one(&mut slow, late, &[]);
        let early = registered(&mut fast);
        slow.batch_execute("COMMIT").unwrap();
        let position = "SELECT position FROM customers.customer_history($1)";
        let mut positions = [early, late].map(|id| one::<i64>(&mut fast, position, &[&id]));
        positions.reverse();
        assert!(positions.is_sorted());
        [early, late]
    }

    fn check_outbox(&self) {
        let mut client = self.shop();
        let [early, late] = self.overtaking();
        call(&mut client, "erase_customer($1)", &[&early]).unwrap();
        let changes = "SELECT encode(data, 'escape')
                         FROM pg_logical_slot_peek_binary_changes('outbox', NULL, NULL,
                              'proto_version', '1', 'publication_names', 'outbox')
                        WHERE chr(get_byte(data, 0)) IN ('I', 'U', 'D')";
        let changes: Vec<String> = all(&mut client, changes, &[]);
        let contents = [(early, "registered"), (late, "registered"), (early, "erased")];
        assert_eq!(changes.len(), contents.len(), "{changes:?}");
        for (change, (id, r#type)) in changes.iter().zip(contents) {
            assert!(change.starts_with('I'), "{change}");
            assert!(change.contains(&id.to_string()), "{change}");
            assert!(change.contains(&format!("customer-{type}")), "{change}");
        }
    }

    fn check_archive(&self) {
        let mut client = self.shop();
        self.await_replicas();
        let [early, late] = self.overtaking();
        self.await_replicas();
        let mut reports = self.reports();
        let last = |by: &str| {
            format!("SELECT customer_id FROM customers.events ORDER BY {by} DESC LIMIT 2")
        };
        assert_eq!(all::<Uuid>(&mut reports, &last("arrived"), &[]), [late, early]);
        assert_eq!(all::<Uuid>(&mut reports, &last("position"), &[]), [early, late]);

        let ann = register_ann(&mut client);
        call(&mut client, "erase_customer($1)", &[&ann.id]).unwrap();
        let before = event_count(&mut client);
        client
            .batch_execute(
                "SELECT customers.acknowledge('mailer', max(position)) FROM customers.events;
                 SELECT customers.prune_events('0', 1)",
            )
            .unwrap();
        registered(&mut client);
        self.await_replicas();
        let known = format!(
            "SELECT count(*) FROM customers.events AS e WHERE e::text LIKE '%{}%'",
            ann.email
        );
        assert_eq!(one::<i64>(&mut reports, &known, &[]), 0);
        assert_eq!(event_count(&mut reports), before + 1);
        assert_eq!(event_count(&mut client), before);
    }
}

impl Drop for Site {
    /// Its log would otherwise be all that is left of a failure.
    fn drop(&mut self) {
        if thread::panicking() {
            let log = self.primary.log();
            let begin = log.len().saturating_sub(2000);
            eprintln!("{}", String::from_utf8_lossy(&log.as_bytes()[begin..]));
        }
    }
}

/// Whether a copy has the rows of a table.
fn kept(shop: &mut Client, copy: &mut Client, table: &str) -> &'static str {
    let rows = format!("SELECT json_agg(t ORDER BY t::text)::text FROM customers.{table} AS t");
    let [all, copied] = [shop, copy].map(|client| one::<Option<String>>(client, &rows, &[]));
    assert!(all.is_some(), "nothing in {table}");
    match copied {
        None => "no",
        Some(_) => {
            assert_eq!(copied, all, "{table}");
            "yes"
        }
    }
}

/// Whether a copy has the grants of the page's roles.
fn kept_grants(shop: &mut Client, copy: &mut Client) -> &'static str {
    let of_all = |client: &mut Client| ROLES.map(|role| grants(client, role)).concat();
    let (all, copied) = (of_all(shop), of_all(copy));
    let on_function = |grant: &&String| grant.starts_with("EXECUTE");
    let on_tables: Vec<&String> = all.iter().filter(|grant| !on_function(grant)).collect();
    if copied == all {
        "yes"
    } else if copied.is_empty() {
        "no"
    } else {
        assert_eq!(copied.iter().collect::<Vec<_>>(), on_tables);
        "tables only"
    }
}

#[test]
fn every_command_of_the_page_does_what_it_says() {
    let mut site = Site::new();
    for section in sections() {
        let run = section.blocks.iter().filter(|block| block.not_run.is_none());
        for (i, block) in run.enumerate() {
            site.prepare(section.title, i);
            site.await_replicas();
            site.run(block);
            site.check(&section, i);
        }
    }
}

#[test]
fn what_the_page_shows_without_running_it_is_this_and_no_more() {
    let sections = sections();
    let blocks: Vec<&Block> = sections.iter().flat_map(|section| &section.blocks).collect();
    let not_run: Vec<(&str, &str)> =
        blocks.iter().filter_map(|block| Some((block.language, block.not_run?))).collect();
    assert_eq!(not_run, NOT_RUN);
    assert!(blocks.len() > 25, "the page has lost its commands");

    // The timers run what the page runs by hand.
    let prune = "SELECT customers.prune_events('1 year', max_events => 100000)";
    let pruning: Vec<bool> = blocks
        .iter()
        .filter(|block| block.text.contains(prune))
        .map(|block| block.not_run.is_some())
        .collect();
    assert_eq!(pruning, [false, true, true]);
}

#[test]
fn the_page_says_what_a_synchronous_standby_needs() {
    assert!(PAGE.contains("With a synchronous standby set customer_db.notify = worker"));
}

#[test]
fn the_settings_of_the_page_keep_addresses_of_plain_sql_out_of_the_log() {
    let sections = sections();
    let mut blocks = sections.iter().flat_map(|section| &section.blocks);
    let settings = blocks.find(|block| block.text.contains("log_statement")).expect("the settings");
    let mut lines: Vec<&str> = settings.text.lines().collect();
    lines.extend(["deadlock_timeout = 50ms", "log_temp_files = 0"]);
    let server = Server::start(&lines);
    let database = server.database();
    let (mut first, mut second) = (database.connect(), database.connect());
    let [a, b] = ["a", "b"].map(|name| format!("{SECRET}.{name}@example.com"));
    for address in [&a, &b] {
        first
            .batch_execute(&format!("INSERT INTO customers.customers (email) VALUES ('{address}')"))
            .unwrap();
    }
    for statement in [
        format!("INSERT INTO customers.customers (email) VALUES ('{a}')"),
        format!("UPDATE customers.customers SET email = '{a}' WHERE email = '{b}'"),
        format!("SELECT customers.register_customer('{a}', '{a}', '{a}', '{a}')"),
        format!("SELECT customers.import_customers('[{{\"email\": \"{a}\", }}]')"),
        format!("SELECT '{a}' FROM"),
        format!("SET statement_timeout = '10ms'; SELECT pg_sleep(60), '{a}'"),
    ] {
        first.batch_execute(&statement).expect_err(&statement);
    }
    first.batch_execute("RESET statement_timeout").unwrap();
    let insert = "INSERT INTO customers.customers (email) VALUES ($1)";
    first.execute(insert, &[&a]).expect_err("it is taken");
    first
        .batch_execute(&format!(
            "SET work_mem = '64kB';
             SELECT count(*) FROM (SELECT i, '{a}' FROM generate_series(1, 50000) AS i ORDER BY 1 DESC OFFSET 1) AS t"
        ))
        .unwrap();

    // A deadlock of two plain statements, and a session that is terminated.
    let change = |address: &str| {
        format!("UPDATE customers.customers SET name = 'A' WHERE email = '{address}'")
    };
    first.batch_execute(&format!("BEGIN; {}", change(&a))).unwrap();
    second.batch_execute(&format!("BEGIN; {}", change(&b))).unwrap();
    let waiting = pid(&mut second);
    let ended = thread::scope(|scope| {
        let second = scope.spawn(|| second.batch_execute(&change(&a)).is_err());
        await_blocked(&mut database.connect(), waiting);
        let first = first.batch_execute(&change(&b)).is_err();
        first != second.join().unwrap()
    });
    assert!(ended, "one of the two");
    let mut third = database.connect();
    let sleeping = pid(&mut third);
    thread::scope(|scope| {
        let slept = scope.spawn(|| third.batch_execute(&format!("SELECT pg_sleep(60), '{a}'")));
        let mut observer = database.connect();
        let sleeps = "SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = $1";
        eventually("it sleeps", || {
            one::<Option<bool>>(&mut observer, sleeps, &[&sleeping]) == Some(true)
        });
        terminate(&mut observer, sleeping);
        slept.join().unwrap().expect_err("it was terminated");
    });

    let log = server.log();
    for told in [
        "duplicate key",
        "deadlock detected",
        "temporary file",
        "statement timeout",
        "administrator command",
    ] {
        assert!(log.contains(told), "{told} not in {log}");
    }
    let line = log.lines().find(|line| line.to_lowercase().contains(SECRET));
    assert_eq!(line, None, "the server log tells it");
}

#[test]
fn a_row_filter_on_another_column_than_the_key_fails_every_change() {
    let database = database();
    let mut client = database.connect();
    let ann = register_ann(&mut client);
    let filter =
        "CREATE PUBLICATION filtered FOR TABLE customers.customers WHERE (status = 'ACTIVE')";
    client.batch_execute(filter).unwrap();
    let changed = call(&mut client, "set_status($1, 'SUSPENDED')", &[&ann.id]);
    assert_eq!(refusal(changed).code().code(), "42P10");
    client.batch_execute("DROP PUBLICATION filtered").unwrap();
    call(&mut client, "set_status($1, 'SUSPENDED')", &[&ann.id]).unwrap();
}

/// Whether verify() finds nothing wrong in a check.
fn in_order(client: &mut Client, check: &str) -> bool {
    one(client, "SELECT ok FROM customers.verify() WHERE check_name = $1", &[&check])
}
