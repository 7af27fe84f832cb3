//! Promise: every refusal has its SQLSTATE and a HINT, changes nothing, and discloses no address and no
//! name, neither to the client nor to the server log.

use crate::kit::{
    Database, Server, address, assert_refused, call, contents, home, major, one, refusal,
    register_ann, role,
};
use postgres::types::ToSql;
use postgres::{Client, GenericClient};
use serde_json::json;
use std::io::Write;
use uuid::Uuid;

/// Part of every address and name that must not be disclosed.
const SECRET: &str = "zyxw";

/// A server that logs as much as possible of an error, and whose backends would print a backtrace.
fn logging_everything() -> Server {
    Server::start_of(
        &home(&major().to_string()),
        &[("RUST_BACKTRACE", "1")],
        &[
            "log_min_error_statement = error",
            "log_error_verbosity = verbose",
            "log_parameter_max_length_on_error = -1",
            "log_min_messages = info",
        ],
    )
}

/// Asserts that the log contains `refused` errors, and no statement, row, parameter, address, name or backtrace.
fn assert_discreet(log: &str, refused: usize) {
    assert_eq!(log.matches("ERROR:  ").count(), refused, "{log}");
    for untold in [SECRET, "statement:", "context:", "parameters:", "failing row", "backtrace"] {
        let line = log.lines().find(|line| line.to_lowercase().contains(untold));
        assert_eq!(line, None, "{untold} in the log");
    }
}

/// Shows that the log would contain what [`assert_discreet`] searches for: a PostgreSQL error puts it there.
fn assert_logs_everything(server: &Server, client: &mut Client) {
    client.execute("SELECT 1 / length($1)", &[&""]).expect_err("division by zero");
    client
        .batch_execute(
            "CREATE TEMPORARY TABLE environment (line text);
             COPY environment FROM PROGRAM 'echo RUST_BACKTRACE=$RUST_BACKTRACE'",
        )
        .unwrap();
    let environment: String = one(client, "SELECT line FROM environment", &[]);
    assert_eq!(environment, "RUST_BACKTRACE=1");
    let log = server.log();
    for told in ["STATEMENT:  SELECT 1 / length", "parameters: $1 = ''", "LOCATION:"] {
        assert!(log.contains(told), "{told} not in {log}");
    }
}

/// A statement that must be refused.
struct Case {
    sqlstate: &'static str,
    /// With parameters $1, $2, each cast from text.
    statement: String,
    params: Vec<Option<String>>,
}

impl Case {
    /// The statement with its parameters replaced by literals.
    fn literally(&self) -> String {
        let mut parts = self.statement.split('$');
        let mut statement = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (number, rest) = part.split_at(1);
            let param = &self.params[number.parse::<usize>().expect("$1 to $9") - 1];
            match param {
                Some(text) => {
                    let text = text.replace('\\', "\\\\").replace('\'', "''");
                    statement += &format!("E'{text}'{rest}");
                }
                None => statement += &format!("NULL{rest}"),
            }
        }
        statement
    }

    fn bound(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.params.iter().map(|param| param as &(dyn ToSql + Sync)).collect()
    }
}

fn case<const N: usize>(sqlstate: &'static str, statement: &str, params: [&str; N]) -> Case {
    let params = params.map(|param| Some(param.to_owned())).into();
    Case { sqlstate, statement: statement.to_owned(), params }
}

/// A statement whose one parameter is NULL.
fn null_case(statement: &str) -> Case {
    Case { sqlstate: "22023", statement: statement.to_owned(), params: vec![None] }
}

/// Texts that are no valid address, each containing the secret.
fn bad_addresses() -> Vec<String> {
    let mut bad: Vec<String> = [
        "zyxw",
        "zyxw@",
        "@zyxw.example",
        "zyxw@@example.com",
        "zyxw@bob@example.com",
        "zyxw@localhost",
        "zyxw@example.com.",
        "zyxw@exa_mple.com",
        "zyxw@[127.0.0.1]",
        "zyxw@127.0.0.1",
        "\"zyxw zyxw\"@example.com",
        "zyxw <zyxw@example.com>",
        "zyxw\n@example.com",
        "zyxw\r\nBcc: zyxw@example.com",
        "zyxw\t@example.com",
        "zyxw\u{1}@example.com",
        "zyxw\u{7f}@example.com",
        "zyxw\u{85}@example.com",
        "zyxw\u{a0}@example.com",
        "zyxw\u{ad}@example.com",
        "zyxw\u{200b}@example.com",
        "zyxw\u{200d}@example.com",
        "zyxw\u{202e}@example.com",
        "zyxw\u{2066}@example.com",
        "zyxw\u{2028}@example.com",
        "zyxw\u{feff}@example.com",
        "zyxw\u{fe0f}@example.com",
        "zyxw\u{fffd}@example.com",
        "zyxw\u{fffe}@example.com",
        "zyxw\u{e000}@example.com",
        "zyxw\u{10ffff}@example.com",
        "zyxw\u{378}@example.com",
        "zyxw@exa\u{202e}mple.com",
        "zyxw@xn--zyxw.com",
        "\u{301}zyxw@example.com",
        "zyxw\u{1f4a9}@example.com",
        "zyxw@erased.invalid",
        "zyxw@ERASED\u{3002}invalid",
        "zyxw'; DROP TABLE customers.customers; --@example.com",
        "zyxw') ON CONFLICT DO NOTHING; --",
        "zyxw\\'; SELECT 1; --@example.com",
        "zyxw%s%n%x@example.com.",
        "$1 zyxw $$ @example.com",
    ]
    .map(str::to_owned)
    .into();
    bad.push(format!("{}@example.com", "zyxw".repeat(72)));
    bad.push(format!("zyxw@{}.com", "zyxw.".repeat(58)));
    bad.push(format!("{}@example.com", "zyxw\u{e9}".repeat(50)));
    bad.push("zyxw".repeat(100_000));
    bad
}

