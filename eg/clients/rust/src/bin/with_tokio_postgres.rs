//! Customers with tokio-postgres: with_tokio_postgres CONNECTION ADDRESS
use serde_json::json;
use std::any::type_name_of_val;
use std::error::Error;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{GenericClient, NoTls, Row};
use uuid::Uuid;

/// A value and the type that the function takes: an i32 is an int4, an i64 an int8.
type Value<'a> = (&'a (dyn ToSql + Sync), Type);
type Answer = Result<Option<Row>, tokio_postgres::Error>;

/// query() would prepare a statement, and through PgBouncer in transaction mode the next message may reach another
/// connection of the server; query_typed() sends everything at once.
async fn one(db: &impl GenericClient, function: &str, values: &[Value<'_>]) -> Answer {
    Ok(db.query_typed(&format!("SELECT * FROM customers.{function}"), values).await?.pop())
}

fn refused(what: &str, answer: Answer) {
    let error = answer.expect_err(what);
    eprintln!("{what}: {error:?}");
    let error = error.as_db_error().expect("the server has answered");
    let class = type_name_of_val(error).rsplit("::").next().expect("a name");
    println!("{what}: {} {class}", error.code().code());
}

fn status(what: &str, row: &Row) {
    println!("{what}: {}, version {}", row.get::<_, &str>("status"), row.get::<_, i64>("version"));
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let [connection, address] = &std::env::args().skip(1).collect::<Vec<_>>()[..] else {
        return Err("with_tokio_postgres CONNECTION ADDRESS".into());
    };
    let (mut db, connected) = tokio_postgres::connect(connection, NoTls).await?;
    let connected = tokio::spawn(connected);

    let given = format!(" {} ", address.to_uppercase());
    let register = "register_customer($1, $2)";
    let register_as = async |db, email: &str, name: &str| {
        one(db, register, &[(&email, Type::TEXT), (&name, Type::TEXT)]).await
    };
    let ann = register_as(&db, &given, "Ann Example").await?.expect("a customer");
    let (id, version): (Uuid, i64) = (ann.get("customer_id"), ann.get("version"));
    status("registered", &ann);
    refused("the address again", register_as(&db, address, "Ann").await);
    refused("no address", register_as(&db, &address.replace('@', "#"), "Ann").await);
    refused("a name with a NUL", register_as(&db, &format!("x{address}"), "Ann\0").await);

    let got = one(&db, "get_customer($1)", &[(&id, Type::UUID)]).await?.expect("a customer");
    println!("by id: {}", got.get::<_, &str>("name"));
    let found = one(&db, "find_customer($1)", &[(address, Type::TEXT)]).await?.expect("a customer");
    println!("by address: {}", found.get::<_, &str>("name"));
    let none = one(&db, "get_customer($1)", &[(&Uuid::new_v4(), Type::UUID)]).await?;
    println!("no such id: {}", none.map_or("no row".to_owned(), |row| row.get("name")));
    let page = "SELECT * FROM customers.list_customers(page_size => $1)";
    println!("a page: {}", db.query_typed(page, &[(&1i32, Type::INT4)]).await?.len());

    let patch = async |id: Uuid, changes, version: Option<i64>| {
        let values: [Value; 3] =
            [(&id, Type::UUID), (&changes, Type::JSONB), (&version, Type::INT8)];
        one(&db, "patch_customer($1, $2, $3)", &values).await
    };
    let patched =
        patch(id, json!({"name": "Ann E. Example"}), Some(version)).await?.expect("a customer");
    println!(
        "patched: {}, version {}",
        patched.get::<_, &str>("name"),
        patched.get::<_, i64>("version")
    );
    let values: [Value; 3] = [(&id, Type::UUID), (&"Bea", Type::TEXT), (&version, Type::INT8)];
    let outdated =
        one(&db, "update_customer($1, name => $2, expected_version => $3)", &values).await;
    refused("an old version", outdated);
    refused("a patch of no such id", patch(Uuid::new_v4(), json!({"name": "Bea"}), None).await);

    let transaction = db.transaction().await?; // the actor is forgotten when it ends
    let actor = "SELECT set_config('customer_db.actor', $1, true)";
    transaction.query_typed(actor, &[(&"agent 7", Type::TEXT)]).await?;
    let values: [Value; 2] = [(&id, Type::UUID), (&"fraud", Type::TEXT)];
    let suspended = one(&transaction, "set_status($1, 'SUSPENDED', $2)", &values).await?;
    transaction.commit().await?;
    status("by agent 7", &suspended.expect("a customer"));

    let closed = one(&db, "set_status($1, 'CLOSED')", &[(&id, Type::UUID)]).await?;
    status("closed", &closed.expect("a customer"));
    refused("a closed account", one(&db, "set_status($1, 'ACTIVE')", &[(&id, Type::UUID)]).await);
    refused("the feed", one(&db, "read_events($1)", &[(&1_000_000i64, Type::INT8)]).await);
    drop(db);
    Ok(connected.await??)
}
