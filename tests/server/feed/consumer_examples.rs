//! Promise: the consumers in eg/ end with a complete copy of the customers, however they are interrupted.

use crate::kit::{
    Database, database, eventually, on_16, one, project, register_ann, registered, role, skipped,
    succeed,
};
use postgres::Client;
use serde_json::{Map, Value, json};
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running consumer, named after the role it connects as.
struct Consumer<'database> {
    database: &'database Database<'static>,
    role: String,
    file: PathBuf,
    command: Command,
    process: Child,
}

impl<'database> Consumer<'database> {
    fn start(database: &'database Database<'static>, mut command: Command) -> Self {
        let mut client = database.connect();
        let role = role(&mut client, "");
        for duty in ["consumer", "reader"] {
            client
                .execute("SELECT customers.grant_access($1::text::regrole, $2)", &[&role, &duty])
                .unwrap();
        }
        let file = std::env::temp_dir().join(format!("{role}.{}.json", std::process::id()));
        let _ = fs::remove_file(&file);
        let host = database.server.host().replace('/', "%2F");
        command
            .arg(format!("postgresql://{role}@{host}/{}", database.name))
            .arg(&role)
            .arg(&file)
            .stderr(Stdio::null());
        let process = command.spawn().expect("the consumer starts");
        Self { database, role, file, command, process }
    }

    /// Kills it with SIGKILL, and starts it again.
    fn kill_and_restart(&mut self) {
        self.kill();
        self.process = self.command.spawn().expect("the consumer starts");
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Terminates its session, once it has one.
    fn cut(&self) {
        let cut =
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = $1";
        let mut client = self.database.connect();
        eventually("it is connected", || one::<i64>(&mut client, cut, &[&self.role]) > 0);
    }

    fn copy(&self) -> Map<String, Value> {
        let text = fs::read_to_string(&self.file).unwrap_or("{}".to_owned());
        let copy: Map<String, Value> =
            serde_json::from_str(&text).expect("a file is never half written");
        copy.into_iter().filter_map(|(id, customer)| Some((id, profile(&customer)?))).collect()
    }

    fn assert_complete(&self) {
        let mut client = self.database.connect();
        eventually("the copy is complete", || self.copy() == customers(&mut client));
    }
}

impl Drop for Consumer<'_> {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_file(&self.file);
    }
}

/// What a copy holds of a customer; None for an erased one.
fn profile(customer: &Value) -> Option<Value> {
    let fields = ["email", "name", "status", "version"].map(|field| customer.get(field).cloned());
    let [email, name, status, version] = fields;
    Some(json!({"email": email?, "name": name, "status": status, "version": version}))
}

/// The customers in the table, without those that were erased.
fn customers(client: &mut Client) -> Map<String, Value> {
    let query = "SELECT coalesce(jsonb_object_agg(customer_id, to_jsonb(c)), '{}')
                   FROM customers.customers AS c
                  WHERE NOT EXISTS (SELECT FROM customers.events AS e
                                     WHERE e.customer_id = c.customer_id AND type = 'customer-erased')";
    let customers = one::<Value>(client, query, &[]);
    let customers = customers.as_object().unwrap().iter();
    customers.map(|(id, customer)| (id.clone(), profile(customer).unwrap())).collect()
}

/// Registers several hundred customers and changes some of all, so that it takes several batches.
fn change(client: &mut Client, round: i32) {
    let insert = "INSERT INTO customers.customers (email, name)
                  SELECT $1 || '.' || i || '@example.com', CASE WHEN i % 2 = 0 THEN 'Ann' END
                    FROM generate_series(1, 300) AS i";
    client.execute(insert, &[&round.to_string()]).unwrap();
    client
        .batch_execute(
            "UPDATE customers.customers SET name = 'Bea ' || version WHERE email LIKE '%7@example.com';
             UPDATE customers.customers SET name = NULL WHERE email LIKE '%8@example.com';
             UPDATE customers.customers SET status = 'SUSPENDED', email = 'moved.' || email
              WHERE email LIKE '%3@example.com' AND length(email) < 40",
        )
        .unwrap();
    let lost = "INSERT INTO customers.customers (email) VALUES ('lost@example.com')";
    client.batch_execute(&format!("BEGIN; {lost}; ROLLBACK")).unwrap();
}

