//! The cost of the promises, as ratios measured in one run. The variants take turns, so that a drift in the
//! machine's speed affects all alike. `make bench` builds for release first.

#[allow(dead_code)] // the tests use all of it
#[path = "../tests/server/kit/mod.rs"]
mod kit;
mod measuring;

use measuring::{private_memory, report, timed};
use postgres::{Client, Statement};
use uuid::Uuid;

const ROUNDS: usize = 9;

fn main() {
    // cargo test runs benches too, without --bench.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let server = kit::Server::start(&["shared_buffers = 512MB", "max_wal_size = 8GB"]);
    let database = server.database();
    let mut client = database.connect();
    client.batch_execute(include_str!("plpgsql_equivalent.sql")).unwrap();

    println!("\nmedian of {ROUNDS} rounds (lowest to highest)\n");
    registering(&mut client);
    bulk(&mut client);
    reading(&mut client);
    memory(&mut client);
}

fn registering(client: &mut Client) {
    let mut round = 0;
    let mut call = |client: &mut Client, what: &str| {
        round += 1;
        timed(|| client.batch_execute(&format!("CALL register_{what}(10000, '-{round}')")).unwrap())
    };
    for notify in ["off", "transaction"] {
        client.batch_execute(&format!("SET customer_db.notify = '{notify}'")).unwrap();
        let (mut to_bare, mut to_twin, mut to_undefended) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let bare = call(client, "bare");
            let ours = call(client, "ours");
            let undefended = call(client, "undefended");
            let twin = call(client, "twin");
            to_bare.push(ours / bare);
            to_twin.push(twin / ours);
            to_undefended.push(ours / undefended);
        }
        report(
            &format!("register_customer / bare INSERT, notify {notify}"),
            "at most 2.0",
            to_bare,
        );
        report(
            &format!("PL/pgSQL twin / register_customer, notify {notify}"),
            "at least 1.5",
            to_twin,
        );
        report(
            &format!("in one transaction / without SECURITY DEFINER, {notify}"),
            "nothing; see 16 clients",
            to_undefended,
        );
    }
}

fn bulk(client: &mut Client) {
    let mut ratios = Vec::new();
    for round in 0..5 {
        let mut insert = |table: &str| {
            timed(|| {
                let sql = format!(
                    "INSERT INTO {table} (email, name)
                     SELECT 'b' || i || '-{round}@example.com', 'Customer Name'
                       FROM generate_series(1, 200000) AS i"
                );
                client.batch_execute(&sql).unwrap();
            })
        };
        ratios.push(1.0 / (insert("bare") / insert("customers.customers")));
    }
    report("200,000 by INSERT … SELECT / into bare", "at most 2.5", ratios);
}

fn reading(client: &mut Client) {
    let ids: Vec<Uuid> = client
        .query("SELECT customer_id FROM customers.customers LIMIT 5000", &[])
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    let columns = "customer_id, email, name, status, registered_at, updated_at, version";
    let select = client
        .prepare(&format!("SELECT {columns} FROM customers.customers WHERE customer_id = $1"))
        .unwrap();
    let get = client.prepare("SELECT * FROM customers.get_customer($1)").unwrap();
    let mut all = |statement: &Statement| {
        timed(|| {
            for id in &ids {
                client.query_one(statement, &[id]).unwrap();
            }
        })
    };
    let ratios = (0..3 * ROUNDS).map(|_| all(&select) / all(&get)).collect();
    report("get_customer, of a SELECT's transactions a second", "at least 0.95", ratios);
}

/// A million registrations in one session: half in one transaction, half in a transaction each.
fn memory(client: &mut Client) {
    client.batch_execute("SET customer_db.notify = 'off'").unwrap();
    let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).unwrap().get(0);
    println!("\nmemory of a session                        contexts, kB   private, kB");
    let show = |client: &mut Client, when: &str| {
        let contexts: i64 = client
            .query_one(
                "SELECT sum(total_bytes)::bigint / 1024 FROM pg_backend_memory_contexts",
                &[],
            )
            .unwrap()
            .get(0);
        println!("{when:<43}{contexts:>12}  {:>12}", private_memory(pid));
    };
    client.batch_execute("CALL register_ours(1000, '-warm')").unwrap();
    show(client, "after 1,000 registrations");
    client.batch_execute("CALL register_ours(500000, '-one')").unwrap();
    show(client, "after 500,000 more in one transaction");
    for part in ["first", "second"] {
        client.batch_execute(&format!("CALL register_ours_committing(250000, '-{part}')")).unwrap();
        show(client, &format!("after the {part} 250,000 in a transaction each"));
    }
}
