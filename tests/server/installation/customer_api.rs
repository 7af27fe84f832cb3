//! Promise: the Customer API of eg/customer-api gives each answer that it describes and no other, and its publisher hands
//! over every event, in order for each customer, however it is interrupted.

use crate::kit::example::{Example, Running, place};
use crate::kit::http::{Answer, request};
use crate::kit::{
    Database, Server, all, await_true, eventually, kill, new_folder, on_16, one, pid, project,
    skipped, succeed,
};
use postgres::Client;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

const DESCRIPTION: &str = include_str!("../../../eg/customer-api/openapi.json");
const EXAMPLE: Example = Example("customer-api");
/// In the address and the name of a customer whose data no answer to another may contain.
const SECRET: &str = "hortensia";

/// The folder of the programs, built once.
fn programs() -> &'static str {
    static BUILT: OnceLock<String> = OnceLock::new();
    BUILT.get_or_init(|| {
        let target = project().join("target/eg");
        succeed(EXAMPLE.command("cargo build", &[]).env("CARGO_TARGET_DIR", &target));
        target.join("debug").to_str().unwrap().to_owned()
    })
}

/// A cluster of its own, since roles.sql names its roles.
fn shop() -> Server {
    Server::start(&[])
}

/// A database with the roles.
fn with_roles(server: &Server) -> Database<'_> {
    let database = server.database();
    EXAMPLE.psql("roles.sql", &database);
    database
}

struct Api {
    process: Running,
    port: u16,
}

impl Api {
    fn start(database: &Database) -> Self {
        let here = [
            ("@db/shop", place(database)),
            ("127.0.0.1:8080", "127.0.0.1:0".to_owned()),
            ("target/debug", programs().to_owned()),
        ];
        let (process, port) = Running::server(&mut EXAMPLE.command("customer-api", &here));
        Self { process, port }
    }

    #[track_caller]
    fn send(&self, line: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Answer {
        request(self.port, line, headers, body.as_ref()).expect("an answer")
    }

    fn json(&self, line: &str, body: Value) -> Answer {
        self.send(line, &[JSON], body.to_string())
    }
}

const JSON: (&str, &str) = ("Content-Type", "application/json");

/// The answers that were given, as "POST 409", by operation; each failure is checked when it is added.
#[derive(Default)]
struct Answers(BTreeSet<(String, u16)>);

impl Answers {
    fn add(&mut self, line: &str, answer: &Answer) {
        let method = line.split(' ').next().unwrap();
        self.0.insert((method.to_lowercase(), answer.status));
    }