/// Texts that are no valid name, each containing the secret.
fn bad_names() -> Vec<String> {
    let mut bad: Vec<String> = [
        "Zyxw\nZyxw",
        "Zyxw\u{0}".trim_end_matches('\0'),
        "Zyxw\u{1b}[2J!",
        "Zyxw\u{85}!",
        "Zyxw\u{2028}!",
        "Zyxw\u{2029}!",
        "Zyxw\u{202e}",
        "Zyxw\u{2066}",
        "Zyxw\u{200b}",
        "Zyxw\u{feff}",
        "Zyxw\u{ad}",
        "Zyxw\u{fffd}",
        "Zyxw\u{fffe}",
        "Zyxw\u{fdd0}",
        "Zyxw\u{e0041}",
        "Zyxw'; DROP TABLE customers.customers; --\n!",
    ]
    .map(str::to_owned)
    .into();
    bad.retain(|name| name != "Zyxw");
    bad.push("Zyxw ".repeat(41));
    bad.push("Zyxw".repeat(100_000));
    bad
}

/// Two customers on whom changes are refused, one of them closed.
struct Customers {
    ann: Uuid,
    closed: Uuid,
}

const TAKEN: &str = "zyxw.taken@example.com";

impl Customers {
    fn register(client: &mut Client) -> Self {
        let mut register = |email: &str| {
            call(client, "register_customer($1, 'Zyxw')", &[&email]).expect("a good address").id
        };
        let (ann, closed) = (register("zyxw.ann@example.com"), register("zyxw.closed@example.com"));
        register(TAKEN);
        call(client, "set_status($1, 'CLOSED')", &[&closed]).unwrap();
        Self { ann, closed }
    }
}

