//! Promise: a reader that keeps the last position it saw misses no event and sees none twice, in whatever
//! order transactions end.

use crate::kit::{
    Database, Server, address, assert_feed_keeps_contract, assert_refused, await_blocked,
    begin_change, call, caller, database, disable_notify, fetched, one, pid, positions,
    register_ann, registered, terminate, unique,
};
use postgres::Client;
use serde_json::{Value, json};

/// A reader that keeps its position itself.
struct Reader {
    client: Client,
    place: i64,
}

impl Reader {
    fn of(database: &Database) -> Self {
        Self { client: database.connect(), place: 0 }
    }

    /// The positions of the next events.
    fn read_on(&mut self) -> Vec<i64> {
        self.read_batch(100)
    }

    fn read_batch(&mut self, size: usize) -> Vec<i64> {
        let batch = fetched(&mut self.client, &format!("read_events({}, {size})", self.place));
        assert!(batch.len() <= size);
        self.place = batch.last().copied().unwrap_or(self.place);
        batch
    }
}

/// The events from the beginning: the type, and the JSON without id and time.
fn said(client: &mut Client) -> Vec<(String, Value)> {
    let read = "SELECT type, event - '{eventId,occurredAt}'::text[] FROM customers.read_events(0)";
    client.query(read, &[]).unwrap().iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// One event of each kind, some with a name and some without.
fn make_history(client: &mut Client) {
    let ann = register_ann(client).id;
    registered(client);
    call(client, "patch_customer($1, '{\"name\": null}')", &[&ann]).unwrap();
    call(client, "update_customer($1, $2, 'Zoé')", &[&ann, &address()]).unwrap();
    call(client, "update_customer($1, 'zoe@bücher.example')", &[&ann]).unwrap();
    call(client, "set_status($1, 'CLOSED')", &[&ann]).unwrap();
    client
        .execute(
            "INSERT INTO customers.events (type, customer_id, version, occurred_at, changes, recorded_by)
             VALUES ('customer-erased', $1, 6, now(), '{}', 'postgres')",
            &[&ann],
        )
        .unwrap();
}

#[test]
fn an_empty_feed_reads_as_empty() {
    let mut client = database().connect();
    assert!(fetched(&mut client, "read_events(0)").is_empty());
    assert_refused(client.query("SELECT customers.read_events(1)", &[]), "PT410", &[]);
}

#[test]
fn an_event_says_what_happened() {
    let mut client = database().connect();
    let ann = call(&mut client, "register_customer('ann@example.com', 'Ann')", &[]).unwrap().id;
    let bob = call(&mut client, "register_customer('bob@example.com')", &[]).unwrap().id;
    call(&mut client, "patch_customer($1, '{\"name\": null}')", &[&ann]).unwrap();
    let change = "update_customer($1, 'ann2@example.com', 'Zoé', 'SUSPENDED')";
    call(&mut client, change, &[&ann]).unwrap();
    let [ann, bob] = [ann, bob].map(|id| id.to_string());
    let registered =
        |customer| ("customer-registered".to_owned(), json!({"version": 1, "customer": customer}));
    let updated = |version, changes| {
        let event = json!({"version": version, "customerId": ann, "changes": changes});
        ("customer-updated".to_owned(), event)
    };
    assert_eq!(
        said(&mut client),
        [
            registered(
                json!({"customerId": ann, "email": "ann@example.com", "name": "Ann", "status": "ACTIVE"})
            ),
            registered(json!({"customerId": bob, "email": "bob@example.com", "status": "ACTIVE"})),
            updated(2, json!({"name": null})),
            updated(3, json!({"email": "ann2@example.com", "name": "Zoé", "status": "SUSPENDED"})),
        ]
    );
}

#[test]
fn an_event_and_its_columns_say_the_same_and_so_does_the_table() {
    let mut client = database().connect();
    make_history(&mut client);
    let agree = "SELECT count(*) = 7
                    AND bool_and(event ->> 'eventId' = event_id::text
                             AND (event ->> 'occurredAt')::timestamptz = occurred_at
                             AND event -> 'version' = to_jsonb(version)
                             AND coalesce(event -> 'customer', event) ->> 'customerId' = customer_id::text)
                   FROM customers.read_events(0)
                   JOIN customers.events
                  USING (position, event_id, type, customer_id, version, occurred_at)";
    assert!(one::<bool>(&mut client, agree, &[]));
}

#[test]
fn every_event_is_valid_against_the_contract_in_any_time_zone() {
    let mut client = database().connect();
    make_history(&mut client);
    for zone in ["UTC", "Asia/Kathmandu", "America/St_Johns"] {
        client.batch_execute(&format!("SET TimeZone = '{zone}'")).unwrap();
        assert_feed_keeps_contract(&mut client, 7);
    }
}

#[test]
fn events_are_read_in_order_and_once_in_batches_of_any_size() {
    let database = database();
    let mut client = database.connect();
    let insert = "INSERT INTO customers.customers (email)
                  SELECT 'p' || i || '@example.com' FROM generate_series(1, 10001) AS i";
    client.execute(insert, &[]).unwrap();
    let recorded = positions(&mut client);
    assert_eq!(fetched(&mut client, "read_events(0)"), recorded[..100], "100 unless asked");

    let mut reader = Reader::of(&database);
    let mut read = Vec::new();
    for size in [1, 1, 2, 997, 9000] {
        let batch = reader.read_batch(size);
        assert_eq!(batch.len(), size);
        read.extend(batch);
    }
    assert_eq!(read, recorded);
    assert!(reader.read_on().is_empty());
    let largest = fetched(&mut client, "read_events(0, 10000)");
    assert_eq!(largest, recorded[..10_000]);
}

#[test]
fn a_batch_size_out_of_range_is_refused() {
    let mut client = database().connect();
    registered(&mut client);
    for size in ["0", "-1", "10001", "2147483647", "NULL"] {
        let read = client.query(&format!("SELECT customers.read_events(0, {size})"), &[]);
        assert_refused(read, "22023", &[]);
    }
}

#[test]
fn a_position_that_is_not_in_the_feed_is_refused() {
    let mut client = database().connect();
    registered(&mut client);
    registered(&mut client);
    assert!(fetched(&mut client, "read_events(2)").is_empty(), "the end of the feed is in it");
    for (after, sqlstate) in [
        ("3", "PT410"),
        ("9223372036854775807", "PT410"),
        ("-1", "22023"),
        ("'-9223372036854775808'", "22023"),
        ("NULL", "22023"),
    ] {
        let read = client.query(&format!("SELECT customers.read_events({after})"), &[]);
        assert_refused(read, sqlstate, &[]);
    }
}

#[test]
fn the_feed_is_read_in_read_committed_transactions_only() {
    let mut client = database().connect();
    registered(&mut client);
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        client.batch_execute(&format!("SET default_transaction_isolation = '{level}'")).unwrap();
        assert_refused(client.query("SELECT customers.read_events(0)", &[]), "25001", &[]);
        client.batch_execute("RESET default_transaction_isolation").unwrap();
        client.batch_execute(&format!("BEGIN ISOLATION LEVEL {level}")).unwrap();
        assert_refused(client.query("SELECT customers.read_events(0)", &[]), "25001", &[]);
        client.batch_execute("ROLLBACK").unwrap();
    }
    for level in ["READ COMMITTED", "READ UNCOMMITTED", "READ COMMITTED READ ONLY"] {
        client.batch_execute(&format!("BEGIN ISOLATION LEVEL {level}")).unwrap();
        assert_eq!(fetched(&mut client, "read_events(0)"), [1]);
        client.batch_execute("COMMIT").unwrap();
    }
}

