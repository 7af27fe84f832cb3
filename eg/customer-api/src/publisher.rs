//! Hands the events of the feed to a sink, in order and at least once: each batch is one HTTP POST of JSON lines, and
//! what the sink has answered with 2xx is acknowledged. Where the feed cannot go on (PT410), the sink is told to copy
//! again and gets every customer. CONSUMING in doc/customer_db.md says why in this order.

use postgres::{Client, NoTls, fallible_iterator::FallibleIterator};
use serde_json::json;
use std::{env, error::Error, fs, thread::sleep, time::Duration};
use uuid::Uuid;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const EVENTS: &str = "SELECT position, (jsonb_build_object('type', type, 'position', position, 'customerId', customer_id)
                             || event)::text FROM customers.fetch_events($1)";
const PAGE: &str = "SELECT customer_id, (jsonb_build_object('customerId', customer_id, 'version', version) ||
                           CASE WHEN email LIKE '%@erased.invalid' THEN '{\"type\": \"customer-erased\"}' ELSE
                           jsonb_build_object('type', 'customer-copied', 'customer', jsonb_strip_nulls(jsonb_build_object(
                           'customerId', customer_id, 'email', email, 'name', name, 'status', status))) END)::text
                      FROM customers.list_customers(after => $1, page_size => 1000)";

struct Publisher {
    database: String,
    consumer: String,
    sink: String,
    /// Holds the position up to which the sink has the feed. The server keeps it too, for pruning; a failover sets
    /// that one back, together with the feed.
    position: String,
}

impl Publisher {
    /// Returns only with an error.
    fn publish(&self, copy: bool) -> Result<()> {
        let mut db = Client::connect(&self.database, NoTls)?;
        db.batch_execute("LISTEN customers")?;
        if copy {
            self.copy(&mut db)?;
        } else if !fs::exists(&self.position)? {
            db.execute("SELECT customers.unsubscribe($1)", &[&self.consumer])?; // Begin at the beginning.
            self.keep(0)?;
        }
        let position: i64 = fs::read_to_string(&self.position)?.parse()?;
        db.execute("SELECT customers.subscribe($1, $2)", &[&self.consumer, &position])?;
        loop {
            while self.next(&mut db)? {}
            db.notifications().timeout_iter(Duration::from_secs(10)).next()?;
            while db.notifications().iter().next()?.is_some() {}
        }
    }

    /// The next batch; false if there is none. If this ends anywhere before the commit, the batch comes again.
    fn next(&self, db: &mut Client) -> Result<bool> {
        let mut db = db.transaction()?;
        let events = db.query(EVENTS, &[&self.consumer])?;
        let Some(position) = events.last().map(|last| last.get(0)) else { return Ok(false) };
        self.hand_over(events.iter().map(|row| row.get(1)))?;
        self.keep(position)?;
        db.execute("SELECT customers.acknowledge($1, $2)", &[&self.consumer, &position])?;
        Ok(db.commit().map(|()| true)?)
    }

    /// Every customer, page by page, between two lines that say so.
    fn copy(&self, db: &mut Client) -> Result<()> {
        let mut db = db.transaction()?;
        let position: i64 = db.query_one("SELECT customers.feed_position()", &[])?.get(0);
        db.execute("SELECT customers.unsubscribe($1)", &[&self.consumer])?;
        db.execute("SELECT customers.subscribe($1, $2)", &[&self.consumer, &position])?;
        self.hand_over([json!({"type": "copy-again", "position": position}).to_string()])?;
        let mut after: Option<Uuid> = None;
        loop {
            let page = db.query(PAGE, &[&after])?;
            let Some(last) = page.last() else { break };
            self.hand_over(page.iter().map(|row| row.get(1)))?;
            after = last.get(0);
        }
        self.hand_over([json!({"type": "copied", "position": position}).to_string()])?;
        self.keep(position)?;
        Ok(db.commit()?)
    }

    fn hand_over(&self, lines: impl IntoIterator<Item = String>) -> Result<()> {
        let lines: String = lines.into_iter().map(|line| line + "\n").collect();
        let request = ureq::post(&self.sink).config().timeout_global(Some(Duration::from_secs(30)));
        Ok(request.build().content_type("application/x-ndjson").send(lines).map(drop)?)
    }

    fn keep(&self, position: i64) -> Result<()> {
        let new = format!("{}.new", self.position);
        fs::write(&new, position.to_string())?;
        fs::File::open(&new)?.sync_all()?;
        Ok(fs::rename(new, &self.position)?)
    }
}

fn main() {
    let settings = ["DATABASE_URL", "CONSUMER", "SINK_URL", "POSITION_FILE"];
    let [database, consumer, sink, position] = settings.map(|name| env::var(name).expect(name));
    let publisher = Publisher { database, consumer, sink, position };
    let mut copy = false;
    while let Err(error) = publisher.publish(copy) {
        let code = error.downcast_ref::<postgres::Error>().and_then(|error| error.code());
        copy = code.is_some_and(|code| code.code() == "PT410");
        eprintln!("{error}");
        sleep(Duration::from_secs(1));
    }
}