/// Every refusal of every function and trigger.
fn cases(customers: &Customers) -> Vec<Case> {
    let ann = customers.ann.to_string();
    let closed = customers.closed.to_string();
    let (ann, closed) = (ann.as_str(), closed.as_str());
    let nobody = "00000000-0000-0000-0000-000000000404";
    let good = "zyxw.good@example.com";
    let json = |field: &str, text: &str| json!({ field: text }).to_string();
    let table = "customers.customers";
    let mut cases = Vec::new();

    for bad in bad_addresses() {
        let bad = bad.as_str();
        cases.extend([
            case("22023", "SELECT customers.register_customer($1::text, 'Zyxw')", [bad]),
            case("22023", "SELECT customers.register_customer($1::text, NULL, $2::text::uuid)", [bad, nobody]),
            case("22023", "SELECT customers.update_customer($1::text::uuid, $2::text)", [ann, bad]),
            case("22023", "SELECT customers.patch_customer($1::text::uuid, $2::text::jsonb)", [ann, &json("email", bad)]),
            case("22023", "SELECT * FROM customers.find_customer($1::text)", [bad]).unless_reserved(bad),
            case("22023", &format!("INSERT INTO {table} (email) VALUES ($1::text)"), [bad]),
            case("22023", &format!("UPDATE {table} SET email = $2::text WHERE customer_id = $1::text::uuid"), [ann, bad]),
            case(
                "22023",
                &format!("INSERT INTO {table} (email) VALUES ($1::text) ON CONFLICT (email) DO UPDATE SET email = $2::text"),
                [TAKEN, bad],
            ),
        ]);
    }
    for bad in bad_names() {
        let bad = bad.as_str();
        cases.extend([
            case("22023", "SELECT customers.register_customer($1::text, $2::text)", [good, bad]),
            case(
                "22023",
                "SELECT customers.register_customer($1::text, $2::text, $3::text::uuid)",
                [good, bad, ann],
            ),
            case(
                "22023",
                "SELECT customers.update_customer($1::text::uuid, name => $2::text)",
                [ann, bad],
            ),
            case(
                "22023",
                "SELECT customers.patch_customer($1::text::uuid, $2::text::jsonb)",
                [ann, &json("name", bad)],
            ),
            case(
                "22023",
                &format!("INSERT INTO {table} (email, name) VALUES ($1::text, $2::text)"),
                [good, bad],
            ),
            case(
                "22023",
                &format!("UPDATE {table} SET name = $2::text WHERE customer_id = $1::text::uuid"),
                [ann, bad],
            ),
        ]);
    }
    for bad in ["zyxw", "", "active", "zyxw'; --", "ACTIVE\u{202e}zyxw", &"zyxw".repeat(1000)] {
        cases.extend([
            case(
                "22023",
                "SELECT customers.set_status($1::text::uuid, $2::text, 'Zyxw')",
                [ann, bad],
            ),
            case(
                "22023",
                "SELECT customers.update_customer($1::text::uuid, status => $2::text)",
                [ann, bad],
            ),
            case(
                "22023",
                "SELECT customers.patch_customer($1::text::uuid, $2::text::jsonb)",
                [ann, &json("status", bad)],
            ),
            case("22023", "SELECT * FROM customers.list_customers($1::text)", [bad]),
            case(
                "22023",
                &format!("INSERT INTO {table} (email, status) VALUES ($1::text, $2::text)"),
                [good, bad],
            ),
            case(
                "22023",
                &format!("UPDATE {table} SET status = $2::text WHERE customer_id = $1::text::uuid"),
                [ann, bad],
            ),
        ]);
    }
    for bad in [
        "{}",
        "[]",
        "null",
        "1",
        "true",
        r#""zyxw""#,
        r#"["zyxw"]"#,
        r#"{"email": null}"#,
        r#"{"status": null}"#,
        r#"{"name": 1}"#,
        r#"{"email": ["zyxw"]}"#,
        r#"{"status": {"zyxw": "zyxw"}}"#,
        r#"{"password": "zyxw"}"#,
        r#"{"zyxw@example.com": 1}"#,
        r#"{"Zyxw Zyxw": "zyxw"}"#,
        r#"{"name": "Zyxw", "password": "zyxw"}"#,
    ] {
        cases.push(case(
            "22023",
            "SELECT customers.patch_customer($1::text::uuid, $2::text::jsonb)",
            [ann, bad],
        ));
    }
    for bad in ["{}", "null", "1", "true", r#""zyxw""#, r#"{"email": "zyxw@example.com"}"#] {
        cases.push(case(
            "22023",
            "SELECT * FROM customers.import_customers($1::text::jsonb)",
            [bad],
        ));
    }
    for bad in ["0", "-1", "1001", "1000000"] {
        cases.extend([
            case(
                "22023",
                "SELECT * FROM customers.list_customers(page_size => $1::text::int)",
                [bad],
            ),
            case(
                "22023",
                "SELECT * FROM customers.search_customers($2::text, $1::text::int)",
                [bad, SECRET],
            ),
        ]);
    }
    for bad in
        ["", " ", "zyxw zyxw", "zyxw\n", "zyxw\u{200b}"].map(|bad| format!("{bad}\u{202e}{bad}"))
    {
        cases.push(case("22023", "SELECT * FROM customers.search_customers($1::text)", [&bad]));
    }
    cases.push(case("22023", "SELECT * FROM customers.search_customers($1::text)", [""]));
    cases.extend(
        [
            "SELECT customers.register_customer($1::text, 'Zyxw')",
            "SELECT customers.update_customer($1::text::uuid, 'zyxw@example.com', 'Zyxw')",
            "SELECT customers.patch_customer($1::text::uuid, '{\"name\": \"Zyxw\"}')",
            "SELECT customers.patch_customer('00000000-0000-0000-0000-000000000404', $1::text::jsonb)",
            "SELECT customers.set_status($1::text::uuid, 'CLOSED', 'Zyxw')",
            "SELECT customers.set_status('00000000-0000-0000-0000-000000000404', $1::text, 'Zyxw')",
            "SELECT * FROM customers.find_customer($1::text)",
            "SELECT * FROM customers.search_customers($1::text)",
            "SELECT * FROM customers.search_customers('zyxw', $1::text::int)",
            "SELECT * FROM customers.list_customers(page_size => $1::text::int)",
            "SELECT * FROM customers.import_customers($1::text::jsonb)",
            "INSERT INTO customers.customers (email, name) VALUES ($1::text, 'Zyxw')",
            "UPDATE customers.customers SET name = 'Zyxw!', email = $1::text",
            "UPDATE customers.customers SET name = 'Zyxw!', status = $1::text",
        ]
        .map(null_case),
    );

    let insert_at = "INSERT INTO customers.customers (email, registered_at) VALUES ($1::text, $2::text::timestamptz)";
    cases.extend(
        ["2999-01-01", "infinity", "-infinity"].map(|when| case("22023", insert_at, [good, when])),
    );

    // Addresses and ids that are taken.
    let (spelled, fresh) = (" ZYXW.Taken@EXAMPLE.com ", "00000000-0000-0000-0000-000000000405");
    cases.extend([
        case("23505", "SELECT customers.register_customer($1::text, 'Zyxw')", [TAKEN]),
        case("23505", "SELECT customers.register_customer($1::text, 'Zyxw')", [spelled]),
        case(
            "23505",
            "SELECT customers.register_customer($1::text, 'Zyxw', $2::text::uuid)",
            [TAKEN, fresh],
        ),
        case(
            "23505",
            "SELECT customers.register_customer($1::text, 'Zyxw', $2::text::uuid)",
            [good, ann],
        ),
        case(
            "23505",
            "SELECT customers.register_customer($1::text, 'Zyxw', $2::text::uuid)",
            [TAKEN, ann],
        ),
        case("23505", "SELECT customers.update_customer($1::text::uuid, $2::text)", [ann, spelled]),
        case(
            "23505",
            "SELECT customers.patch_customer($1::text::uuid, $2::text::jsonb)",
            [ann, &json("email", TAKEN)],
        ),
    ]);
    // Closed accounts, immutable columns, rows that cannot be removed.
    cases.extend([
        case("23514", "SELECT customers.update_customer($1::text::uuid, $2::text)", [closed, good]),
        case(
            "23514",
            "SELECT customers.update_customer($1::text::uuid, name => $2::text)",
            [closed, "Zyxw!"],
        ),
        case(
            "23514",
            "SELECT customers.patch_customer($1::text::uuid, $2::text::jsonb)",
            [closed, &json("name", "Zyxw!")],
        ),
        case(
            "23514",
            "SELECT customers.set_status($1::text::uuid, 'ACTIVE', $2::text)",
            [closed, "Zyxw"],
        ),
        case(
            "23514",
            "UPDATE customers.customers SET name = $2::text WHERE customer_id = $1::text::uuid",
            [closed, "Zyxw!"],
        ),
        case(
            "23514",
            "UPDATE customers.customers SET customer_id = gen_random_uuid() WHERE email = $1::text",
            [TAKEN],
        ),
        case(
            "23514",
            "UPDATE customers.customers SET registered_at = now() WHERE email = $1::text",
            [TAKEN],
        ),
        case("23514", "DELETE FROM customers.customers WHERE email = $1::text", [TAKEN]),
        case("23514", "DELETE FROM customers.events WHERE changes ->> 'email' = $1::text", [TAKEN]),
        case("23514", "UPDATE customers.events SET reason = $1::text", ["Zyxw"]),
        case("23514", "TRUNCATE customers.customers /* zyxw */", []),
        case("23514", "TRUNCATE customers.events /* zyxw */", []),
    ]);
    // Batches, persons, duties, consumers and positions.
    let (long, many) = ("zyxw".repeat(51), "1000000");
    cases.extend([
        case(
            "22023",
            "SELECT * FROM customers.import_customers($1::text::jsonb)",
            [&json("email", good)],
        ),
        case("22023", "SELECT * FROM customers.import_customers($1::text::jsonb)", [r#""zyxw""#]),
        case(
            "PT404",
            "SELECT customers.erase_customer($1::text::uuid, $2::text)",
            [nobody, "Zyxw"],
        ),
        case("PT404", "SELECT customers.export_customer($1::text::uuid)", [nobody]),
        case("22023", "SELECT customers.grant_access('postgres', $1::text)", ["Zyxw"]),
        case("22023", "SELECT customers.grant_access($1::text::oid, $2::text)", [many, "writer"]),
        case("22023", "SELECT customers.revoke_access('postgres', $1::text)", ["Zyxw"]),
        case("22023", "SELECT customers.revoke_access($1::text::oid, $2::text)", [many, "writer"]),
        case("22023", "SELECT customers.subscribe($1::text)", [&long]),
        case("22023", "SELECT customers.subscribe($1::text)", [""]),
        case("22023", "SELECT customers.subscribe($1::text, $2::text::bigint)", [SECRET, many]),
        case("22023", "SELECT customers.subscribe($1::text, $2::text::bigint)", [SECRET, "-1"]),
        case("22023", "SELECT customers.unsubscribe($1::text)", [&long]),
        case("PT404", "SELECT * FROM customers.fetch_events($1::text)", [SECRET]),
        case("PT404", "SELECT customers.acknowledge($1::text, $2::text::bigint)", [SECRET, "0"]),
        case("PT404", "SELECT customers.acknowledge($1::text, $2::text::bigint)", [SECRET, many]),
        case("PT410", "SELECT * FROM customers.read_events($1::text::bigint)", [many]),
        case("22023", "SELECT * FROM customers.read_events(0, $1::text::int)", ["0"]),
        case("22023", "SELECT customers.prune_events($1::text::interval)", ["-1 second"]),
    ]);
    cases.extend(
        [
            "SELECT * FROM customers.import_customers($1::text::jsonb)",
            "SELECT customers.erase_customer($1::text::uuid, 'Zyxw')",
            "SELECT customers.export_customer($1::text::uuid)",
            "SELECT customers.grant_access('postgres', $1::text)",
            "SELECT customers.grant_access($1::text::regrole, 'Zyxw')",
            "SELECT customers.revoke_access('postgres', $1::text)",
            "SELECT customers.revoke_access($1::text::regrole, 'Zyxw')",
            "SELECT customers.subscribe($1::text)",
            "SELECT customers.subscribe('zyxw', $1::text::bigint)",
            "SELECT customers.unsubscribe($1::text)",
            "SELECT customers.acknowledge('zyxw', $1::text::bigint)",
            "SELECT * FROM customers.read_events($1::text::bigint)",
            "SELECT customers.prune_events($1::text::interval)",
        ]
        .map(null_case),
    );
    // Customers and versions that do not exist.
    for (sqlstate, id, version) in
        [("PT404", nobody, "1"), ("PT409", ann, "7"), ("PT409", closed, "7")]
    {
        cases.extend([
            case(sqlstate, "SELECT customers.update_customer($1::text::uuid, $2::text, expected_version => $3::text::bigint)", [id, good, version]),
            case(sqlstate, "SELECT customers.patch_customer($1::text::uuid, $2::text::jsonb, $3::text::bigint)", [id, &json("name", "Zyxw!"), version]),
            case(sqlstate, "SELECT customers.set_status($1::text::uuid, 'SUSPENDED', $2::text, $3::text::bigint)", [id, "Zyxw", version]),
        ]);
    }
    cases
}

impl Case {
    /// A look-up of a reserved address need not be refused, so register_customer is called with it instead.
    fn unless_reserved(mut self, address: &str) -> Self {
        if address.to_lowercase().starts_with("zyxw@erased") {
            self.statement = "SELECT customers.register_customer($1::text)".to_owned();
        }
        self
    }
}

#[test]
fn every_refusal_through_bound_parameters_is_discreet() {
    let server = logging_everything();
    let mut client = server.database().connect();
    let cases = cases(&Customers::register(&mut client));
    let before = contents(&mut client);
    for case in &cases {
        let statement = client.prepare(&case.statement).unwrap();
        let result = client.query(&statement, &case.bound());
        assert!(result.is_err(), "{} {:?}", case.statement, case.params);
        assert_ours(result, case);
    }
    assert_eq!(contents(&mut client), before);
    assert_discreet(&server.log(), cases.len());
    assert_logs_everything(&server, &mut client);
}

#[test]
fn every_refusal_of_a_statement_with_literals_is_discreet() {
    let server = logging_everything();
    let mut client = server.database().connect();
    let cases = cases(&Customers::register(&mut client));
    let before = contents(&mut client);
    for case in &cases {
        let result = client.simple_query(&case.literally());
        assert!(result.is_err(), "{}", case.literally());
        assert_ours(result, case);
    }
    assert_eq!(contents(&mut client), before);
    assert_discreet(&server.log(), cases.len());
    assert_logs_everything(&server, &mut client);
}

impl Case {
    /// Whether a role may call the functions that the statement calls.
    fn is_open_to(&self, role: &str, owner: &mut Client) -> bool {
        let may = "SELECT coalesce(bool_or(has_function_privilege($1, oid, 'EXECUTE')), false) FROM pg_proc
                    WHERE pronamespace = 'customers'::regnamespace AND strpos($2, 'customers.' || proname || '(') > 0";
        one(owner, may, &[&role, &self.statement])
    }
}

#[test]
fn every_refusal_of_what_a_duty_may_call_is_discreet() {
    let server = logging_everything();
    let database = server.database();
    let mut owner = database.connect();
    let cases = cases(&Customers::register(&mut owner));
    let before = contents(&mut owner);
    let mut refused = 0;
    // The duties support and auditor allow nothing that could be refused.
    for duty in ["writer", "reader", "consumer", "privacy", "operator"] {
        let role = role(&mut owner, "");
        owner
            .execute("SELECT customers.grant_access($1::text::regrole, $2)", &[&role, &duty])
            .unwrap();
        let mut client = database.connect_as(&role);
        let open: Vec<&Case> =
            cases.iter().filter(|case| case.is_open_to(&role, &mut owner)).collect();
        assert!(!open.is_empty(), "{duty}");
        for case in &open {
            assert_ours(client.query(&case.statement, &case.bound()), case);
        }
        refused += open.len();
    }
    assert_eq!(contents(&mut owner), before);
    assert_discreet(&server.log(), refused);
    assert_logs_everything(&server, &mut owner);
}

/// Refusals in the rows of an import, which are no errors.
#[test]
fn an_import_tells_nothing_of_those_it_refuses() {
    let server = logging_everything();
    let mut client = server.database().connect();
    let customers = Customers::register(&mut client);
    let before = contents(&mut client);
    let mut batch: Vec<serde_json::Value> =
        bad_addresses().into_iter().map(|bad| json!({ "email": bad })).collect();
    let with = |field: &str, value: &str| json!({ "email": "zyxw.good@example.com", field: value });
    batch.extend(bad_names().iter().map(|bad| with("name", bad)));
    batch.extend([
        with("status", SECRET),
        with("customerId", SECRET),
        with("registeredAt", SECRET),
        with("zyxw@example.com", SECRET),
        with("password", SECRET),
        with("customerId", &customers.ann.to_string()),
        json!({ "email": TAKEN, "customerId": customers.ann.to_string() }),
        json!(SECRET),
    ]);
    let count = batch.len();
    let import = "SELECT outcome, sqlstate, message FROM customers.import_customers($1)";
    let rows = client.query(import, &[&serde_json::Value::Array(batch)]).unwrap();
    assert_eq!(rows.len(), count);
    for row in rows {
        let (outcome, sqlstate, message): (String, String, String) =
            (row.get(0), row.get(1), row.get(2));
        assert_eq!(outcome, "refused", "{message}");
        assert!(["22023", "23505"].contains(&sqlstate.as_str()), "{sqlstate} {message}");
        assert!(!message.to_lowercase().contains(SECRET), "{message}");
    }
    assert_eq!(contents(&mut client), before);
    assert_discreet(&server.log(), 0);
}

/// Asserts what is promised of every refusal, and that it has no CONTEXT.
fn assert_ours<T>(result: Result<T, postgres::Error>, case: &Case) {
    let result = result.map_err(|error| {
        let what = error.as_db_error().unwrap_or_else(|| panic!("{error}"));
        assert_eq!(what.where_(), None, "{}", case.statement);
        assert_eq!(
            what.code().code(),
            case.sqlstate,
            "{} {:?}: {what:?}",
            case.statement,
            case.params
        );
        error
    });
    assert_refused(result, case.sqlstate, &[SECRET]);
}

#[test]
fn a_row_that_copy_reads_is_not_told() {
    let server = logging_everything();
    let mut client = server.database().connect();
    let before = contents(&mut client);
    let copied = ["email", "email, name"].map(|columns| {
        ["zyxw", "zyxw@example.com.", "zyxw\u{202e}@example.com", "\\N"].map(|bad| {
            let name = if columns == "email" { "" } else { "\tZyxw" };
            let statement = format!("COPY customers.customers ({columns}) FROM STDIN");
            let mut writer = client.copy_in(&statement).unwrap();
            writer
                .write_all(format!("fine.zyxw@example.com{name}\n{bad}{name}\n").as_bytes())
                .unwrap();
            let result = writer.finish();
            assert_eq!(result.as_ref().unwrap_err().as_db_error().unwrap().where_(), None);
            assert_refused(result, "22023", &[SECRET]);
        })
    });
    assert_eq!(contents(&mut client), before);
    assert_discreet(&server.log(), copied.as_flattened().len());
    assert_logs_everything(&server, &mut client);
}

/// A constraint violation inside a function: the error names the constraint and the table, and not the row.
#[test]
fn a_constraint_of_the_owners_is_named_without_the_row() {
    let server = logging_everything();
    let database = server.database();
    let register = "SELECT customers.register_customer($1, 'Zyxw')";
    let mut refused = 0;
    for (alter, sqlstate, constraint, column) in [
        (
            "ADD CONSTRAINT no_robots CHECK (email NOT LIKE 'zyxw%')",
            "23514",
            Some("no_robots"),
            None,
        ),
        ("ADD CONSTRAINT one_of_a_name UNIQUE (name)", "23505", Some("one_of_a_name"), None),
        ("ADD COLUMN region text NOT NULL", "23502", None, Some("region")),
        (
            "ADD COLUMN plan int CONSTRAINT plan_exists REFERENCES public.plans DEFAULT 7",
            "23503",
            Some("plan_exists"),
            None,
        ),
        (
            "ADD CONSTRAINT no_overlap EXCLUDE USING btree (name WITH =)",
            "23P01",
            Some("no_overlap"),
            None,
        ),
    ] {
        let database = server.database();
        let mut client = database.connect();
        client.batch_execute("CREATE TABLE public.plans (plan int PRIMARY KEY)").unwrap();
        if ["23505", "23P01"].contains(&sqlstate) {
            client.execute(register, &[&"zyxw.first@example.com"]).unwrap();
        }
        client.batch_execute(&format!("ALTER TABLE customers.customers {alter}")).unwrap();
        let before = contents(&mut client);
        for again in 0..2 {
            let email = format!("zyxw.{again}@example.com");
            let literal = register.replace("$1", &format!("'{email}'"));
            // An import skips a row that conflicts with another, so register_customer is called twice instead.
            let import = "SELECT customers.import_customers(jsonb_build_array(jsonb_build_object(
                              'email', $1::text, 'name', 'Zyxw')))";
            let import = if ["23505", "23P01"].contains(&sqlstate) { register } else { import };
            for result in [
                client.execute(register, &[&email]).map(|_| ()),
                client.execute(import, &[&email]).map(|_| ()),
                client.batch_execute(&literal),
                client
                    .execute(
                        "SELECT customers.register_customer($1, 'Zyxw', $2)",
                        &[&email, &Uuid::max()],
                    )
                    .map(|_| ()),
            ] {
                let error = refusal(result);
                assert_eq!(error.code().code(), sqlstate, "{error:?}");
                assert_eq!((error.schema(), error.table()), (Some("customers"), Some("customers")));
                assert_eq!((error.constraint(), error.column()), (constraint, column), "{error:?}");
                assert_eq!((error.detail(), error.where_()), (None, None), "{error:?}");
                assert!(!format!("{error:?}").to_lowercase().contains(SECRET), "{error:?}");
                refused += 1;
            }
        }
        assert_eq!(contents(&mut client), before);
    }
    assert_discreet(&server.log(), refused);
    assert_logs_everything(&server, &mut database.connect());
}