#[test]
fn a_transaction_that_reads_the_feed_twice_reads_what_has_been_committed_meanwhile() {
    let database = database();
    let mut writer = database.connect();
    let mut reader = Reader::of(&database);
    registered(&mut writer);
    reader.client.batch_execute("BEGIN").unwrap();
    assert_eq!(reader.read_on(), [1]);
    registered(&mut writer);
    assert_eq!(reader.read_on(), [2]);
}

#[test]
fn reading_the_feed_assigns_no_transaction_id_and_needs_no_right_to_the_table() {
    let database = database();
    let mut client = database.connect();
    registered(&mut client);
    let mut reader = database.connect_as(&caller(&mut client));
    reader.batch_execute("BEGIN").unwrap();
    assert_eq!(fetched(&mut reader, "read_events(0)"), [1]);
    let assigned = "SELECT pg_current_xact_id_if_assigned() IS NOT NULL";
    assert!(!one::<bool>(&mut reader, assigned, &[]));
}

#[test]
fn transactions_that_commit_in_reverse_order_are_read_in_the_order_of_their_positions() {
    let database = database();
    let mut reader = Reader::of(&database);
    let (mut first, mut second) = (database.connect(), database.connect());
    begin_change(&mut first);
    begin_change(&mut second);
    second.batch_execute("COMMIT").unwrap();
    assert!(reader.read_on().is_empty(), "position 1 may still come before position 2");
    first.batch_execute("COMMIT").unwrap();
    assert_eq!(reader.read_on(), [1, 2]);
}

#[test]
fn an_open_transaction_holds_back_what_comes_after_its_first_event_and_nothing_else() {
    let database = database();
    let mut writer = database.connect();
    let mut reader = Reader::of(&database);
    let mut holder = database.connect();
    holder.batch_execute("CREATE TABLE note (n int); BEGIN; INSERT INTO note VALUES (1)").unwrap();
    registered(&mut writer);
    assert_eq!(reader.read_on(), [1], "it has not changed a customer yet");
    registered(&mut writer);
    registered(&mut holder);
    registered(&mut writer);
    registered(&mut holder);
    assert_eq!(reader.read_on(), [2]);
    holder.batch_execute("COMMIT").unwrap();
    assert_eq!(reader.read_on(), [3, 4, 5]);
}

