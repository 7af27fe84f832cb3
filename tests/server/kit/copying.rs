//! Consumers as the reference tells them to be: they copy the table, read on, let versions decide, and copy again
//! on PT410. They follow whichever server is the primary.

use super::Server;
use postgres::config::TargetSessionAttrs;
use postgres::{Client, Config, Error, NoTls, Row};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Mutex;
use uuid::Uuid;

/// Where the primary is, for writers and consumers that follow it.
pub struct Primary(Mutex<Config>);

impl Primary {
    pub fn new(server: &Server, database: &str) -> Self {
        let mut config = Config::new();
        config.host(server.host()).dbname(database).user("postgres");
        Self::among(config)
    }

    /// On whichever host of several can be written to.
    pub fn among(mut config: Config) -> Self {
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        Self(Mutex::new(config))
    }

    pub fn moves_to(&self, server: &Server) {
        let mut config = self.0.lock().unwrap();
        let database = config.get_dbname().expect("a database").to_owned();
        *config = Self::new(server, &database).0.into_inner().unwrap();
    }

    /// A session on a server that can be written to.
    pub fn connect(&self) -> Result<Client, Error> {
        let config = self.0.lock().unwrap().clone();
        config.connect(NoTls)
    }
}

/// Who keeps a consumer's place.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// The consumer, which calls read_events.
    Own,
    /// The database, under this name.
    Kept(&'static str),
}

/// A copy of the customers.
pub struct Copy {
    pub place: Place,
    /// The last position that was read.
    position: i64,
    customers: BTreeMap<Uuid, (i64, Value)>,
    /// How often the feed could not go on.
    pub begun_again: usize,
}

const FIELDS: &str = "jsonb_build_object('email', email, 'name', name, 'status', status)";

impl Copy {
    pub fn new(place: Place) -> Self {
        Self { place, position: 0, customers: BTreeMap::new(), begun_again: 0 }
    }

    /// Applies what there is; false if there was nothing.
    pub fn catch_up(&mut self, client: &mut Client) -> Result<bool, Error> {
        match self.read(client) {
            Err(error) if error.code().is_some_and(|code| code.code() == "PT410") => {
                self.begin_again(client)?;
                self.begun_again += 1;
                Ok(true)
            }
            result => result,
        }
    }

    fn read(&mut self, client: &mut Client) -> Result<bool, Error> {
        let columns = "position, customer_id, version, event";
        let rows = match self.place {
            Place::Own => client.query(
                &format!("SELECT {columns} FROM customers.read_events($1, 50)"),
                &[&self.position],
            )?,
            Place::Kept(name) => {
                // With the place that it knows: the one that is kept is set back by a failover.
                client.execute("SELECT customers.subscribe($1, $2)", &[&name, &self.position])?;
                client.query(
                    &format!("SELECT {columns} FROM customers.fetch_events($1, 50)"),
                    &[&name],
                )?
            }
        };
        for row in &rows {
            self.apply(row);
        }
        let Some(last) = rows.last().map(|row| row.get::<_, i64>(0)) else { return Ok(false) };
        self.position = last;
        if let Place::Kept(name) = self.place {
            client.execute("SELECT customers.acknowledge($1, $2)", &[&name, &last])?;
        }
        Ok(true)
    }

    fn apply(&mut self, row: &Row) {
        let (id, version, event): (Uuid, i64, Value) = (row.get(1), row.get(2), row.get(3));
        let (known, fields) = self.customers.entry(id).or_default();
        if version <= *known {
            return;
        }
        *known = version;
        if event.get("customer").is_none() && event.get("changes").is_none() {
            // Erased.
            let email = format!("erased+{id}@erased.invalid");
            *fields = json!({"email": email, "name": null, "status": "CLOSED"});
        }
        for changed in [&event["customer"], &event["changes"]] {
            for (field, value) in changed.as_object().into_iter().flatten() {
                fields[field] = value.clone();
            }
        }
    }

    /// Copies the table, and begins behind the copy.
    fn begin_again(&mut self, client: &mut Client) -> Result<(), Error> {
        let position: i64 = client.query_one("SELECT customers.feed_position()", &[])?.get(0);
        if let Place::Kept(name) = self.place {
            client.execute("SELECT customers.unsubscribe($1)", &[&name])?;
            client.execute("SELECT customers.subscribe($1, $2)", &[&name, &position])?;
        }
        self.customers.clear();
        let mut after = None::<Uuid>;
        loop {
            let page = client.query(
                &format!(
                    "SELECT customer_id, version, {FIELDS} FROM customers.list_customers(after => $1, page_size => 1000)"
                ),
                &[&after],
            )?;
            for row in &page {
                self.customers.insert(row.get(0), (row.get(1), row.get(2)));
            }
            after = page.last().map(|row| row.get(0));
            if after.is_none() {
                break;
            }
        }
        self.position = position;
        Ok(())
    }

    /// What differs from the table: customers that are wrong or missing, and ghosts.
    pub fn faults(&self, client: &mut Client) -> (usize, usize) {
        let query = format!("SELECT customer_id, version, {FIELDS} FROM customers.customers");
        let rows = client.query(&query, &[]).expect("the table can be read");
        let table: BTreeMap<Uuid, (i64, Value)> =
            rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect();
        let is_right = |(id, (version, fields)): (&Uuid, &(i64, Value))| {
            self.customers.get(id).is_some_and(|(copied_version, copied)| {
                let same =
                    |field: &str| copied.get(field).unwrap_or(&Value::Null) == &fields[field];
                copied_version == version && ["email", "name", "status"].into_iter().all(same)
            })
        };
        let right = table.iter().filter(|customer| is_right(*customer)).count();
        let ghosts = self.customers.keys().filter(|id| !table.contains_key(id)).count();
        (table.len() - right, ghosts)
    }
}
