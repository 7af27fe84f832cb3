//! Promise: reads return every customer they should, once, and change nothing.

use crate::kit::{
    Customer, Params, address, assert_refused, call, contents, database, one, register_ann,
};
use postgres::{Client, GenericClient};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use uuid::Uuid;

/// The customers that a read returns, as in "list_customers(page_size => 7)".
fn read(
    client: &mut impl GenericClient,
    function: &str,
    params: Params,
) -> Result<Vec<Customer>, postgres::Error> {
    let rows = client.query(&format!("SELECT * FROM customers.{function}"), params)?;
    Ok(rows.iter().map(Customer::from).collect())
}

fn emails(customers: Vec<Customer>) -> Vec<String> {
    customers.into_iter().map(|customer| customer.email).collect()
}

fn register(client: &mut Client, email: &str) -> Customer {
    call(client, "register_customer($1)", &[&email]).unwrap()
}

/// A suspended customer with several events.
pub fn ann_with_a_past(client: &mut Client) -> Customer {
    let id = register_ann(client).id;
    call(client, "update_customer($1, 'zyxw@example.com', 'Zyxw')", &[&id]).unwrap();
    call(client, "patch_customer($1, '{\"name\": null}')", &[&id]).unwrap();
    client.batch_execute("SET customer_db.actor = 'agent 7'").unwrap();
    call(client, "set_status($1, 'SUSPENDED', 'fraud')", &[&id]).unwrap()
}

/// Every set-returning function, with arguments that find this customer.
pub fn every_read(ann: &Customer) -> Vec<String> {
    let Customer { id, email, .. } = ann;
    vec![
        format!("get_customer('{id}')"),
        format!("find_customer('{email}')"),
        "list_customers()".to_owned(),
        "list_customers('SUSPENDED', NULL, 1)".to_owned(),
        "list_customers(after => '00000000-0000-0000-0000-000000000000')".to_owned(),
        "search_customers('zyx')".to_owned(),
        format!("customer_history('{id}')"),
        format!("customer_timeline('{id}')"),
    ]
}

#[test]
fn get_returns_the_customer_or_nothing() {
    let mut client = database().connect();
    let ann = register_ann(&mut client);
    assert_eq!(read(&mut client, "get_customer($1)", &[&ann.id]).unwrap(), [ann]);
    for nobody in [None, Some(Uuid::nil()), Some(Uuid::max())] {
        assert_eq!(read(&mut client, "get_customer($1)", &[&nobody]).unwrap(), []);
    }
}

#[test]
fn get_sees_what_its_own_transaction_wrote_and_nobody_else_sees_it() {
    let database = database();
    let (mut client, mut other) = (database.connect(), database.connect());
    let ann = register_ann(&mut client);
    let mut transaction = client.transaction().unwrap();
    let bea = call(&mut transaction, "update_customer($1, name => 'Bea')", &[&ann.id]).unwrap();
    assert_eq!(read(&mut transaction, "get_customer($1)", &[&ann.id]).unwrap(), [bea]);
    assert_eq!(
        read(&mut other, "get_customer($1)", &[&ann.id]).unwrap(),
        std::slice::from_ref(&ann)
    );
    transaction.rollback().unwrap();
    assert_eq!(read(&mut client, "get_customer($1)", &[&ann.id]).unwrap(), [ann]);
}

/// Like a plain SELECT in its place: what a statement writes is visible to the next one.
#[test]
fn a_read_sees_what_the_statement_it_stands_in_sees() {
    let mut client = database().connect();
    for read in
        ["get_customer(new.customer_id)", "find_customer(new.email)", "search_customers(new.email)"]
    {
        let found: i64 = one(
            &mut client,
            &format!(
                "WITH new AS (INSERT INTO customers.customers (email) VALUES ($1) RETURNING *)
                 SELECT count(*) FROM new, customers.{read}"
            ),
            &[&address()],
        );
        assert_eq!(found, 0, "{read}");
    }
}

#[test]
fn find_takes_any_spelling_of_the_address() {
    let mut client = database().connect();
    let jose = register(&mut client, "jos\u{e9}@b\u{fc}cher.example");
    for spelling in [
        "jos\u{e9}@b\u{fc}cher.example",
        "JOSE\u{301}@BU\u{308}CHER.EXAMPLE",
        " jos\u{e9}@xn--bcher-kva.example\r\n",
        "jos\u{e9}@b\u{fc}cher\u{3002}example",
    ] {
        let found = read(&mut client, "find_customer($1)", &[&spelling]).unwrap();
        assert_eq!(found, std::slice::from_ref(&jose), "{spelling:?}");
    }
    for other in ["jose@b\u{fc}cher.example", "jos_@bucher.example", "%@b\u{fc}cher.example"] {
        assert_eq!(read(&mut client, "find_customer($1)", &[&other]).unwrap(), [], "{other:?}");
    }
}