/// The same for an update.
#[test]
fn a_constraint_of_the_owners_is_named_on_a_change_too() {
    let server = logging_everything();
    let mut client = server.database().connect();
    let id = register_ann(&mut client).id;
    client.batch_execute("ALTER TABLE customers.customers ADD CONSTRAINT no_robots CHECK (email NOT LIKE 'zyxw%' AND name <> 'Zyxw' AND status <> 'SUSPENDED')").unwrap();
    let before = contents(&mut client);
    let changes = [
        "update_customer($1, 'zyxw@example.com')",
        "patch_customer($1, '{\"name\": \"Zyxw\"}')",
        "set_status($1, 'SUSPENDED', 'Zyxw')",
    ];
    for change in changes {
        let error = refusal(call(&mut client, change, &[&id]));
        assert_eq!((error.code().code(), error.constraint()), ("23514", Some("no_robots")));
        assert_eq!((error.detail(), error.where_()), (None, None), "{error:?}");
    }
    assert_eq!(contents(&mut client), before);
    assert_discreet(&server.log(), changes.len());
}

/// Runs `command` in a session that has to wait for the rows of `holder`, then commits `holder`.
fn meanwhile<T: Send>(
    database: &Database,
    holder: postgres::Transaction,
    command: impl FnOnce(&mut Client) -> T + Send,
) -> T {
    let (mut waiting, mut watching) = (database.connect(), database.connect());
    let pid: i32 = one(&mut waiting, "SELECT pg_backend_pid()", &[]);
    std::thread::scope(|scope| {
        let result = scope.spawn(move || command(&mut waiting));
        let waits = "SELECT cardinality(pg_blocking_pids($1)) > 0";
        while !one::<bool>(&mut watching, waits, &[&pid]) {
            assert!(!result.is_finished(), "nothing to wait for");
        }
        holder.commit().unwrap();
        result.join().unwrap()
    })
}