    /// Asserts that an answer has this status and SQLSTATE, and contains nothing of the customer with the secret.
    #[track_caller]
    fn refused(&mut self, line: &str, answer: &Answer, status: u16, sqlstate: Option<&str>) {
        self.add(line, answer);
        assert_eq!(answer.status, status, "{line}: {answer:?}");
        assert_eq!(answer.header("Content-Type"), Some("application/problem+json"), "{answer:?}");
        assert_eq!(answer.json()["status"], status);
        assert_eq!(answer.json()["sqlstate"].as_str(), sqlstate, "{line}: {answer:?}");
        assert!(!format!("{answer:?}").to_lowercase().contains(SECRET), "{answer:?}");
    }
}

/// The answers that openapi.json describes.
fn described() -> BTreeSet<(String, u16)> {
    let description: Value = serde_json::from_str(DESCRIPTION).unwrap();
    let paths = description["paths"].as_object().unwrap().values();
    let methods = paths.flat_map(|path| path.as_object().unwrap());
    methods
        .filter(|(method, _)| *method != "parameters")
        .flat_map(|(method, operation)| {
            let answers = operation["responses"].as_object().unwrap().keys();
            answers.map(|status| (method.clone(), status.parse().unwrap()))
        })
        .collect()
}

#[test]
fn the_api_gives_each_answer_that_it_describes_and_no_other() {
    if !on_16() {
        return;
    }
    let server = shop();
    let database = with_roles(&server);
    let mut client = database.connect();
    let api = Api::start(&database);
    let mut answers = Answers::default();

    // Registered, shown, updated.
    let secret = format!("{SECRET}@example.com");
    let profile =
        json!({"email": format!(" {}@EXAMPLE.com", SECRET.to_uppercase()), "name": SECRET});
    let registered = api.json("POST /customers", profile.clone());
    answers.add("POST", &registered);
    assert_eq!(registered.status, 201, "{registered:?}");
    assert_eq!(registered.header("ETag"), Some("\"1\""));
    let customer = registered.json();
    let path = registered.header("Location").unwrap();
    assert_eq!(path, format!("/customers/{}", customer["customerId"].as_str().unwrap()));
    let registered_at = customer["registeredAt"].as_str().unwrap();
    let now = "SELECT $1::text::timestamptz BETWEEN now() - interval '1 minute' AND now()";
    assert!(one::<bool>(&mut client, now, &[&registered_at]), "{registered_at}");
    let expected = json!({"customerId": customer["customerId"], "email": secret, "name": SECRET,
                          "status": "ACTIVE", "registeredAt": registered_at});
    assert_eq!(customer, expected);
    let shown = api.send(&format!("GET {path}"), &[], "");
    answers.add("GET", &shown);
    assert_eq!((shown.status, shown.json()), (200, customer));
    let patch = format!("PATCH {path}");
    let updated = api.send(&patch, &[JSON, ("If-Match", "\"1\"")], r#"{"status": "SUSPENDED"}"#);
    answers.add("PATCH", &updated);
    assert_eq!((updated.status, updated.header("ETag")), (200, Some("\"2\"")), "{updated:?}");
    assert_eq!(updated.json()["status"], "SUSPENDED");
    let updated = api.json(&patch, json!({"name": null}));
    assert_eq!((updated.status, updated.json().get("name")), (200, None), "{updated:?}");

    // Conflicts.
    let taken = api.json("POST /customers", profile);
    answers.refused("POST", &taken, 409, Some("23505"));
    let other = api.json("POST /customers", json!({"email": "bob@example.com", "name": null}));
    assert_eq!((other.status, other.json().get("name")), (201, None), "{other:?}");
    let other = format!("PATCH {}", other.header("Location").unwrap());
    answers.refused("PATCH", &api.json(&other, json!({"email": secret})), 409, Some("23505"));
    let stale = api.send(&patch, &[JSON, ("If-Match", "\"1\"")], r#"{"name": "A"}"#);
    answers.refused("PATCH", &stale, 409, Some("PT409"));

    // Values that break their rules: the database's to say. Another's address in a field's name is not repeated.
    for (fields, sqlstate, detail) in [
        (json!({"email": SECRET}), Some("22023"), "address"),
        (json!({"email": "ann@example.com", "name": ""}), Some("22023"), "name"),
        (json!({"name": "Ann"}), Some("22023"), "email"),
        (json!({"email": "ann@example.com", "password": SECRET}), None, "password"),
        (json!({"email": "ann@example.com", &secret: null}), None, "a field that was given"),
        (json!({"email": "ann@example.com", "status": "ACTIVE"}), None, "status"),
    ] {
        let answer = api.json("POST /customers", fields);
        answers.refused("POST", &answer, 400, sqlstate);
        assert!(answer.json()["detail"].as_str().unwrap().contains(detail), "{answer:?}");
    }
    for (fields, detail) in [
        (json!({}), "at least one field"),
        (json!({"email": null}), "email cannot be cleared"),
        (json!({"status": SECRET}), "status"),
        (json!({"password": SECRET}), "password"),
        (json!({&secret: "A"}), "a field that was given"),
    ] {
        let answer = api.json(&other, fields);
        answers.refused("PATCH", &answer, 400, Some("22023"));
        assert!(answer.json()["detail"].as_str().unwrap().contains(detail), "{answer:?}");
    }

    // Requests that say nothing to the database.
    for line in ["POST /customers", &other] {
        let long = format!(r#"{{"name": "{}"}}"#, SECRET.repeat(2000));
        answers.refused(line, &api.send(line, &[JSON], long), 413, None);
        let body = format!(r#"{{"email": "{secret}"}}"#);
        for headers in [&[][..], &[("Content-Type", "text/plain")]] {
            answers.refused(line, &api.send(line, headers, &body), 415, None);
        }
        for body in [
            format!(r#"{{"email": "{secret}""#),
            format!(r#""{secret}""#),
            format!(r#"["{secret}"]"#),
            format!(r#"{{"name": ["{SECRET}"]}}"#),
            format!(r#"{{"name": "{SECRET}\u0000"}}"#),
            format!(r#"{{"name": "{SECRET}\ud800"}}"#),
            String::new(),
        ] {
            answers.refused(line, &api.send(line, &[JSON], body), 400, None);
        }
        let latin1 = [br#"{"name": "hortensia "#, &b"\xe9\"}"[..]].concat();
        answers.refused(line, &api.send(line, &[JSON], latin1), 400, None);
    }
    for tag in ["1", "W/\"1\"", "\"1\", \"2\"", "\"+1\"", "\"\"", "\"99999999999999999999\"", "*"] {
        let answer = api.send(&other, &[JSON, ("If-Match", tag)], r#"{"name": "A"}"#);
        answers.refused("PATCH", &answer, 400, None);
    }
    for line in ["GET /customers/1", "PATCH /customers/1"] {
        answers.refused(line, &api.json(line, json!({"name": "A"})), 400, None);
    }

    // Nobody and nothing.
    let nobody = "/customers/00000000-0000-4000-8000-000000000000";
    answers.refused("GET", &api.send(&format!("GET {nobody}"), &[], ""), 404, None);
    let answer = api.json(&format!("PATCH {nobody}"), json!({"name": "A"}));
    answers.refused("PATCH", &answer, 404, Some("PT404"));
    let mut elsewhere = Answers::default();
    elsewhere.refused("GET", &api.send("GET /", &[], ""), 404, None);
    let answer = api.send(&format!("DELETE {path}"), &[], "");
    elsewhere.refused("DELETE", &answer, 405, None);
    assert_eq!(answer.header("Allow"), Some("GET,HEAD,PATCH"));

    // The actor is a request's own.
    let agent = ("X-Actor", "agent 7");
    assert_eq!(api.send(&other, &[JSON, agent], r#"{"name": "A"}"#).status, 200);
    assert_eq!(api.send(&other, &[JSON], r#"{"name": "B"}"#).status, 200);
    let actors = "SELECT actor FROM customers.events ORDER BY position DESC LIMIT 2";
    let actors: Vec<Option<String>> = all(&mut client, actors, &[]);
    assert_eq!(actors, [None, Some("agent 7".to_owned())]);
    let long = SECRET.repeat(200);
    let answer = api.send(&other, &[JSON, ("X-Actor", &long)], r#"{"name": "C"}"#);
    answers.refused("PATCH", &answer, 400, Some("22023"));

    // A closed account.
    assert_eq!(api.json(&patch, json!({"status": "CLOSED"})).status, 200);
    answers.refused("PATCH", &api.json(&patch, json!({"name": "A"})), 400, Some("23514"));

    // A request ends after five seconds, and if every connection is taken, after two.
    client.batch_execute("BEGIN; LOCK TABLE customers.customers").unwrap();
    let get = format!("GET {path}");
    let waited: Vec<Duration> = thread::scope(|scope| {
        let requests = [(); 17].map(|()| {
            scope.spawn(|| {
                let since = Instant::now();
                let answer = api.send(&get, &[], "");
                assert_eq!(answer.status, 503, "{answer:?}");
                since.elapsed()
            })
        });
        requests.map(|request| request.join().unwrap()).into()
    });
    assert!(waited.iter().any(|waited| *waited < Duration::from_secs(5)), "{waited:?}");
    client.batch_execute("COMMIT").unwrap();
    assert_eq!(api.send(&get, &[], "").status, 200);

    // Without the database, and with it again.
    drop(client);
    server.pg_ctl("stop");
    for (line, body) in [
        ("POST /customers", r#"{"email": "cleo@example.com"}"#),
        (get.as_str(), ""),
        (patch.as_str(), r#"{"name": "A"}"#),
    ] {
        let answer = api.send(line, &[JSON], body);
        answers.refused(line, &answer, 503, None);
        assert_eq!(answer.header("Retry-After"), Some("1"));
    }
    server.pg_ctl("start");
    assert_eq!(api.send(&get, &[], "").status, 200);

    assert_eq!(answers.0, described());
    assert!(!server.log().to_lowercase().contains(SECRET), "the server log tells it");
    assert_eq!(EXAMPLE.commands().len(), 5, "a command of the README that is not run here");
    assert_eq!(api.send("GET /openapi.json", &[], "").body, DESCRIPTION);
}

#[test]
fn a_request_that_has_begun_is_answered_before_the_api_ends() {
    if !on_16() {
        return;
    }
    let server = shop();
    let database = with_roles(&server);
    let mut client = database.connect();
    let mut api = Api::start(&database);
    let port = format!(":{}/", api.port);
    let registered = succeed(&mut EXAMPLE.command("curl", &[(":8080/", port)]));
    let path = registered.lines().find_map(|line| line.strip_prefix("location: "));
    let patch = format!("PATCH {}", path.expect("a customer"));
    client.batch_execute("BEGIN; SELECT FROM customers.customers FOR UPDATE").unwrap();
    let holder = pid(&mut client);
    let answer = thread::scope(|scope| {
        let request = scope.spawn(|| api.json(&patch, json!({"name": "Bob"})));
        let waits =
            "SELECT count(*) > 0 FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid))";
        await_true(&mut database.connect(), waits, &[&holder]);
        kill(api.process.0.id().try_into().unwrap(), libc::SIGTERM);
        // It takes no new requests.
        eventually("it does not listen", || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, api.port)).is_err()
        });
        client.batch_execute("COMMIT").unwrap();
        request.join().unwrap()
    });
    assert_eq!((answer.status, &answer.json()["name"]), (200, &json!("Bob")));
    assert!(api.process.0.wait().unwrap().success());
}

/// Not checked: positive_data_acceptance. What an address may be is beyond JSON Schema, so the API refuses some that
/// the description permits.
#[test]
fn what_schemathesis_generates_gets_only_answers_of_the_description() {
    let folder = project().join(".local/schemathesis");
    if !folder.exists() {
        skipped("no .local/schemathesis, see bin/fetch-schemathesis");
        return;
    }
    if !on_16() {
        return;
    }
    let server = shop();
    let database = with_roles(&server);
    let api = Api::start(&database);
    let here = new_folder();
    let report = here.join("report.json");
    let mut schemathesis = Command::new("python3");
    schemathesis
        .arg(folder.join("bin/st"))
        .args(["--no-color", "run", &format!("http://127.0.0.1:{}/openapi.json", api.port)])
        .args(["--seed", "1", "--max-examples", "10", "--generation-database", "none"])
        .args(["--checks", "all", "--exclude-checks", "positive_data_acceptance"])
        .arg("--report-json-path")
        .arg(&report)
        .env("PYTHONPATH", &folder)
        .current_dir(&here);
    succeed(&mut schemathesis);
    let report: Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
    fs::remove_dir_all(here).unwrap();
    assert_eq!(report["operations"]["tested"], 3);
    for (phase, outcome) in report["phases"].as_object().unwrap() {
        assert_eq!(outcome["status"], "success", "{phase}");
    }
    assert!(report["test_cases"]["generated"].as_u64().unwrap() > 150, "{report}");
    // Some of it got through to the database, and left it in order.
    let mut client = database.connect();
    let changes = "SELECT count(DISTINCT type) FROM customers.events";
    assert_eq!(one::<i64>(&mut client, changes, &[]), 2);
    let wrong = "SELECT concat(check_name, ': ', detail) FROM customers.verify() WHERE NOT ok";
    assert_eq!(all::<String>(&mut client, wrong, &[]), [""; 0]);
}

/// A running publisher, and the sink that it hands over to.
struct Publisher {
    command: Command,
    process: Running,
    sink: TcpListener,
    folder: PathBuf,
    received: Vec<Value>,
}

/// A batch that the sink has received and not answered yet.
struct Post {
    lines: Vec<Value>,
    stream: TcpStream,
}

impl Publisher {
    fn start(database: &Database) -> Self {
        let sink = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        sink.set_nonblocking(true).unwrap();
        let folder = new_folder();
        let position = folder.join("position");
        let here = [
            ("@db/shop", place(database)),
            ("127.0.0.1:9000", sink.local_addr().unwrap().to_string()),
            ("=position", format!("={}", position.display())),
            ("target/debug", programs().to_owned()),
        ];
        let mut command = EXAMPLE.command("customer-publisher", &here);
        command.stderr(Stdio::null());
        let process = Running(command.spawn().expect("the publisher starts"));
        Self { command, process, sink, folder, received: Vec::new() }
    }

    fn kill(&mut self) {
        self.process.0.kill().unwrap();
        self.process.0.wait().unwrap();
    }

    fn kill_and_restart(&mut self) {
        self.kill();
        self.process = Running(self.command.spawn().expect("the publisher starts"));
    }

    /// Receives a batch; the publisher waits for the answer.
    fn receive(&self) -> Post {
        let mut accepted = None;
        eventually("a batch arrives", || {
            accepted = self.sink.accept().ok();
            accepted.is_some()
        });
        let mut stream = accepted.unwrap().0;
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut reader = BufReader::new(&mut stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            match line.to_lowercase().split_once(": ") {
                Some(("content-length", value)) => length = value.trim().parse().unwrap(),
                _ if line == "\r\n" => break,
                _ => assert!(!line.is_empty(), "the request ends"),
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let body = String::from_utf8(body).unwrap();
        let lines = body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        Post { lines, stream }
    }

    /// Stores a batch, and answers, or kills the publisher instead.
    fn store(&mut self, mut post: Post, answer: Option<u16>) {
        let lines = std::mem::take(&mut post.lines);
        match answer {
            Some(503) => (),
            _ => self.received.extend(lines),
        }
        match answer {
            None => self.kill_and_restart(),
            Some(status) => {
                let head =
                    format!("HTTP/1.1 {status} \r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                post.stream.write_all(head.as_bytes()).unwrap();
            }
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn change(client: &mut Client, round: i32) {
    let insert = "INSERT INTO customers.customers (email, name)
                  SELECT $1 || '.' || i || '@example.com', 'Ann' FROM generate_series(1, 150) AS i";
    client.execute(insert, &[&round.to_string()]).unwrap();
    client
        .batch_execute(
            "UPDATE customers.customers SET name = 'Bea ' || version WHERE status = 'ACTIVE'",
        )
        .unwrap();
}

fn last_position(client: &mut Client) -> i64 {
    one(client, "SELECT max(position) FROM customers.events", &[])
}

#[test]
fn the_publisher_hands_over_every_event_in_order_however_often_it_is_killed() {
    if !on_16() {
        return;
    }
    let server = shop();
    let database = with_roles(&server);
    let mut client = database.connect();
    change(&mut client, 0);
    let mut publisher = Publisher::start(&database);
    // Answered, refused, killed between sink and acknowledgement, in turn, while customers change.
    for round in 1..=9 {
        if round % 3 == 0 {
            change(&mut client, round);
        }
        let post = publisher.receive();
        publisher.store(post, [Some(204), Some(503), None][round as usize % 3]);
    }
    let last = last_position(&mut client);
    while publisher.received.last().is_none_or(|line| line["position"].as_i64() != Some(last)) {
        let post = publisher.receive();
        publisher.store(post, Some(204));
    }

    let mut first: BTreeMap<i64, &Value> = BTreeMap::new();
    let mut versions: BTreeMap<&str, i64> = BTreeMap::new();
    let mut repeated = 0;
    for line in &publisher.received {
        let position = line["position"].as_i64().unwrap_or_else(|| panic!("{line}"));
        if first.contains_key(&position) {
            repeated += 1;
            continue;
        }
        assert!(first.last_key_value().is_none_or(|(last, _)| *last < position), "{line}");
        first.insert(position, line);
        let version = versions.entry(line["customerId"].as_str().unwrap()).or_default();
        assert_eq!(line["version"], *version + 1, "{line}");
        *version += 1;
    }
    assert!(repeated > 0, "nothing was interrupted");
    let events = "SELECT jsonb_build_object('type', type, 'position', position, 'customerId', customer_id) || event
                    FROM customers.read_events(0, 10000)";
    let events: Vec<Value> = all(&mut client, events, &[]);
    assert!(first.into_values().eq(&events), "what was handed over is not the feed");
}

#[test]
fn the_example_is_short_enough_to_read() {
    let folder = project().join("eg/customer-api/src");
    let files = fs::read_dir(folder).unwrap().map(|file| fs::read_to_string(file.unwrap().path()));
    assert!(files.map(|text| text.unwrap().lines().count()).sum::<usize>() < 400);
    assert!(EXAMPLE.readme().lines().count() <= 60);
}

#[test]
fn where_the_feed_was_pruned_the_publisher_hands_over_a_copy() {
    if !on_16() {
        return;
    }
    let server = shop();
    let database = with_roles(&server);
    let mut client = database.connect();
    change(&mut client, 0);
    let mut publisher = Publisher::start(&database);
    let post = publisher.receive();
    publisher.store(post, Some(204));
    publisher.receive();
    publisher.kill();
    let gone = "SELECT (customers.erase_customer(customer_id)).customer_id::text
                  FROM customers.customers LIMIT 1";
    let gone: String = one(&mut client, gone, &[]);
    client
        .batch_execute("SELECT customers.unsubscribe('events'), customers.prune_events('0')")
        .unwrap();
    publisher.received.clear();
    publisher.kill_and_restart();

    // The first copy does not arrive whole: it comes again from its beginning.
    let post = publisher.receive();
    assert_eq!(post.lines[0]["type"], "copy-again");
    publisher.store(post, Some(204));
    let post = publisher.receive();
    publisher.store(post, None);
    let post = publisher.receive();
    assert_eq!(post.lines[0]["type"], "copy-again");
    publisher.received.clear();
    publisher.store(post, Some(204));
    while publisher.received.last().unwrap()["type"] != "copied" {
        let post = publisher.receive();
        publisher.store(post, Some(204));
    }
    let copy = "SELECT jsonb_build_object('customerId', customer_id, 'version', version) ||
                       CASE WHEN customer_id = $1::text::uuid THEN '{\"type\": \"customer-erased\"}'
                       ELSE jsonb_build_object('type', 'customer-copied', 'customer', jsonb_build_object(
                            'customerId', customer_id, 'email', email, 'name', name, 'status', status)) END
                  FROM customers.customers ORDER BY customer_id";
    let copy: Vec<Value> = all(&mut client, copy, &[&gone]);
    let [_, received @ .., _] = &publisher.received[..] else { panic!("no copy") };
    assert_eq!(received, copy);

    // And goes on from there.
    let position = last_position_of_copy(&publisher);
    change(&mut client, 1);
    let post = publisher.receive();
    assert!(post.lines[0]["position"].as_i64().unwrap() > position);
    assert_eq!(post.lines[0]["type"], "customer-registered");
}

fn last_position_of_copy(publisher: &Publisher) -> i64 {
    publisher.received.last().unwrap()["position"].as_i64().expect("where the feed goes on")
}
