//! Keeps a complete copy of the customers: consumer CONNECTION CONSUMER FILE
//! Listen, then catch up, then read on each notification and at intervals: a notification only says
//! that there is something. The server keeps our place; events whose version we have come again.
use serde_json::{Map, Value, from_slice, json, to_vec};
use std::{env, error::Error, fs, future::poll_fn, time::Duration};
use tokio_postgres::{Client, NoTls, connect};

async fn read_batch(db: &mut Client, consumer: &str, path: &str) -> Result<bool, Box<dyn Error>> {
    let db = db.transaction().await?;
    let fetch = "SELECT customer_id::text, version, position,
                        coalesce(event -> 'customer', event -> 'changes') FROM customers.fetch_events($1)";
    let events = db.query(fetch, &[&consumer]).await?;
    let Some(last) = events.last() else { return Ok(false) };
    let mut copy = if fs::exists(path)? { from_slice(&fs::read(path)?)? } else { Map::new() };
    for event in &events {
        let known = copy.entry(event.get::<_, String>(0)).or_insert(json!({}));
        if event.get::<_, Option<i64>>(1) > known["version"].as_i64() {
            match event.get(3) {
                Some(Value::Object(fields)) => known.as_object_mut().unwrap().extend(fields),
                _ => *known = json!({}), // Erased, but for the version: older events may come again.
            }
            known["version"] = json!(event.get::<_, i64>(1));
        }
    }
    let new = format!("{path}.new");
    fs::write(&new, to_vec(&copy)?)?;
    fs::File::open(&new)?.sync_all()?;
    fs::rename(new, path)?;
    db.query("SELECT customers.acknowledge($1, $2)", &[&consumer, &last.get::<_, i64>(2)]).await?;
    Ok(db.commit().await.map(|()| true)?)
}

async fn consume(config: &str, consumer: &str, path: &str) -> Result<(), Box<dyn Error>> {
    let (mut db, mut connection) = connect(config, NoTls).await?;
    let (tell, mut told) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        while let Some(Ok(_)) = poll_fn(|cx| connection.poll_message(cx)).await {
            let _ = tell.try_send(());
        }
    });
    db.batch_execute("LISTEN customers").await?;
    if !fs::exists(path)? {
        db.query("SELECT customers.unsubscribe($1)", &[&consumer]).await?; // Begin at the beginning.
    }
    db.query("SELECT customers.subscribe($1)", &[&consumer]).await?;
    loop {
        while read_batch(&mut db, consumer, path).await? {}
        let _ = tokio::time::timeout(Duration::from_secs(10), told.recv()).await;
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let args: Vec<String> = env::args().collect();
    while let Err(error) = consume(&args[1], &args[2], &args[3]).await {
        eprintln!("{error}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
