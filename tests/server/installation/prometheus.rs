//! Promise: as eg/prometheus configures it, every measure of metrics() arrives, nothing personal does, and the alerts fire
//! when they should.

use crate::kit::http::{free_ports, get};
use crate::kit::{
    Server, all, await_true, begin_change, eventually, keep, new_folder, on_16, one, project,
    register_ann, role, skipped, succeed,
};
use postgres::Client;
use serde_json::{Deserializer, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

const ROLE: &str = include_str!("../../../eg/prometheus/role.sql");
const EXPORTER: &str = include_str!("../../../eg/prometheus/prometheus-postgres-exporter");
const PROMETHEUS: &str = include_str!("../../../eg/prometheus/prometheus.yml");
const ALERTS: &str = include_str!("../../../eg/prometheus/alerts.yml");
const ALERTS_TEST: &str = include_str!("../../../eg/prometheus/alerts_test.yml");
const DASHBOARD: &str = include_str!("../../../eg/prometheus/dashboard.json");
const README: &str = include_str!("../../../eg/prometheus/README.md");
/// Named in the configuration.
const DATABASE: &str = "shop";
const CONSUMER: &str = "search \"a\\b\" ü";

/// Values by name and labels.
type Measures = BTreeMap<(String, BTreeMap<String, String>), f64>;

/// A program that bin/fetch-prometheus has fetched.
fn fetched(name: &str) -> Option<PathBuf> {
    if !on_16() {
        return None;
    }
    let program = project().join(".local/prometheus").join(name);
    if !program.exists() {
        skipped("no .local/prometheus, see bin/fetch-prometheus");
        return None;
    }
    Some(program)
}

/// A cluster in which metrics() returns everything that it can: with events, a consumer and a worker.
fn shop() -> &'static Server {
    static SHOP: OnceLock<&Server> = OnceLock::new();
    SHOP.get_or_init(|| {
        let server = Server::start(&[
            "shared_preload_libraries = 'customer_db'",
            &format!("customer_db.databases = '{DATABASE}'"),
            "customer_db.notify = worker",
            // Sizes and estimates stay as they are.
            "autovacuum = off",
        ]);
        let create = format!("CREATE DATABASE {DATABASE}");
        server.connect("postgres").batch_execute(&create).unwrap();
        let mut client = server.connect(DATABASE);
        client.batch_execute("CREATE EXTENSION customer_db").unwrap();
        client.batch_execute(ROLE).unwrap();
        register_ann(&mut client);
        client.execute("SELECT customers.subscribe($1)", &[&CONSUMER]).unwrap();
        drop(client);
        // Otherwise the worker would look for the database again only after five seconds.
        server.pg_ctl("restart");
        keep(server)
    })
}

fn measured(client: &mut Client) -> Measures {
    let rows = client.query("SELECT name, labels, value FROM customers.metrics()", &[]).unwrap();
    let rows = rows.iter().map(|row| {
        let labels = serde_json::from_value(row.get::<_, Value>("labels")).expect("texts");
        ((row.get("name"), labels), row.get("value"))
    });
    rows.collect()
}

fn names(measures: &Measures) -> BTreeSet<&str> {
    measures.keys().map(|(name, _)| name.as_str()).collect()
}

/// A running exporter, ended when dropped.
struct Exporter {
    process: Child,
    port: u16,
}

impl Exporter {
    /// Starts it with its configuration, but for the addresses that apply here.
    fn start(program: PathBuf, server: &Server, role: &str) -> Self {
        let [port] = free_ports();
        let setting = |name: &str| {
            let value = EXPORTER.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
            value.trim_matches(['"', '\'']).to_owned()
        };
        let replaced = |mut text: String, replacements: &[(&str, &str)]| {
            for (there, here) in replacements {
                assert!(text.contains(there), "{there}");
                text = text.replace(there, here);
            }
            text
        };
        let source = replaced(
            setting("DATA_SOURCE_NAME="),
            &[("user=prometheus", &format!("user={role}")), ("/run/postgresql", server.host())],
        );
        let queries = project().join("eg/prometheus/queries.yml");
        let arguments = replaced(
            setting("ARGS="),
            &[
                (":9187", &format!(":{port}")),
                ("/etc/prometheus/customer_db/queries.yml", queries.to_str().unwrap()),
            ],
        );
        let process = Command::new(program)
            .args(arguments.split(' '))
            .env("DATA_SOURCE_NAME", source)
            .stderr(Stdio::null())
            .spawn()
            .expect("the exporter starts");
        let exporter = Self { process, port };
        eventually("the exporter answers", || matches!(get(port, "/"), Some((200, _))));
        exporter
    }