#[test]
fn an_address_that_two_sessions_race_for_is_refused_without_being_told() {
    let server = logging_everything();
    let database = server.database();
    let mut client = database.connect();
    let commands = [
        "update_customer($1, $2)",
        "patch_customer($1, jsonb_build_object('email', $2::text))",
        "register_customer($2, 'Zyxw', $1)",
    ];
    for (n, command) in commands.into_iter().enumerate() {
        let (ann, bea) = (register_ann(&mut client), register_ann(&mut client));
        let email = format!("zyxw.{n}@example.com");
        let id = if command.starts_with("register") { Uuid::from_u128(n as u128) } else { bea.id };
        let mut holder = client.transaction().unwrap();
        call(&mut holder, "update_customer($1, $2)", &[&ann.id, &email]).unwrap();
        let result = meanwhile(&database, holder, |late| call(late, command, &[&id, &email]));
        let error = refusal(result);
        assert_eq!((error.detail(), error.where_()), (None, None), "{error:?}");
        assert_refused(call(&mut client, command, &[&id, &email]), "23505", &[SECRET]);
        assert_eq!(error.code().code(), "23505", "{error:?}");
        assert!(error.hint().is_some() && !format!("{error:?}").contains(SECRET), "{error:?}");
    }
    assert_discreet(&server.log(), 2 * commands.len());
    assert_logs_everything(&server, &mut client);
}

