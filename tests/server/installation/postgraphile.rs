//! Promise: through eg/postgraphile, clients of GraphQL register and read customers, and are told of a refusal by its
//! SQLSTATE, without an address.

use crate::kit::example::{Example, Running, place};
use crate::kit::http::request;
use crate::kit::{Server, all, on_16, project, skipped};
use serde_json::{Value, json};
use std::fs;
use std::process::Command;

const EXAMPLE: Example = Example("postgraphile");
const FETCH: &str = include_str!("../../../bin/fetch-postgraphile");
/// The example's.
const ADDRESS: &str = "ann@example.com";

#[test]
fn postgraphile_serves_the_functions_and_passes_on_the_sqlstate_of_a_refusal() {
    let folder = project().join(".local/postgraphile");
    if !folder.exists() || Command::new("node").arg("--version").output().is_err() {
        skipped("no Node.js or no .local/postgraphile, see bin/fetch-postgraphile");
        return;
    }
    if !on_16() {
        return;
    }
    // schema.sql names its role.
    let server = Server::start(&[]);
    let database = server.database();
    EXAMPLE.psql("schema.sql", &database);
    assert_eq!(EXAMPLE.commands().len(), 3, "a command of the README that is not run here");
    let npm = EXAMPLE.commands().into_iter().find(|command| command.starts_with("npm install"));
    let package = npm.unwrap().split(' ').next_back().unwrap().to_owned();
    assert!(FETCH.contains(&format!("'{package}'")), "{package} is not what is tested");
    // Node.js looks for modules beside the program.
    let program = folder.join("server.mjs");
    fs::copy(project().join("eg/postgraphile/server.mjs"), &program).unwrap();
    let here = [
        ("@db/shop", place(&database)),
        ("PORT=5000", "PORT=0".to_owned()),
        ("server.mjs", program.to_str().unwrap().to_owned()),
    ];
    let (_process, port) = Running::server(&mut EXAMPLE.command("server.mjs", &here));
    let ask = |query: &str| -> (String, Value) {
        let headers = [("Content-Type", "application/json"), ("X-Actor", "agent 7")];
        let body = json!({"query": query}).to_string();
        let answer = request(port, "POST /graphql", &headers, body.as_bytes()).expect("an answer");
        (answer.body.clone(), answer.json())
    };
    let queries = EXAMPLE.blocks("graphql");
    let [register, find] = &queries[..] else { panic!("the README has {queries:?}") };

    let (_, registered) = ask(register);
    let customer = &registered["data"]["registerCustomer"]["customer"];
    assert_eq!((&customer["email"], &customer["version"]), (&json!(ADDRESS), &json!("1")));
    let actors = "SELECT actor FROM customers.events";
    assert_eq!(all::<String>(&mut database.connect(), actors, &[]), ["agent 7"]);

    let (body, refused) = ask(register);
    assert_eq!(refused["errors"][0]["errcode"], "23505", "{body}");
    let message: Value = serde_json::from_str(&EXAMPLE.blocks("json").concat()).unwrap();
    assert_eq!(refused["errors"][0]["message"], message);
    assert!(!body.to_lowercase().contains("ann"), "{body}");

    let (body, found) = ask(find);
    let expected = json!({"data": {"findCustomer": {"name": "Ann", "status": "ACTIVE"}}});
    assert_eq!(found, expected, "{body}");
    let id = &customer["customerId"];
    let get = format!("query {{ getCustomer(customerId: {id}) {{ email }} }}");
    assert_eq!(ask(&get).1, json!({"data": {"getCustomer": {"email": ADDRESS}}}));
    let update = format!(
        "mutation {{ updateCustomer(input: {{customerId: {id}, name: \"A\", expectedVersion: \"7\"}})
                     {{ customer {{ name }} }} }}"
    );
    assert_eq!(ask(&update).1["errors"][0]["errcode"], "PT409");
    let nobody = "query { findCustomer(email: \"nobody@example.com\") { name } }";
    assert_eq!(ask(nobody).1["data"]["findCustomer"], Value::Null);
    assert!(EXAMPLE.readme().lines().count() <= 40);
}