    fn scrape(&mut self) -> String {
        let (status, body) = get(self.port, "/metrics").expect("an answer");
        assert_eq!(status, 200, "{body}");
        assert!(self.process.try_wait().unwrap().is_none(), "another program has answered");
        body
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The samples of customer_db in what an exporter answers; without the
/// label of the exporter's own.
fn samples(body: &str) -> Measures {
    let lines = body.lines().filter(|line| line.starts_with("customer_db"));
    let lines = lines.map(|line| {
        let (sample, value) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = sample.split_once('{').expect("labels");
        let mut labels = labels_of(labels.strip_suffix('}').expect("the end of the labels"));
        labels.remove("server").expect("the exporter's own label");
        ((name.to_owned(), labels), value.parse().expect("a number"))
    });
    lines.collect()
}

/// Reads `name="value",…`, in which values are escaped as in JSON.
fn labels_of(mut text: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    while let Some((name, rest)) = text.split_once('=') {
        let mut values = Deserializer::from_str(rest).into_iter::<String>();
        labels.insert(name.to_owned(), values.next().expect("a value").expect("a text"));
        text = rest[values.byte_offset()..].trim_start_matches(',');
    }
    labels
}

#[test]
fn every_measure_arrives_with_its_labels_and_nothing_personal() {
    let Some(program) = fetched("prometheus-postgres-exporter") else { return };
    let server = shop();
    let mut client = server.connect(DATABASE);
    let ann = register_ann(&mut client);
    let gone = register_ann(&mut client);
    client
        .execute("SELECT customers.erase_customer($1, 'Ann has asked for it')", &[&gone.id])
        .unwrap();
    let has_sent = "SELECT max(value) FILTER (WHERE name = 'customer_db_worker_sent_position')
                         = max(value) FILTER (WHERE name = 'customer_db_feed_last_position')
                      FROM customers.metrics()";
    eventually("the worker has sent", || {
        one::<Option<bool>>(&mut client, has_sent, &[]) == Some(true)
    });
    let mut exporter = Exporter::start(program, server, "prometheus");

    let mut before = measured(&mut client);
    let body = exporter.scrape();
    let mut scraped = samples(&body);
    let mut after = measured(&mut client);
    // What changes by itself.
    let label = ("consumer".to_owned(), CONSUMER.to_owned());
    let behind = ("customer_db_consumer_unread_seconds".to_owned(), BTreeMap::from([label]));
    let [from, value, to] = [&mut before, &mut scraped, &mut after]
        .map(|measures| measures.remove(&behind).expect("the consumer"));
    assert!(0.0 < from && from <= value && value <= to, "{from} {value} {to}");
    assert_eq!(before, after);
    assert_eq!(scraped, before);
    assert!(body.contains("pg_exporter_last_scrape_error 0"), "{body}");

    for secret in [&ann.email, &gone.email, "Ann", &ann.id.to_string(), &gone.id.to_string()] {
        assert!(!body.contains(secret), "{secret} in {body}");
    }
    // Not even what the server's own measures would say of sessions and databases.
    assert!(!body.contains("pg_stat") && !body.contains("pg_database"), "{body}");

    // The role sees how long a session of somebody else's holds the feed back.
    begin_change(&mut client);
    let held_back = ("customer_db_feed_held_back_seconds".to_owned(), BTreeMap::new());
    assert!(samples(&exporter.scrape())[&held_back] > 0.0);
    client.batch_execute("ROLLBACK").unwrap();
    assert_eq!(samples(&exporter.scrape())[&held_back], 0.0);
}

#[test]
fn the_role_can_measure_and_nothing_else_and_a_stranger_not_even_that() {
    let Some(program) = fetched("prometheus-postgres-exporter") else { return };
    let server = shop();
    let mut client = server.connect(DATABASE);
    let may_call =
        "SELECT proname::text FROM pg_proc WHERE pronamespace = 'customers'::regnamespace
                       AND has_function_privilege('prometheus', oid, 'EXECUTE')";
    assert_eq!(all::<String>(&mut client, may_call, &[]), ["metrics"]);
    let may_read = "SELECT relname::text FROM pg_class WHERE relnamespace = 'customers'::regnamespace
                       AND has_any_column_privilege('prometheus', oid, 'SELECT') AND relkind <> 'S'";
    assert_eq!(all::<String>(&mut client, may_read, &[]), Vec::<String>::new());
    let is_plain =
        "SELECT NOT rolsuper AND NOT EXISTS (SELECT FROM pg_auth_members WHERE member = oid)
                      FROM pg_roles WHERE rolname = 'prometheus'";
    assert!(one::<bool>(&mut client, is_plain, &[]));

    let stranger = role(&mut client, "");
    let mut exporter = Exporter::start(program, server, &stranger);
    let body = exporter.scrape();
    assert!(body.contains("pg_up 1"), "{body}");
    assert!(body.contains("pg_exporter_last_scrape_error 1"), "{body}");
    assert_eq!(samples(&body), Measures::new());
}

#[test]
fn a_standby_is_measured_too() {
    let Some(program) = fetched("prometheus-postgres-exporter") else { return };
    let standby = shop().standby();
    let mut exporter = Exporter::start(program, &standby, "prometheus");
    let scraped = samples(&exporter.scrape());
    let measured = measured(&mut standby.connect(DATABASE));
    assert!(scraped.keys().eq(measured.keys()), "{scraped:?} is not {measured:?}");
    let is_standby = ("customer_db_standby".to_owned(), BTreeMap::new());
    assert_eq!(scraped[&is_standby], 1.0);
}

#[test]
fn the_alerts_fire_when_they_should_and_only_then() {
    let Some(promtool) = fetched("promtool") else { return };
    let folder = new_folder();
    fs::create_dir(folder.join("customer_db")).unwrap();
    // promtool reads the dashboard's expressions as rules.
    let mut rules = "groups:\n- name: dashboard\n  rules:\n".to_owned();
    for expression in expressions() {
        let expression = Value::from(expression.replace("$instance", ".*"));
        rules.push_str(&format!("  - record: dashboard\n    expr: {expression}\n"));
    }
    for (name, text) in [
        ("prometheus.yml", PROMETHEUS),
        ("customer_db/alerts.yml", ALERTS),
        ("customer_db/alerts_test.yml", ALERTS_TEST),
        ("customer_db/dashboard.yml", &rules),
    ] {
        fs::write(folder.join(name), text).unwrap();
    }
    for arguments in [
        ["check", "rules", "customer_db/alerts.yml"],
        ["test", "rules", "customer_db/alerts_test.yml"],
        ["check", "config", "prometheus.yml"],
        ["check", "rules", "customer_db/dashboard.yml"],
    ] {
        succeed(Command::new(&promtool).args(arguments).current_dir(&folder));
    }
    fs::remove_dir_all(folder).unwrap();
    let alerts: Vec<&str> =
        ALERTS.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert_eq!(alerts.len(), 4);
    for alert in alerts {
        let tests =
            ALERTS_TEST.split("- alertname: ").skip(1).filter(|test| test.starts_with(alert));
        let (silent, fires): (Vec<&str>, Vec<&str>) =
            tests.partition(|test| test.contains("exp_alerts: []"));
        assert!(!silent.is_empty() && !fires.is_empty(), "{alert}");
        assert!(README.contains(alert), "{alert}");
    }
}

/// The expressions of the dashboard's panels.
fn expressions() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels").clone();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().expect("targets"));
    targets.map(|target| target["expr"].as_str().expect("an expression").to_owned()).collect()
}

/// The names of measures in a text.
fn named(text: &str) -> BTreeSet<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = text.split(|c| !is_part(c));
    words.filter(|word| word.starts_with("customer_db_")).collect()
}

#[test]
fn the_alerts_and_the_dashboard_name_only_measures_that_exist() {
    if !on_16() {
        return;
    }
    let mut client = shop().connect(DATABASE);
    let has_worker =
        "SELECT value = 1 FROM customers.metrics() WHERE name = 'customer_db_worker_running'";
    await_true(&mut client, has_worker, &[]);
    let measured = measured(&mut client);
    let existing = names(&measured);
    for (text, at_least) in [(ALERTS, 5), (ALERTS_TEST, 5), (DASHBOARD, 10)] {
        let named = named(text);
        assert!(named.len() >= at_least, "{named:?}");
        assert!(named.is_subset(&existing), "{:?}", named.difference(&existing));
    }
}

#[test]
fn the_dashboard_lets_the_data_source_be_chosen() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    assert_eq!(variables[0]["name"], "datasource");
    assert_eq!(variables[0]["type"], "datasource");
    // Grafana 10.
    assert_eq!(dashboard["schemaVersion"], 38);
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_i64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    for place in panels.iter().chain(targets).chain(&variables[1..]) {
        assert_eq!(place["datasource"]["uid"], "${datasource}", "{place}");
    }
}

#[test]
fn the_page_is_short() {
    assert!(README.lines().count() <= 30);
}
