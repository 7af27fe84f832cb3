//! Promise: the four reads of the duty reader return what the caller's SELECT on the table returns, at the
//! same cost.

use crate::kit::{Database, all, call, caller, database, one, refusal, role};
use postgres::Client;
use std::collections::BTreeSet;
use uuid::Uuid;

/// The reads, for one customer; all addresses begin with "reads".
fn reads(id: Uuid, email: &str) -> [String; 4] {
    [
        format!("get_customer('{id}')"),
        format!("find_customer('{email}')"),
        "list_customers()".to_owned(),
        "search_customers('reads')".to_owned(),
    ]
}

/// A database with an active and a suspended customer, and their ids and addresses.
fn with_two() -> (Database<'static>, [(Uuid, String); 2]) {
    let database = database();
    let mut client = database.connect();
    let customers = ["ACTIVE", "SUSPENDED"].map(|status| {
        let email = format!("reads-{}@example.com", status.to_lowercase());
        let customer = call(&mut client, "register_customer($1, $2)", &[&email, &status]).unwrap();
        call(&mut client, "set_status($1, $2)", &[&customer.id, &status]).unwrap();
        (customer.id, email)
    });
    (database, customers)
}

fn reader(owner: &mut Client) -> String {
    let reader = role(owner, "");
    let grant = format!("SELECT customers.grant_access('{reader}', 'reader')");
    owner.batch_execute(&grant).unwrap();
    reader
}

/// Asserts that every read returns, of these customers, exactly those in `seen`.
fn assert_sees(client: &mut Client, customers: &[(Uuid, String)], seen: &[Uuid]) {
    let seen: BTreeSet<Uuid> = seen.iter().copied().collect();
    for (id, email) in customers {
        for read in reads(*id, email) {
            let one_of_all = !read.starts_with("list") && !read.starts_with("search");
            let wanted = seen.iter().copied().filter(|seen| !one_of_all || seen == id);
            let query = format!("SELECT customer_id FROM customers.{read}");
            let found: BTreeSet<Uuid> = all(client, &query, &[]).into_iter().collect();
            assert_eq!(found, wanted.collect(), "{read}");
        }
    }
}

#[test]
fn a_policy_of_the_owners_holds_for_every_read() {
    let (database, customers) = with_two();
    let mut owner = database.connect();
    let (narrow, wide) = (reader(&mut owner), reader(&mut owner));
    owner
        .batch_execute(&format!(
            "ALTER TABLE customers.customers ENABLE ROW LEVEL SECURITY;
             CREATE POLICY narrow ON customers.customers FOR SELECT TO {narrow} USING (status = 'ACTIVE');
             CREATE POLICY wide ON customers.customers FOR SELECT TO {wide} USING (true)"
        ))
        .unwrap();
    let (active, both) = ([customers[0].0], [customers[0].0, customers[1].0]);
    assert_sees(&mut database.connect_as(&narrow), &customers, &active);
    assert_sees(&mut database.connect_as(&wide), &customers, &both);
    let none = reader(&mut owner);
    assert_sees(&mut database.connect_as(&none), &customers, &[]);

    // One session takes one role after another, with the plans that it keeps.
    for _ in 0..2 {
        for (role, seen) in
            [(&narrow, &active[..]), (&wide, &both), (&none, &[]), (&"postgres".to_owned(), &both)]
        {
            owner.batch_execute(&format!("SET ROLE {role}")).unwrap();
            assert_sees(&mut owner, &customers, seen);
        }
    }
}

#[test]
fn a_policy_may_ask_who_reads() {
    let (database, customers) = with_two();
    let mut owner = database.connect();
    let reader = reader(&mut owner);
    owner
        .batch_execute(&format!(
            "UPDATE customers.customers SET name = '{reader}' WHERE status = 'SUSPENDED';
             ALTER TABLE customers.customers ENABLE ROW LEVEL SECURITY;
             CREATE POLICY own ON customers.customers FOR SELECT USING (name = current_user)"
        ))
        .unwrap();
    assert_sees(&mut database.connect_as(&reader), &customers, &[customers[1].0]);
}

#[test]
fn with_row_security_off_every_read_refuses_what_a_policy_would_hide() {
    let (database, customers) = with_two();
    let mut owner = database.connect();
    let reader = reader(&mut owner);
    owner.batch_execute("ALTER TABLE customers.customers ENABLE ROW LEVEL SECURITY").unwrap();
    let mut client = database.connect_as(&reader);
    client.batch_execute("SET row_security = off").unwrap();
    for read in reads(customers[0].0, &customers[0].1) {
        let error = refusal(client.query(&format!("SELECT * FROM customers.{read}"), &[]));
        assert_eq!(error.code().code(), "42501", "{read}");
    }
}

#[test]
fn who_may_call_a_read_and_not_select_reads_nothing() {
    let (database, customers) = with_two();
    let mut owner = database.connect();
    let caller = caller(&mut owner);
    let mut client = database.connect_as(&caller);
    let refuses = |client: &mut Client| {
        for read in reads(customers[0].0, &customers[0].1) {
            let error = refusal(client.query(&format!("SELECT * FROM customers.{read}"), &[]));
            assert_eq!(error.code().code(), "42501", "{read}");
        }
    };
    refuses(&mut client);
    owner.batch_execute(&format!("GRANT SELECT ON customers.customers TO {caller}")).unwrap();
    assert_sees(&mut client, &customers, &[customers[0].0, customers[1].0]);
    owner.batch_execute(&format!("REVOKE SELECT ON customers.customers FROM {caller}")).unwrap();
    refuses(&mut client);
}

#[test]
fn get_customer_is_planned_as_the_select_by_key_is() {
    let (database, customers) = with_two();
    let mut owner = database.connect();
    let language = "SELECT lanname::text FROM pg_proc JOIN pg_language ON pg_language.oid = prolang
                     WHERE pg_proc.oid = 'customers.get_customer'::regproc";
    assert_eq!(one::<String>(&mut owner, language, &[]), "sql");
    let reader = reader(&mut owner);
    for mut client in [database.connect_as(&reader), owner] {
        client.batch_execute("SET enable_seqscan = off").unwrap();
        let id = customers[0].0;
        let mut plan = |query: &str| -> Vec<String> {
            all(&mut client, &format!("EXPLAIN (COSTS off) {query}"), &[])
        };
        // An index scan alone, without a function scan around it.
        let call = plan(&format!("SELECT * FROM customers.get_customer('{id}')"));
        assert!(call[0].starts_with("Index Scan using customers_pkey"), "{call:?}");
        assert_eq!(call.len(), 2, "{call:?}");
        let join = plan(&format!(
            "SELECT c.email FROM unnest('{{{id}}}'::uuid[]) AS known (id), customers.get_customer(id) AS c"
        ));
        assert!(join.iter().any(|line| line.contains("customers_pkey")), "{join:?}");
    }
}
