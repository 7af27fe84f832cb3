//! Keeps a complete copy of the customers: consumer CONNECTION CONSUMER FILE
//! Listen, then catch up, then read on each notification and at intervals: a notification only says
//! that there is something. The server keeps our place, so that nothing is pruned before we have read
//! it, and we keep it with the copy, for a failover sets the server's back. Events whose version we
//! have come again. Where the feed cannot go on (PT410), we copy the table and begin behind the copy.
use postgres::{Client, NoTls, fallible_iterator::FallibleIterator};
use serde_json::{Map, Value, from_slice, json, to_vec};
use std::{env, error::Error, fs, thread::sleep, time::Duration};

const FETCH: &str = "SELECT customer_id::text, version, coalesce(event -> 'customer', event -> 'changes')
                    || jsonb_build_object('version', version), position FROM customers.fetch_events($1)";
const TABLE: &str = "SELECT customer_id::text, version, CASE WHEN email NOT LIKE '%@erased.invalid'
                    THEN to_jsonb(customer) END FROM customers.customers AS customer";

fn load(path: &str) -> Result<Map<String, Value>, Box<dyn Error>> {
    Ok(if fs::exists(path)? { from_slice(&fs::read(path)?)? } else { Map::new() })
}

fn read(db: &mut Client, consumer: &str, path: &str, anew: bool) -> Result<bool, Box<dyn Error>> {
    // The place moves when the file has been written: whatever cuts us off, it is not ahead of it.
    let mut db = db.transaction()?;
    let (rows, position): (_, i64) = if anew {
        let position: i64 = db.query_one("SELECT customers.feed_position()", &[])?.get(0);
        db.execute("SELECT customers.unsubscribe($1)", &[&consumer])?;
        db.execute("SELECT customers.subscribe($1, $2)", &[&consumer, &position])?;
        (db.query(TABLE, &[])?, position)
    } else {
        let events = db.query(FETCH, &[&consumer])?;
        let Some(position) = events.last().map(|last| last.get(3)) else { return Ok(false) };
        db.execute("SELECT customers.acknowledge($1, $2)", &[&consumer, &position])?;
        (events, position)
    };
    let mut copy = load(path)?;
    copy.retain(|_, known| !anew || known.is_null());
    for row in &rows {
        let known = copy.entry(row.get::<_, String>(0)).or_insert(json!({"version": 0}));
        if known["version"].as_i64().is_some_and(|version| version < row.get(1)) {
            match row.get(2) {
                Some(Value::Object(fields)) => known.as_object_mut().unwrap().extend(fields),
                _ => *known = Value::Null, // Erased, and stays so.
            }
        }
    }
    copy.insert("position".to_owned(), position.into());
    let new = format!("{path}.new");
    fs::write(&new, to_vec(&copy)?)?;
    fs::File::open(&new)?.sync_all()?;
    fs::rename(new, path)?;
    Ok(db.commit().map(|()| true)?)
}

fn consume(config: &str, consumer: &str, path: &str, anew: bool) -> Result<(), Box<dyn Error>> {
    let mut db = Client::connect(config, NoTls)?;
    db.batch_execute("LISTEN customers")?;
    if anew {
        read(&mut db, consumer, path, true)?;
    } else if !fs::exists(path)? {
        db.execute("SELECT customers.unsubscribe($1)", &[&consumer])?; // Begin at the beginning.
    }
    let position = load(path)?.get("position").and_then(Value::as_i64).unwrap_or(0);
    db.execute("SELECT customers.subscribe($1, $2)", &[&consumer, &position])?;
    loop {
        while read(&mut db, consumer, path, false)? {}
        db.notifications().timeout_iter(Duration::from_secs(10)).next()?;
        while db.notifications().iter().next()?.is_some() {}
    }
}

fn main() {
    let (args, mut anew) = (env::args().collect::<Vec<_>>(), false);
    while let Err(error) = consume(&args[1], &args[2], &args[3], anew) {
        let code = error.downcast_ref::<postgres::Error>().and_then(|error| error.code());
        anew = code.is_some_and(|code| code.code() == "PT410");
        eprintln!("{error}");
        sleep(Duration::from_secs(1));
    }
}