fn assert_keeps_a_copy(command: Command) {
    let database = database();
    let mut client = database.connect();
    change(&mut client, 0);
    let mut consumer = Consumer::start(&database, command);
    for round in 1..=3 {
        change(&mut client, round);
        consumer.cut();
        change(&mut client, 10 + round);
        if round == 2 {
            consumer.kill_and_restart();
        }
    }
    consumer.assert_complete();

    // It is notified: without notifications it reads every ten seconds, and after the first delay each is that long.
    let delays = [(); 3].map(|()| {
        let since = Instant::now();
        registered(&mut client);
        consumer.assert_complete();
        since.elapsed()
    });
    let notified = delays[1..].iter().any(|delay| *delay < Duration::from_secs(5));
    assert!(notified, "no notification reaches it: {delays:?}");

    let erased = "INSERT INTO customers.events (type, customer_id, version, occurred_at, changes, recorded_by)
                  SELECT 'customer-erased', customer_id, version + 1, now(), '{}', 'somebody'
                    FROM customers.customers LIMIT 1";
    client.batch_execute(erased).unwrap();
    register_ann(&mut client);
    consumer.assert_complete();

    // A batch whose acknowledgement was lost is fetched again, and changes nothing.
    consumer.kill();
    let copy = consumer.copy();
    client.batch_execute("UPDATE customers.consumers SET position = 0").unwrap();
    consumer.kill_and_restart();
    let caught_up = "SELECT position = (SELECT max(position) FROM customers.events)
                       FROM customers.consumers";
    eventually("it has read all again", || {
        assert!(consumer.copy() == copy, "an event that came again has changed the copy");
        one(&mut client, caught_up, &[])
    });

    // A restore sets the feed back, and with it the place that the server keeps.
    let dump = database.dump(&["--format=custom"]);
    change(&mut client, 20);
    register_ann(&mut client);
    consumer.assert_complete();
    consumer.kill();
    drop(client);
    let restore = ["--clean", "--exit-on-error", "--single-transaction"];
    succeed(database.program("pg_restore").args(restore).arg(dump));
    let mut client = database.connect();
    register_ann(&mut client);
    change(&mut client, 30);
    consumer.kill_and_restart();
    consumer.assert_complete();

    // Without its file it copies everything again.
    consumer.kill();
    fs::remove_file(&consumer.file).unwrap();
    consumer.kill_and_restart();
    consumer.assert_complete();
}

#[test]
fn the_consumer_in_rust_keeps_a_complete_copy() {
    if !on_16() {
        return;
    }
    let build = ["build", "--quiet", "--ignore-rust-version", "--example", "consumer"];
    let built = Command::new(env!("CARGO")).current_dir(project()).args(build).status().unwrap();
    assert!(built.success());
    // The test's own path is target/debug/deps/server-….
    let test = std::env::current_exe().unwrap();
    let examples = test.parent().unwrap().with_file_name("examples");
    assert_keeps_a_copy(Command::new(examples.join("consumer")));
}

/// A folder that bin/fetch-clients has filled.
fn fetched(client: &str) -> Option<PathBuf> {
    let folder = project().join(".local/clients").join(client);
    if !folder.exists() {
        skipped(&format!("no .local/clients/{client}, see bin/fetch-clients"));
        return None;
    }
    Some(folder)
}

#[test]
fn the_consumer_in_python_keeps_a_complete_copy() {
    let Some(folder) = fetched("python").filter(|_| on_16()) else { return };
    let mut command = Command::new("python3");
    command.arg(project().join("eg/consumer.py")).env("PYTHONPATH", folder);
    assert_keeps_a_copy(command);
}

#[test]
fn the_consumer_for_node_keeps_a_complete_copy() {
    let Some(folder) = fetched("node").filter(|_| on_16()) else { return };
    // Node.js looks for modules beside the program.
    let program = folder.join("consumer.mjs");
    fs::copy(project().join("eg/consumer.mjs"), &program).unwrap();
    let mut command = Command::new("node");
    command.arg(program);
    assert_keeps_a_copy(command);
}

#[test]
fn the_consumers_are_short_enough_to_read() {
    for name in ["consumer.rs", "consumer.py", "consumer.mjs"] {
        let text = fs::read_to_string(project().join("eg").join(name)).unwrap();
        assert!(text.lines().count() < 80, "{name}");
    }
}