#[test]
fn find_refuses_what_is_no_address() {
    let mut client = database().connect();
    for bad in
        [None, Some(""), Some(" "), Some("zyxw"), Some("zyxw@"), Some("zy\u{200b}xw@example.com")]
    {
        assert_refused(read(&mut client, "find_customer($1)", &[&bad]), "22023", &["zyxw"]);
    }
}

/// 250 customers, among them the nil UUID and the greatest; every third is suspended.
fn register_250(client: &mut Client) {
    client
        .batch_execute(
            "INSERT INTO customers.customers (customer_id, email, status)
             SELECT CASE n WHEN 1 THEN '00000000-0000-0000-0000-000000000000'
                           WHEN 2 THEN 'ffffffff-ffff-ffff-ffff-ffffffffffff'
                           ELSE gen_random_uuid() END,
                    'person' || n || '@example.com',
                    CASE n % 3 WHEN 1 THEN 'SUSPENDED' ELSE 'ACTIVE' END
               FROM generate_series(1, 250) AS n",
        )
        .unwrap();
}

/// All pages, one after the other, until one is empty or short.
fn pages(client: &mut Client, status: Option<&str>, page_size: i32) -> Vec<Uuid> {
    let mut ids = Vec::new();
    loop {
        let last = ids.last().copied();
        let page =
            read(client, "list_customers($1, $2, $3)", &[&status, &last, &page_size]).unwrap();
        assert!(page.len() <= page_size as usize);
        assert!(page.iter().all(|customer| status.is_none_or(|wanted| customer.status == wanted)));
        ids.extend(page.iter().map(|customer| customer.id));
        if page.len() < page_size as usize {
            return ids;
        }
    }
}

#[test]
fn pages_hold_every_customer_once_in_order_of_their_ids() {
    let mut client = database().connect();
    register_250(&mut client);
    for page_size in [1, 7, 25, 100, 249, 250, 251, 1000] {
        let ids = pages(&mut client, None, page_size);
        assert_eq!(ids.len(), 250);
        assert!(ids.is_sorted_by(|a, b| a < b));
        assert_eq!((ids[0], ids[249]), (Uuid::nil(), Uuid::max()));
    }
    let first = read(&mut client, "list_customers()", &[]).unwrap();
    assert_eq!(first.len(), 100);
}

#[test]
fn pages_of_one_status_hold_each_of_its_customers_once() {
    let mut client = database().connect();
    register_250(&mut client);
    for page_size in [1, 10, 84, 1000] {
        let counts = ["ACTIVE", "SUSPENDED", "CLOSED"].map(|status| {
            let ids = pages(&mut client, Some(status), page_size);
            assert!(ids.is_sorted_by(|a, b| a < b));
            ids.len()
        });
        assert_eq!(counts, [166, 84, 0]);
    }
}

#[test]
fn a_page_starts_after_an_id_that_is_nobodys_too() {
    let mut client = database().connect();
    register_250(&mut client);
    let all: BTreeSet<Uuid> = pages(&mut client, None, 1000).into_iter().collect();
    for after in [1, u128::MAX / 2, u128::MAX - 1, u128::MAX].map(Uuid::from_u128) {
        let page = read(&mut client, "list_customers(NULL, $1, 1000)", &[&after]).unwrap();
        assert!(
            page.iter()
                .map(|customer| &customer.id)
                .eq(all.range(after..).filter(|id| **id != after))
        );
    }
}

#[test]
fn a_page_size_out_of_range_is_refused_never_cut() {
    let mut client = database().connect();
    register_250(&mut client);
    for function in ["list_customers(page_size => $1)", "search_customers('p', $1)"] {
        for bad in
            [Some(0), Some(-1), Some(1001), Some(1_000_000), Some(i32::MIN), Some(i32::MAX), None]
        {
            assert_refused(read(&mut client, function, &[&bad]), "22023", &[]);
        }
        for (good, rows) in [(1, 1), (1000, 250)] {
            assert_eq!(read(&mut client, function, &[&good]).unwrap().len(), rows);
        }
    }
}

#[test]
fn a_status_that_is_none_is_refused_and_not_an_empty_page() {
    let mut client = database().connect();
    for bad in ["", "active", "zyxw", "ACTIVE "] {
        assert_refused(read(&mut client, "list_customers($1)", &[&bad]), "22023", &["zyxw"]);
    }
}

