//! Customers with sqlx: with_sqlx CONNECTION ADDRESS
use serde_json::json;
use sqlx::postgres::{PgArguments, PgPool, PgPoolOptions, PgRow};
use sqlx::{Postgres, Row, query, query::Query};
use std::error::Error;
use uuid::Uuid;

type Call<'a> = Query<'a, Postgres, PgArguments>;

/// A statement that is not persistent leaves nothing on the server. sqlx still parses and executes it in two messages:
/// through PgBouncer in transaction mode, only a transaction makes both reach the same connection of the server.
async fn one(pool: &PgPool, actor: Option<&str>, call: Call<'_>) -> sqlx::Result<Option<PgRow>> {
    let mut transaction = pool.begin().await?;
    if let Some(actor) = actor {
        let set = query("SELECT set_config('customer_db.actor', $1, true)").bind(actor);
        set.persistent(false).execute(&mut *transaction).await?; // forgotten when the transaction ends
    }
    let row = call.persistent(false).fetch_optional(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(row)
}

fn refused(what: &str, answer: sqlx::Result<Option<PgRow>>) {
    let error = answer.expect_err(what);
    eprintln!("{what}: {error:?}");
    let error = error.as_database_error().expect("the server has answered");
    println!("{what}: {} {:?}", error.code().expect("a SQLSTATE"), error.kind());
}

fn status(what: &str, row: &PgRow) {
    println!("{what}: {}, version {}", row.get::<&str, _>("status"), row.get::<i64, _>("version"));
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let [connection, address] = &std::env::args().skip(1).collect::<Vec<_>>()[..] else {
        return Err("with_sqlx CONNECTION ADDRESS".into());
    };
    let pool = PgPoolOptions::new().max_connections(2).connect(connection).await?;
    let one = async |call| one(&pool, None, call).await;

    let register = |email, name| {
        query("SELECT * FROM customers.register_customer($1, $2)").bind::<String>(email).bind(name)
    };
    let given = format!(" {} ", address.to_uppercase());
    let ann = one(register(given, Some("Ann Example"))).await?.expect("a customer");
    let (id, version): (Uuid, i64) = (ann.get("customer_id"), ann.get("version"));
    status("registered", &ann);
    refused("the address again", one(register(address.clone(), None)).await);
    refused("no address", one(register(address.replace('@', "#"), None)).await);
    refused("a name with a NUL", one(register(format!("x{address}"), Some("Ann\0"))).await);

    let get = |id| query("SELECT * FROM customers.get_customer($1)").bind::<Uuid>(id);
    println!("by id: {}", one(get(id)).await?.expect("a customer").get::<&str, _>("name"));
    let find = query("SELECT * FROM customers.find_customer($1)").bind(address);
    println!("by address: {}", one(find).await?.expect("a customer").get::<&str, _>("name"));
    let none = one(get(Uuid::new_v4())).await?;
    println!("no such id: {}", none.map_or("no row".to_owned(), |row| row.get("name")));
    // An i32 is sent as int4, an i64 as int8, which page_size is not.
    let page = query("SELECT * FROM customers.list_customers(page_size => $1)").bind(1i32);
    println!("a page: {}", one(page).await?.iter().count());

    let patch = |id, changes, version| {
        let patch = query("SELECT * FROM customers.patch_customer($1, $2, $3)").bind::<Uuid>(id);
        patch.bind::<serde_json::Value>(changes).bind::<Option<i64>>(version)
    };
    let patched = one(patch(id, json!({"name": "Ann E. Example"}), Some(version))).await?;
    let patched = patched.expect("a customer");
    println!(
        "patched: {}, version {}",
        patched.get::<&str, _>("name"),
        patched.get::<i64, _>("version")
    );
    let update =
        query("SELECT * FROM customers.update_customer($1, name => $2, expected_version => $3)");
    refused("an old version", one(update.bind(id).bind("Bea").bind(version)).await);
    refused(
        "a patch of no such id",
        one(patch(Uuid::new_v4(), json!({"name": "Bea"}), None)).await,
    );

    let set_status = |status, reason| {
        let set_status = query("SELECT * FROM customers.set_status($1, $2, $3)").bind(id);
        set_status.bind::<&str>(status).bind::<Option<&str>>(reason)
    };
    let suspended =
        self::one(&pool, Some("agent 7"), set_status("SUSPENDED", Some("fraud"))).await?;
    status("by agent 7", &suspended.expect("a customer"));
    status("closed", &one(set_status("CLOSED", None)).await?.expect("a customer"));
    refused("a closed account", one(set_status("ACTIVE", None)).await);
    refused(
        "the feed",
        one(query("SELECT * FROM customers.read_events($1)").bind(1_000_000i64)).await,
    );
    Ok(())
}