#[test]
fn an_open_transaction_that_changed_no_customer_of_this_database_holds_nothing_back() {
    let (database, neighbour) = (database(), database());
    let mut writer = database.connect();
    let mut reader = Reader::of(&database);
    let open = |database: &Database, statement: &str| {
        let mut client = database.connect();
        client.batch_execute(&format!("BEGIN; {statement}")).unwrap();
        client
    };
    registered(&mut writer);
    let _idle = [
        open(&database, "CREATE TABLE note (n int); INSERT INTO note VALUES (1)"),
        open(&database, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; TABLE customers.events"),
        open(&database, "SELECT FROM customers.customers FOR UPDATE"),
        open(&database, "UPDATE customers.customers SET name = name WHERE false"),
        open(&neighbour, "INSERT INTO customers.customers (email) VALUES ('a@example.com')"),
    ];
    registered(&mut writer);
    assert_eq!(reader.read_on(), [1, 2]);
}

#[test]
fn a_savepoint_that_took_the_first_event_along_leaves_the_rest_in_order() {
    let database = database();
    let mut writer = database.connect();
    let mut reader = Reader::of(&database);
    let mut holder = database.connect();
    holder.batch_execute("BEGIN; SAVEPOINT s").unwrap();
    registered(&mut holder);
    holder.batch_execute("ROLLBACK TO s").unwrap();
    registered(&mut holder);
    registered(&mut writer);
    assert!(reader.read_on().is_empty());
    holder.batch_execute("COMMIT").unwrap();
    assert_eq!(reader.read_on(), [2, 3]);
}

#[test]
fn a_transaction_that_comes_to_nothing_leaves_a_gap_that_readers_pass() {
    let database = database();
    let mut writer = database.connect();
    let mut reader = Reader::of(&database);
    let mut failing = database.connect();

    begin_change(&mut failing);
    registered(&mut writer);
    assert!(reader.read_on().is_empty());
    failing.batch_execute("ROLLBACK").unwrap();
    assert_eq!(reader.read_on(), [2]);

    // A failed transaction that has not been rolled back yet no longer holds the watermark back.
    begin_change(&mut failing);
    registered(&mut writer);
    assert!(failing.batch_execute("SELECT 1 / 0").is_err());
    assert!(failing.batch_execute("SELECT 1").is_err());
    assert_eq!(reader.read_on(), [4]);
    failing.batch_execute("ROLLBACK").unwrap();

    // Nor does one whose session was terminated.
    begin_change(&mut failing);
    registered(&mut writer);
    terminate(&mut writer, pid(&mut failing));
    assert_eq!(reader.read_on(), [6]);
}

#[test]
fn each_transaction_of_a_session_holds_the_feed_anew() {
    let database = database();
    let mut writer = database.connect();
    let mut reader = Reader::of(&database);
    let mut holder = database.connect();
    holder
        .batch_execute(
            "CREATE PROCEDURE change_twice() LANGUAGE plpgsql AS $$ BEGIN
                PERFORM customers.register_customer('a@example.com');
                COMMIT;
                PERFORM customers.register_customer('b@example.com');
                PERFORM pg_advisory_lock(1);
             END $$",
        )
        .unwrap();
    begin_change(&mut holder);
    holder.batch_execute("COMMIT AND CHAIN").unwrap();
    registered(&mut holder);
    registered(&mut writer);
    assert_eq!(reader.read_on(), [1]);
    holder.batch_execute("COMMIT").unwrap();
    assert_eq!(reader.read_on(), [2, 3]);

    writer.batch_execute("SELECT pg_advisory_lock(1)").unwrap();
    let session = pid(&mut holder);
    std::thread::scope(|scope| {
        let call = scope.spawn(|| holder.batch_execute("CALL change_twice()"));
        await_blocked(&mut writer, session);
        registered(&mut writer);
        assert_eq!(reader.read_on(), [4]);
        writer.batch_execute("SELECT pg_advisory_unlock(1)").unwrap();
        call.join().unwrap().unwrap();
    });
    assert_eq!(reader.read_on(), [5, 6]);
}

#[test]
fn positions_beyond_32_bits_are_held_and_read_like_others() {
    let database = database();
    let mut writer = database.connect();
    let mut reader = Reader::of(&database);
    let before: i64 = (1 << 32) - 2;
    writer.execute("SELECT setval('customers.events_position_seq', $1)", &[&before]).unwrap();
    registered(&mut writer);
    registered(&mut writer);
    let mut holder = database.connect();
    begin_change(&mut holder);
    registered(&mut writer);
    assert_eq!(reader.read_on(), [before + 1, before + 2]);
    holder.batch_execute("COMMIT").unwrap();
    assert_eq!(reader.read_on(), [before + 3, before + 4]);
}

#[test]
fn arguments_may_be_named() {
    let mut client = database().connect();
    registered(&mut client);
    for (call, read) in [
        ("read_events(after => 0, batch_size => 1)", 1),
        ("read_events(after => 1)", 0),
        ("subscribe(consumer => 'mailer', after => 0)", 1),
        ("fetch_events(consumer => 'mailer', batch_size => 1)", 1),
        ("acknowledge(consumer => 'mailer', up_to => 1)", 1),
        ("fetch_events(consumer => 'mailer')", 0),
        ("feed_position()", 1),
        ("prune_events(older_than => '1 day', max_events => 10)", 1),
        ("unsubscribe(consumer => 'mailer')", 1),
    ] {
        let rows = client.query(&format!("SELECT * FROM customers.{call}"), &[]);
        assert_eq!(rows.unwrap().len(), read, "{call}");
    }
}

#[test]
fn a_writer_reads_its_own_events_once_it_has_committed() {
    let database = database();
    let mut client = database.connect();
    begin_change(&mut client);
    assert!(fetched(&mut client, "read_events(0)").is_empty(), "it may still roll back");
    client.batch_execute("COMMIT").unwrap();
    assert_eq!(fetched(&mut client, "read_events(0)"), [1]);
}

#[test]
fn a_prepared_transaction_holds_the_feed_until_it_is_committed_or_rolled_back() {
    let database = database();
    let mut writer = database.connect();
    let mut reader = Reader::of(&database);
    for (end, read) in [("COMMIT", vec![1, 2]), ("ROLLBACK", vec![4])] {
        let prepared = prepare_change(&database);
        registered(&mut writer);
        assert!(reader.read_on().is_empty());
        writer.batch_execute(&format!("{end} PREPARED '{prepared}'")).unwrap();
        assert_eq!(reader.read_on(), read);
    }
}

#[test]
fn a_prepared_transaction_holds_the_feed_across_a_crash() {
    let server = Server::start(&["fsync = on"]);
    let database = server.database();
    let prepared = prepare_change(&database);
    registered(&mut database.connect());
    server.crash();
    server.pg_ctl("start");
    let mut writer = database.connect();
    registered(&mut writer);
    let mut reader = Reader::of(&database);
    assert!(reader.read_on().is_empty());
    writer.batch_execute(&format!("COMMIT PREPARED '{prepared}'")).unwrap();
    let read = reader.read_on();
    assert_eq!(read, positions(&mut writer));
    assert_eq!((read.len(), read[0]), (3, 1));
}

/// Prepares a transaction that has registered a customer, in a session that then ends; returns the
/// transaction's name.
fn prepare_change(database: &Database) -> String {
    let prepared = unique("prepared");
    let mut client = database.connect();
    disable_notify(&mut client);
    begin_change(&mut client);
    client.batch_execute(&format!("PREPARE TRANSACTION '{prepared}'")).unwrap();
    prepared
}

#[test]
fn a_writer_never_waits_for_a_reader_nor_a_reader_for_a_writer() {
    let database = database();
    let mut sessions = [(); 4].map(|()| database.connect());
    for client in &mut sessions {
        client.batch_execute("SET lock_timeout = '5s'").unwrap();
        begin_change(client);
        fetched(client, "read_events(0)");
    }
    for client in &mut sessions {
        client.batch_execute("COMMIT").unwrap();
    }
    assert_eq!(fetched(&mut sessions[0], "read_events(0)"), [1, 2, 3, 4]);
}

#[test]
fn within_a_customer_versions_come_in_order_though_its_changes_race() {
    let database = database();
    let id = registered(&mut database.connect());
    let mut first = database.connect();
    first.batch_execute("BEGIN").unwrap();
    call(&mut first, "set_status($1, 'SUSPENDED')", &[&id]).unwrap();
    let mut second = database.connect();
    let session = pid(&mut second);
    std::thread::scope(|scope| {
        let waiting =
            scope.spawn(|| call(&mut second, "update_customer($1, name => 'Ann')", &[&id]));
        let mut observer = database.connect();
        await_blocked(&mut observer, session);
        // Others draw positions between the two.
        registered(&mut observer);
        first.batch_execute("COMMIT").unwrap();
        assert_eq!(waiting.join().unwrap().unwrap().version, 3);
    });
    let versions = "SELECT array_agg(version ORDER BY position) = '{1,2,3}'
                      FROM customers.read_events(0) WHERE customer_id = $1";
    assert!(one::<bool>(&mut first, versions, &[&id]));
}