#[test]
fn search_finds_addresses_by_their_beginning_in_order() {
    let mut client = database().connect();
    for email in
        ["anna@x.example", "ann@x.example", "Ann.B@x.example", "bea@x.example", "an@x.example"]
    {
        register(&mut client, email);
    }
    let anns = ["ann.b@x.example", "ann@x.example", "anna@x.example"];
    for prefix in ["ann", " ANN\n"] {
        assert_eq!(emails(read(&mut client, "search_customers($1)", &[&prefix]).unwrap()), anns);
    }
    for (prefix, rows) in
        [("ann@", 1), ("ann@x.exam", 1), ("ann@X.Example", 1), ("nn", 0), ("ann@x.examplex", 0)]
    {
        let found = read(&mut client, "search_customers($1)", &[&prefix]).unwrap();
        assert_eq!(found.len(), rows, "{prefix:?}");
    }
    let first_two = read(&mut client, "search_customers('ann', 2)", &[]).unwrap();
    assert_eq!(emails(first_two), anns[..2]);
}

#[test]
fn search_takes_wildcards_literally() {
    let mut client = database().connect();
    for email in ["a_b@x.example", "axb@x.example", "a%b@x.example", "%@x.example", "_@x.example"] {
        register(&mut client, email);
    }
    for (prefix, found) in [
        ("a_", "a_b@x.example"),
        ("a%", "a%b@x.example"),
        ("%", "%@x.example"),
        ("_", "_@x.example"),
    ] {
        assert_eq!(emails(read(&mut client, "search_customers($1)", &[&prefix]).unwrap()), [found]);
    }
    for none in ["\\", "a\\_", "a.*", "'", "' OR true --"] {
        let found = read(&mut client, "search_customers($1)", &[&none]);
        assert!(found.map_or(true, |rows| rows.is_empty()), "{none:?}");
    }
}

#[test]
fn search_finds_addresses_beyond_ascii() {
    let mut client = database().connect();
    register(&mut client, "jos\u{e9}@b\u{fc}cher.example");
    register(&mut client, "\u{20000}\u{20001}@x.example");
    for prefix in [
        "JOSE\u{301}",
        "jos\u{e9}",
        "jos\u{e9}@",
        "Jos\u{e9}@b\u{fc}cher.example",
        "jos",
        "\u{20000}",
        "\u{20000}\u{20001}@",
    ] {
        assert_eq!(
            read(&mut client, "search_customers($1)", &[&prefix]).unwrap().len(),
            1,
            "{prefix:?}"
        );
    }
    assert_eq!(read(&mut client, "search_customers('jos\u{e8}')", &[]).unwrap(), []);
}

/// The lower case of a capital sigma depends on what follows it, which is unknown in a prefix.
#[test]
fn search_refuses_an_empty_beginning_and_characters_that_no_address_holds() {
    let mut client = database().connect();
    for bad in
        [None, Some(""), Some(" \t"), Some("zyxw zyxw"), Some("zyxw\u{200b}"), Some("zyxw\n@")]
    {
        assert_refused(read(&mut client, "search_customers($1)", &[&bad]), "22023", &["zyxw"]);
    }
}

#[test]
fn history_tells_every_event_in_order_with_values() {
    let mut client = database().connect();
    let other = register_ann(&mut client);
    let ann = ann_with_a_past(&mut client);
    call(&mut client, "update_customer($1, name => 'Bea')", &[&other.id]).unwrap();

    let history = client.query("SELECT * FROM customers.customer_history($1)", &[&ann.id]).unwrap();
    let column =
        |name: &str| history.iter().map(|row| row.get(name)).collect::<Vec<Option<String>>>();
    assert_eq!(column("type")[0].as_deref(), Some("customer-registered"));
    assert!(column("type")[1..].iter().all(|kind| kind.as_deref() == Some("customer-updated")));
    assert!(history.iter().map(|row| row.get::<_, i64>("version")).eq(1..=4));
    assert!(history.is_sorted_by_key(|row| row.get::<_, i64>("position")));
    let changes: Vec<Value> = history.iter().map(|row| row.get("changes")).collect();
    assert_eq!((&changes[0]["name"], &changes[0]["status"]), (&json!("Ann"), &json!("ACTIVE")));
    assert_eq!(
        changes[1..],
        [
            json!({"email": "zyxw@example.com", "name": "Zyxw"}),
            json!({"name": null}),
            json!({"status": "SUSPENDED"})
        ]
    );
    let who = Some("postgres".to_owned());
    assert_eq!(column("recorded_by"), [who.clone(), who.clone(), who.clone(), who]);
    assert_eq!(column("actor"), [None, None, None, Some("agent 7".to_owned())]);
    assert_eq!(column("reason"), [None, None, None, Some("fraud".to_owned())]);
    let moments: Vec<std::time::SystemTime> =
        history.iter().map(|row| row.get("occurred_at")).collect();
    assert_eq!((moments[0], moments[3]), (ann.registered_at, ann.updated_at));
    assert_eq!(
        history.iter().map(|row| row.get::<_, Uuid>("event_id")).collect::<BTreeSet<_>>().len(),
        4
    );
}