/// The CONTEXT of a PostgreSQL error may hold the parameters: it must reach neither the log nor the client.
#[test]
fn a_write_that_gives_up_waiting_tells_nothing() {
    let server = logging_everything();
    let database = server.database();
    let (mut client, mut late) = (database.connect(), database.connect());
    let ann = register_ann(&mut client);
    let mut holder = client.transaction().unwrap();
    call(&mut holder, "update_customer($1, 'zyxw@example.com')", &[&ann.id]).unwrap();
    late.batch_execute("SET lock_timeout = '1ms'").unwrap();
    let error = refusal(call(
        &mut late,
        "update_customer($1, $2, $3)",
        &[&ann.id, &"zyxw.b@example.com", &"Zyxw"],
    ));
    assert_eq!(error.code().code(), "55P03", "{error:?}");
    assert!(!format!("{error:?}").to_lowercase().contains(SECRET), "{error:?}");
    holder.rollback().unwrap();
    assert_discreet(&server.log(), 1);
}

#[test]
fn a_read_that_gives_up_waiting_tells_nothing() {
    let server = logging_everything();
    let database = server.database();
    let (mut client, mut late) = (database.connect(), database.connect());
    client.batch_execute("BEGIN; LOCK TABLE customers.customers").unwrap();
    late.batch_execute("SET statement_timeout = '20ms'").unwrap();
    let reads = ["find_customer($1)", "search_customers($1)"];
    for read in reads {
        let query = format!("SELECT * FROM customers.{read}");
        let error = refusal(late.query(&query, &[&"zyxw@example.com"]));
        assert_eq!(error.code().code(), "57014", "{error:?}");
        assert_eq!(error.where_(), None, "{error:?}");
        assert!(!format!("{error:?}").to_lowercase().contains(SECRET), "{error:?}");
    }
    client.batch_execute("ROLLBACK").unwrap();
    assert_discreet(&server.log(), reads.len());
    assert_logs_everything(&server, &mut client);
}