#[test]
fn timeline_tells_the_same_without_a_value() {
    let mut client = database().connect();
    let ann = ann_with_a_past(&mut client);
    let timeline =
        client.query("SELECT * FROM customers.customer_timeline($1)", &[&ann.id]).unwrap();
    let changed: Vec<Vec<String>> = timeline.iter().map(|row| row.get("changed")).collect();
    assert_eq!(
        changed,
        [vec!["email", "name", "status"], vec!["email", "name"], vec!["name"], vec!["status"]]
    );
    assert_eq!(timeline[3].get::<_, &str>("reason"), "fraud");
    assert_eq!(timeline[3].get::<_, &str>("actor"), "agent 7");

    let everything: String = one(
        &mut client,
        "SELECT json_agg(t)::text FROM customers.customer_timeline($1) AS t",
        &[&ann.id],
    );
    for secret in ["zyxw", "@", "Ann", "person", "SUSPENDED", "ACTIVE"] {
        assert!(
            !everything.to_lowercase().contains(&secret.to_lowercase()),
            "{secret} in {everything}"
        );
    }
    let same: bool = one(
        &mut client,
        "SELECT array_agg((t.version, t.occurred_at, t.type, t.recorded_by, t.actor, t.reason)::text)
              = (SELECT array_agg((h.version, h.occurred_at, h.type, h.recorded_by, h.actor, h.reason)::text)
                   FROM customers.customer_history($1) AS h)
           FROM customers.customer_timeline($1) AS t",
        &[&ann.id],
    );
    assert!(same);
}

#[test]
fn nobody_has_neither_history_nor_timeline() {
    let mut client = database().connect();
    ann_with_a_past(&mut client);
    for function in ["customer_history", "customer_timeline"] {
        for nobody in [None, Some(Uuid::nil())] {
            let call = format!("SELECT * FROM customers.{function}($1)");
            assert!(client.query(&call, &[&nobody]).unwrap().is_empty());
        }
    }
}

#[test]
fn no_read_assigns_a_transaction_id() {
    let mut client = database().connect();
    let ann = ann_with_a_past(&mut client);
    let assigned = "SELECT pg_current_xact_id_if_assigned() IS NOT NULL";
    let mut transaction = client.transaction().unwrap();
    for function in every_read(&ann) {
        // Twice: the statement is prepared only at the first call.
        for _ in 0..2 {
            let rows =
                transaction.query(&format!("SELECT * FROM customers.{function}"), &[]).unwrap();
            assert!(!rows.is_empty(), "{function}");
            assert!(!one::<bool>(&mut transaction, assigned, &[]), "{function}");
        }
    }
    register_ann(&mut transaction);
    assert!(one::<bool>(&mut transaction, assigned, &[]), "a write does assign one");
}

#[test]
pub fn every_read_works_in_a_read_only_transaction() {
    let mut client = database().connect();
    let ann = ann_with_a_past(&mut client);
    let before = contents(&mut client);
    for isolation in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        client.batch_execute(&format!("BEGIN ISOLATION LEVEL {isolation} READ ONLY")).unwrap();
        for function in every_read(&ann) {
            let rows = client.query(&format!("SELECT * FROM customers.{function}"), &[]).unwrap();
            assert!(!rows.is_empty(), "{function}");
        }
        client.batch_execute("COMMIT").unwrap();
    }
    assert_eq!(contents(&mut client), before);
}

#[test]
fn a_read_gives_the_same_in_the_target_list_as_in_from() {
    let mut client = database().connect();
    let ann = ann_with_a_past(&mut client);
    register_ann(&mut client);
    for function in every_read(&ann) {
        let agree: bool = one(
            &mut client,
            &format!(
                "SELECT count(*) > 0 AND array_agg(f::text)
                      = (SELECT array_agg(t::text) FROM (SELECT customers.{function} AS t) AS listed)
                   FROM customers.{function} AS f"
            ),
            &[],
        );
        assert!(agree, "{function}");
        let expanded = client.query(&format!("SELECT (customers.{function}).*"), &[]).unwrap();
        assert!(!expanded.is_empty(), "{function}");
    }
}

#[test]
fn a_read_can_be_joined_to_many_rows() {
    let mut client = database().connect();
    register_250(&mut client);
    let wrong: i64 = one(
        &mut client,
        "SELECT 250 - count(*)
           FROM customers.customers AS c,
                customers.get_customer(c.customer_id) AS g,
                customers.find_customer(upper(c.email)) AS f,
                customers.customer_history(c.customer_id) AS h,
                customers.customer_timeline(c.customer_id) AS t
          WHERE g.email = c.email AND f.customer_id = c.customer_id
            AND h.changes ->> 'email' = c.email AND t.version = c.version",
        &[],
    );
    assert_eq!(wrong, 0);
}