/// jsonb holds numbers and nesting that serde_json refuses.
#[test]
fn a_patch_that_cannot_be_read_tells_nothing() {
    let server = logging_everything();
    let mut client = server.database().connect();
    let id = register_ann(&mut client).id;
    let deep = format!("{}\"zyxw\"{}", "[".repeat(500), "]".repeat(500));
    for unreadable in ["1e400", &deep] {
        let patch = format!(r#"{{"zyxw@example.com": "Zyxw", "name": {unreadable}}}"#);
        let result = call(&mut client, "patch_customer($1, $2::text::jsonb)", &[&id, &patch]);
        assert_refused(result, "22023", &[SECRET]);
    }
    assert_discreet(&server.log(), 2);
}

/// An error caused by a table that its owner has altered must not disclose the values either.
#[test]
fn a_broken_table_tells_nothing() {
    let server = logging_everything();
    let mut client = server.database().connect();
    let id = register_ann(&mut client).id;
    client
        .batch_execute("ALTER TABLE customers.customers RENAME COLUMN version TO edition")
        .unwrap();
    let update = "UPDATE customers.customers SET name = $2 WHERE customer_id = $1";
    let error = refusal(client.execute(update, &[&id, &"Zyxw"]));
    assert!(!format!("{error:?}").to_lowercase().contains(SECRET), "{error:?}");
    assert!(!format!("{error:?}").to_lowercase().contains("backtrace"), "{error:?}");
    assert!(!server.log().to_lowercase().contains("backtrace"), "{}", server.log());
}

#[test]
fn attach_refuses_what_is_no_table_of_customers() {
    let server = logging_everything();
    let database = server.empty_database("");
    let mut client = database.connect();
    client.batch_execute("CREATE SCHEMA customers; CREATE TABLE customers.customers (email text); CREATE EXTENSION customer_db").unwrap();
    let result = client.batch_execute("SELECT customers.attach()");
    let detail = refusal(client.batch_execute("SELECT customers.attach()"));
    assert_refused(result, "55000", &[]);
    assert!(detail.detail().is_some_and(|detail| detail.contains("customer_id")), "{detail:?}");

    client
        .batch_execute("CREATE ROLE stranger; ALTER TABLE customers.customers OWNER TO stranger")
        .unwrap();
    assert_refused(client.batch_execute("SELECT customers.attach()"), "42501", &[]);
    let tables: i64 =
        one(&mut client, "SELECT count(*) FROM pg_tables WHERE schemaname = 'customers'", &[]);
    assert_eq!(tables, 1);
}

/// SQL in a name is stored as a name, and so is any other hostile text that the rules allow.
#[test]
fn text_that_looks_like_sql_is_only_text() {
    let mut client = crate::kit::database().connect();
    for name in [
        "Robert'); DROP TABLE customers.customers; --",
        "$1",
        "$$; SELECT 1",
        "\\'",
        "%s%n",
        "NULL",
        "{\"a\": 1}",
    ] {
        let email = address();
        let id = call(&mut client, "register_customer($1, $2)", &[&email, &name]).unwrap().id;
        let changed =
            call(&mut client, "update_customer($1, name => $2)", &[&id, &format!("{name}{name}")])
                .unwrap();
        assert_eq!(changed.name, Some(format!("{name}{name}")));
        let patch = json!({ "name": name });
        let patched = call(&mut client, "patch_customer($1, $2)", &[&id, &patch]).unwrap();
        assert_eq!((patched.name.as_deref(), patched.version), (Some(name), 3));
        let history =
            "SELECT changes ->> 'name' FROM customers.customer_history($1) WHERE version = 3";
        assert_eq!(one::<String>(&mut client, history, &[&id]), name);
    }
    let email = "o'zyxw--{$1}@example.com";
    assert_eq!(call(&mut client, "register_customer($1)", &[&email]).unwrap().email, email);
    let mut transaction = client.transaction().unwrap();
    assert_eq!(count(&mut transaction), 8);
}

fn count(client: &mut impl GenericClient) -> i64 {
    one(client, "SELECT count(*) FROM customers.customers", &[])
}
