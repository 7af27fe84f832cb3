//! Promise: an erased customer's data are removed from every column of every table, for good, and nobody
//! else's are; and everything held on a person can be exported.

use crate::kit::{
    Customer, Database, Notices, Params, address, all, assert_feed_keeps_contract, assert_refused,
    await_blocked, call, contents, database, id, one, pid, received, refusal, register_ann,
    registered, role, stored,
};
use postgres::{Client, GenericClient};
use serde_json::{Value, json};
use uuid::Uuid;

/// Part of every address and name of the person to be erased.
const SECRET: &str = "zyxw";

/// Spellings of one address and one name of hers.
const SPELLINGS: [&str; 10] = [
    "ann.zyxw@xn--bcher-kva.example",
    "Ann.Zyxw@BÜCHER.example",
    "ann.zyxw@bu\u{308}cher.example",
    "ANN.ZYXW@XN--BCHER-KVA.EXAMPLE",
    "mail from <ann.zyxw@bücher.example>, today",
    "Zoë Zyxw",
    "Zoe\u{308} Zyxw",
    "ZOË ZYXW",
    "zoë zyxw",
    "asked by \u{201c}Zoë\u{a0}Zyxw\u{201d}",
];

/// Registers her, changes every field, and records every spelling in a reason and in an actor.
fn live(client: &mut Client) -> Customer {
    let her = call(client, "register_customer('zyxw.before@example.com', 'Zyxw Before')", &[]);
    let id = her.expect("a good address and name").id;
    let change = |client: &mut Client, command: &str, params: Params| {
        call(client, command, &[&[&id as _], params].concat()).expect("a good change");
    };
    change(
        client,
        "update_customer($1, $2, $3)",
        &[&" Ann.Zyxw@BÜCHER.example", &" Zoe\u{308} Zyxw "],
    );
    for (n, spelling) in SPELLINGS.iter().enumerate() {
        act_as(client, spelling);
        let status = if n % 2 == 0 { "SUSPENDED" } else { "ACTIVE" };
        change(client, "set_status($1, $2, $3)", &[&status, spelling]);
    }
    act_as(client, "clerk 7");
    change(client, "set_status($1, 'SUSPENDED', 'chargeback')", &[]);
    change(client, "patch_customer($1, '{\"name\": null}')", &[]);
    change(client, "patch_customer($1, '{\"name\": \"Zyxw Again\", \"status\": \"ACTIVE\"}')", &[]);
    stored(client, id)
}

fn act_as(client: &mut Client, actor: &str) {
    client
        .execute("SELECT set_config('customer_db.actor', $1, false)", &[&actor])
        .expect("anybody may");
}

fn erase(client: &mut impl GenericClient, id: Uuid) -> Customer {
    call(client, "erase_customer($1)", &[&id]).expect("the customer is there")
}

/// The columns of all tables and views in the schema that contain a text, in any case.
fn telling(client: &mut Client, text: &str) -> Vec<String> {
    let columns = "SELECT attrelid::regclass::text, quote_ident(attname)
                     FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
                    WHERE relnamespace = 'customers'::regnamespace AND relkind IN ('r', 'p', 'm', 'v')
                      AND attnum > 0 AND NOT attisdropped";
    let columns = client.query(columns, &[]).unwrap();
    assert!(columns.len() > 20, "the tables have columns");
    let mut telling = Vec::new();
    for column in columns {
        let (table, column): (String, String) = (column.get(0), column.get(1));
        let tells = format!(
            "SELECT EXISTS (SELECT FROM {table} WHERE lower({column}::text) LIKE '%' || lower($1) || '%')"
        );
        if one(client, &tells, &[&text]) {
            telling.push(format!("{table}.{column}"));
        }
    }
    telling
}

fn assert_forgotten(client: &mut Client) {
    for text in SPELLINGS.iter().chain([&SECRET, &"bcher", &"bücher", &"Zoë"]) {
        assert_eq!(telling(client, text), [""; 0], "{text}");
    }
}

/// Asserts the row that erasure leaves of a customer.
fn assert_erased(client: &mut impl GenericClient, id: Uuid) {
    let left = stored(client, id);
    let address = format!("erased+{id}@erased.invalid");
    assert_eq!((left.email, left.name, &*left.status), (address, None, "CLOSED"));
}

#[test]
fn no_column_of_any_table_tells_who_was_erased() {
    let database = database();
    let mut owner = database.connect();
    let her = live(&mut owner);
    let before = telling(&mut owner, SECRET);
    for column in ["customers.customers.email", "customers.events.reason", "customers.events.actor"]
    {
        assert!(before.contains(&column.to_owned()), "{before:?}");
    }
    for spelling in SPELLINGS {
        assert!(!telling(&mut owner, spelling).is_empty(), "{spelling}");
    }

    let officer = role(&mut owner, "");
    owner
        .execute("SELECT customers.grant_access($1::text::regrole, 'privacy')", &[&officer])
        .unwrap();
    let mut client = database.connect_as(&officer);
    act_as(&mut client, "Zoë Zyxw");
    let reason = "asked for by ann.zyxw@bücher.example";
    let erased = call(&mut client, "erase_customer($1, $2)", &[&her.id, &reason]).unwrap();

    assert_forgotten(&mut owner);
    assert_erased(&mut owner, her.id);
    assert_eq!(stored(&mut owner, her.id), erased);
    assert_eq!((erased.version, erased.registered_at), (her.version + 1, her.registered_at));
    assert!(erased.updated_at > her.updated_at);
}

#[test]
fn texts_that_tell_nobody_are_kept() {
    let mut client = database().connect();
    let her = live(&mut client);
    call(&mut client, "erase_customer($1, 'by request')", &[&her.id]).unwrap();
    let kept = "SELECT reason FROM customers.events WHERE reason <> '[erased]' ORDER BY position";
    assert_eq!(all::<String>(&mut client, kept, &[]), ["chargeback", "by request"]);
    let actors = "SELECT count(*) FROM customers.events WHERE actor = 'clerk 7'";
    assert_eq!(one::<i64>(&mut client, actors, &[]), 4);
    let ledger: (String, String) = {
        let row =
            client.query_one("SELECT erased_by, reason FROM customers.erasures", &[]).unwrap();
        (row.get(0), row.get(1))
    };
    assert_eq!(ledger, ("postgres".to_owned(), "by request".to_owned()));
}

/// The length of a name can change with its case.
#[test]
fn a_name_in_capital_letters_is_recognised_although_it_gets_longer() {
    let mut client = database().connect();
    let her = call(&mut client, "register_customer($1, 'Zyxw Groß')", &[&address()]).unwrap();
    call(&mut client, "set_status($1, 'SUSPENDED', 'Frau ZYXW GROSS rief an')", &[&her.id])
        .unwrap();
    erase(&mut client, her.id);
    assert_eq!(telling(&mut client, SECRET), [""; 0]);
}

/// As she typed it when she registered.
#[test]
fn an_address_is_recognised_in_every_spelling_that_could_be_registered() {
    let mut client = database().connect();
    let spelled = "zyxw@bücher\u{3002}example";
    let her = call(&mut client, "register_customer($1)", &[&spelled]).unwrap();
    call(&mut client, "set_status($1, 'SUSPENDED', $2)", &[&her.id, &spelled]).unwrap();
    erase(&mut client, her.id);
    assert_eq!(telling(&mut client, SECRET), [""; 0]);
}

#[test]
fn nobody_else_is_touched() {
    let mut client = database().connect();
    let others: Vec<Uuid> = (0..3).map(|_| register_ann(&mut client).id).collect();
    client.batch_execute("UPDATE customers.customers SET name = 'Anna'").unwrap();
    // Another customer has the same name.
    call(&mut client, "update_customer($1, name => 'Zoë Zyxw')", &[&others[0]]).unwrap();
    let rest = "SELECT jsonb_build_array(
                    (SELECT jsonb_agg(c ORDER BY customer_id) FROM customers.customers AS c WHERE customer_id = ANY ($1)),
                    (SELECT jsonb_agg(e ORDER BY position) FROM customers.events AS e WHERE customer_id = ANY ($1)))";
    let before: Value = one(&mut client, rest, &[&others]);
    let her = live(&mut client);
    erase(&mut client, her.id);
    assert_eq!(one::<Value>(&mut client, rest, &[&others]), before);
    assert_eq!(
        all::<Uuid>(&mut client, "SELECT customer_id FROM customers.erasures", &[]),
        [her.id]
    );
}

#[test]
fn events_keep_their_shape_and_the_last_one_tells_consumers_to_forget() {
    let database = database();
    let mut client = database.connect();
    let her = live(&mut client);
    let count = her.version as usize;
    let mut listener = database.listen();
    erase(&mut client, her.id);
    assert_feed_keeps_contract(&mut client, count + 1);
    let last = client
        .query_one(
            "SELECT position, event_id, type, customer_id, version,
                    event - '{eventId,occurredAt}'::text[]
               FROM customers.read_events(0) ORDER BY position DESC LIMIT 1",
            &[],
        )
        .unwrap();
    assert_eq!(last.get::<_, String>(2), "customer-erased");
    assert_eq!(last.get::<_, Uuid>(3), her.id);
    assert_eq!(last.get::<_, i64>(4), her.version + 1);
    let said = json!({"customerId": her.id.to_string(), "version": her.version + 1});
    assert_eq!(last.get::<_, Value>(5), said);
    let notification = json!({
        "position": last.get::<_, i64>(0),
        "eventId": last.get::<_, Uuid>(1).to_string(),
        "type": "customer-erased",
        "customerId": her.id.to_string(),
        "version": her.version + 1,
        "changed": []
    });
    assert_eq!(received(&mut listener), [notification]);
    let changed = "SELECT bool_and(changes ?| '{email,name,status}') FROM customers.events
                    WHERE type <> 'customer-erased'";
    assert!(one::<bool>(&mut client, changed, &[]), "what changed is still told");
}

#[test]
fn erasing_again_records_nothing_new() {
    let database = database();
    let mut client = database.connect();
    let her = live(&mut client);
    let erased = erase(&mut client, her.id);
    let before = contents(&mut client);
    let mut listener = database.listen();
    for reason in [None, Some("asked again by ann.zyxw@bücher.example")] {
        let again = call(&mut client, "erase_customer($1, $2)", &[&her.id, &reason]).unwrap();
        assert_eq!(again, erased);
    }
    assert_eq!(contents(&mut client), before);
    assert!(received(&mut listener).is_empty());
}

#[test]
fn a_closed_account_is_erased() {
    let mut client = database().connect();
    let her = live(&mut client);
    let closed = call(&mut client, "set_status($1, 'CLOSED')", &[&her.id]).unwrap();
    assert_eq!(erase(&mut client, her.id).version, closed.version + 1);
    assert_erased(&mut client, her.id);
    assert_forgotten(&mut client);
}

#[test]
fn who_has_no_name_is_erased() {
    let mut client = database().connect();
    let id = registered(&mut client);
    assert_eq!(erase(&mut client, id).version, 2);
    assert_erased(&mut client, id);
    assert_feed_keeps_contract(&mut client, 2);
    let name = "SELECT count(*) FROM customers.events WHERE changes ? 'name'";
    assert_eq!(one::<i64>(&mut client, name, &[]), 0);
}

#[test]
fn what_the_same_transaction_wrote_is_forgotten_too() {
    let mut client = database().connect();
    let mut transaction = client.transaction().unwrap();
    let her = call(&mut transaction, "register_customer('zyxw@example.com', 'Zyxw')", &[]).unwrap();
    call(&mut transaction, "update_customer($1, name => 'Zyxw!')", &[&her.id]).unwrap();
    erase(&mut transaction, her.id);
    transaction.commit().unwrap();
    assert_forgotten(&mut client);
    assert_feed_keeps_contract(&mut client, 3);
}

#[test]
fn an_erasure_that_is_rolled_back_has_not_been() {
    let mut client = database().connect();
    let her = live(&mut client);
    let before = contents(&mut client);
    let mut transaction = client.transaction().unwrap();
    erase(&mut transaction, her.id);
    transaction.rollback().unwrap();
    assert_eq!(contents(&mut client), before);
}

/// Runs `late` in a session that has to wait until `client` commits.
fn meanwhile<T: Send>(
    database: &Database,
    client: &mut Client,
    late: impl FnOnce(&mut Client) -> T + Send,
) -> T {
    let mut session = database.connect();
    let pid = pid(&mut session);
    let mut observer = database.connect();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(move || late(&mut session));
        await_blocked(&mut observer, pid);
        client.batch_execute("COMMIT").unwrap();
        waiting.join().unwrap()
    })
}

#[test]
fn an_open_update_of_another_session_is_awaited_and_forgotten() {
    let database = database();
    let mut client = database.connect();
    let her = live(&mut client);
    client.batch_execute("BEGIN").unwrap();
    let update = "update_customer($1, 'zyxw.late@example.com', 'Zyxw Late')";
    call(&mut client, update, &[&her.id]).unwrap();
    let erased = meanwhile(&database, &mut client, |late| erase(late, her.id));
    assert_eq!(erased.version, her.version + 2);
    assert_erased(&mut client, her.id);
    assert_forgotten(&mut client);
}

#[test]
fn of_two_sessions_that_erase_one_customer_the_second_records_nothing() {
    let database = database();
    let mut client = database.connect();
    let her = live(&mut client);
    client.batch_execute("BEGIN").unwrap();
    let erased = erase(&mut client, her.id);
    assert_eq!(meanwhile(&database, &mut client, |late| erase(late, her.id)), erased);
    let events = "SELECT count(*) FROM customers.events WHERE type = 'customer-erased'";
    assert_eq!(one::<i64>(&mut client, events, &[]), 1);
    assert_forgotten(&mut client);
}

#[test]
fn an_update_that_waited_for_the_erasure_is_refused() {
    let database = database();
    let mut client = database.connect();
    let her = live(&mut client);
    client.batch_execute("BEGIN").unwrap();
    erase(&mut client, her.id);
    let refused = meanwhile(&database, &mut client, |late| {
        call(late, "update_customer($1, name => 'Zyxw Late')", &[&her.id])
    });
    assert_refused(refused, "23514", &[SECRET]);
    assert_forgotten(&mut client);
}

/// With a snapshot older than a change, the erasure could miss what the change wrote.
#[test]
fn a_snapshot_older_than_a_change_cannot_erase() {
    let database = database();
    let mut client = database.connect();
    let her = live(&mut client);
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        let mut late = database.connect();
        late.batch_execute(&format!(
            "BEGIN ISOLATION LEVEL {level}; SELECT FROM customers.customers"
        ))
        .unwrap();
        call(&mut client, "update_customer($1, name => $2)", &[&her.id, &format!("Zyxw {level}")])
            .unwrap();
        let error = refusal(call(&mut late, "erase_customer($1)", &[&her.id]));
        assert_eq!(error.code().code(), "40001", "{error:?}");
        assert!(!format!("{error:?}").to_lowercase().contains(SECRET), "{error:?}");
        late.batch_execute("ROLLBACK").unwrap();
    }
    erase(&mut client, her.id);
    assert_forgotten(&mut client);
}

#[test]
fn who_is_being_read_is_erased_without_waiting() {
    let database = database();
    let mut client = database.connect();
    let her = live(&mut client);
    client.batch_execute("SELECT customers.subscribe('mailer')").unwrap();
    let mut reader = database.connect();
    reader
        .batch_execute(
            "BEGIN;
             DECLARE events CURSOR FOR SELECT * FROM customers.events;
             FETCH 1 FROM events;
             DECLARE history CURSOR FOR SELECT customers.customer_history(customer_id) FROM customers.customers;
             FETCH 1 FROM history",
        )
        .unwrap();
    let names =
        "SELECT count(*) FROM customers.fetch_events('mailer') WHERE event::text ILIKE '%zyxw%'";
    assert!(one::<i64>(&mut reader, names, &[]) > 0);
    client.batch_execute("SET lock_timeout = '1ms'").unwrap();
    erase(&mut client, her.id);
    assert_eq!(one::<i64>(&mut reader, names, &[]), 0, "READ COMMITTED reads on without her");
    reader.batch_execute("FETCH ALL FROM events; FETCH ALL FROM history; COMMIT").unwrap();
}

#[test]
fn the_id_is_never_used_again_and_the_address_is_free() {
    let mut client = database().connect();
    let her = live(&mut client);
    erase(&mut client, her.id);
    let before = contents(&mut client);
    let register = "register_customer($2, 'Zyxw', $1)";
    for email in [her.email.clone(), address()] {
        assert_refused(call(&mut client, register, &[&her.id, &email]), "23505", &[SECRET]);
    }
    let import = json!([{ "email": her.email, "customerId": her.id.to_string() }]);
    let outcome = "SELECT concat_ws(' ', outcome, sqlstate) FROM customers.import_customers($1)";
    assert_eq!(one::<String>(&mut client, outcome, &[&import]), "refused 23505");
    let insert = "INSERT INTO customers.customers (customer_id, email) VALUES ($1, $2)";
    assert_eq!(refusal(client.execute(insert, &[&her.id, &her.email])).code().code(), "23505");
    assert_eq!(contents(&mut client), before);

    let again = call(&mut client, "register_customer($1, 'Zyxw')", &[&her.email]).unwrap();
    assert_ne!(again.id, her.id);
    // Erasing the first customer again does not affect the second, who has the address now.
    erase(&mut client, her.id);
    assert_eq!(stored(&mut client, again.id), again);
}

#[test]
fn nobody_and_null_are_refused() {
    let mut client = database().connect();
    registered(&mut client);
    let before = contents(&mut client);
    for function in ["erase_customer", "export_customer"] {
        let query = format!("SELECT customers.{function}($1)::text");
        assert_refused(client.query(&query, &[&id()]), "PT404", &[]);
        assert_refused(client.query(&query, &[&None::<Uuid>]), "22023", &[]);
    }
    let reason = "SELECT customers.erase_customer($1, 'Zyxw asked')::text";
    assert_refused(client.query(reason, &[&id()]), "PT404", &[SECRET]);
    assert_eq!(contents(&mut client), before);
}

#[test]
fn the_ledger_says_who_was_erased_when_by_whom_and_why() {
    let database = database();
    let mut owner = database.connect();
    let officer = role(&mut owner, "");
    owner
        .execute("SELECT customers.grant_access($1::text::regrole, 'privacy')", &[&officer])
        .unwrap();
    let mut client = database.connect_as(&officer);
    let (ann, bea) = (registered(&mut owner), registered(&mut owner));
    let erased = call(&mut client, "erase_customer($1, 'article 17')", &[&ann]).unwrap();
    erase(&mut client, bea);
    let row = owner
        .query_one(
            "SELECT erased_at, erased_by, reason FROM customers.erasures WHERE customer_id = $1",
            &[&ann],
        )
        .unwrap();
    assert_eq!(row.get::<_, std::time::SystemTime>(0), erased.updated_at);
    assert_eq!((row.get(1), row.get(2)), (officer, "article 17".to_owned()));
    let reason = "SELECT reason FROM customers.erasures WHERE customer_id = $1";
    assert_eq!(one::<Option<String>>(&mut owner, reason, &[&bea]), None);
}

#[test]
fn after_a_restore_who_was_erased_is_erased_again() {
    let database = database();
    let mut client = database.connect();
    let (her, kept) = (live(&mut client), register_ann(&mut client));
    let nameless = registered(&mut client);
    let copy = database.copy();
    for id in [her.id, nameless] {
        call(&mut client, "erase_customer($1, 'article 17')", &[&id]).unwrap();
    }
    let mut copied = copy.connect();
    assert!(!telling(&mut copied, SECRET).is_empty());
    let again = "SELECT customers.reapply_erasures()";
    assert_eq!(one::<i64>(&mut copied, again, &[]), 0, "the ledger names nobody yet");

    let ledger = database.dump(&["--data-only", "--table=customers.erasures"]);
    crate::kit::succeed(
        copy.program("psql").args(["--no-psqlrc", "--quiet"]).arg("--file").arg(ledger),
    );
    // A customer registered after the dump does not exist to be erased.
    let later = "INSERT INTO customers.erasures VALUES (gen_random_uuid(), now(), 'postgres')";
    copied.batch_execute(later).unwrap();
    let rows = "SELECT jsonb_agg(e ORDER BY customer_id)::text FROM customers.erasures AS e";
    let before: String = one(&mut copied, rows, &[]);
    assert_eq!(one::<i64>(&mut copied, again, &[]), 2);
    assert_forgotten(&mut copied);
    for id in [her.id, nameless] {
        assert_erased(&mut copied, id);
        let told = "SELECT type || ' ' || reason FROM customers.customer_history($1)
                     ORDER BY version DESC LIMIT 1";
        assert_eq!(one::<String>(&mut copied, told, &[&id]), "customer-erased article 17");
    }
    assert_eq!(stored(&mut copied, kept.id), kept);
    assert_eq!(one::<String>(&mut copied, rows, &[]), before);
    assert_eq!(one::<i64>(&mut copied, again, &[]), 0);
}

/// Only events came back, as from a dump of that table.
#[test]
fn events_that_came_back_are_erased_again() {
    let mut client = database().connect();
    let her = live(&mut client);
    erase(&mut client, her.id);
    let events: i64 = one(&mut client, "SELECT count(*) FROM customers.events", &[]);
    client
        .execute(
            "INSERT INTO customers.events (type, customer_id, version, occurred_at, changes, recorded_by)
             VALUES ('customer-updated', $1, 2, now(), '{\"name\": \"Zyxw\", \"email\": \"zyxw@example.com\"}', 'postgres')",
            &[&her.id],
        )
        .unwrap();
    assert_eq!(one::<i64>(&mut client, "SELECT customers.reapply_erasures()", &[]), 1);
    assert_forgotten(&mut client);
    assert_feed_keeps_contract(&mut client, events as usize + 1);
}

/// Asserts that the rules forbid again what an erasure may do.
fn assert_rules_are_back(client: &mut Client, id: Uuid) {
    for (change, sqlstate) in [
        (
            "UPDATE customers.customers SET email = 'erased+' || customer_id || '@erased.invalid' WHERE customer_id <> $1",
            "22023",
        ),
        (
            "UPDATE customers.customers SET email = 'zyxw.back@example.com' WHERE customer_id = $1",
            "23514",
        ),
        ("UPDATE customers.customers SET name = 'Zyxw' WHERE customer_id = $1", "23514"),
        ("UPDATE customers.customers SET status = 'ACTIVE' WHERE customer_id = $1", "23514"),
        ("DELETE FROM customers.customers WHERE customer_id = $1", "23514"),
        ("UPDATE customers.events SET reason = 'Zyxw' WHERE customer_id = $1", "23514"),
        ("DELETE FROM customers.events WHERE customer_id = $1", "23514"),
    ] {
        let mut savepoint = client.transaction().unwrap();
        let refused = savepoint.execute(change, &[&id]);
        assert_refused(refused, sqlstate, &[SECRET]);
        savepoint.rollback().unwrap();
    }
    assert_refused(client.batch_execute("TRUNCATE customers.events"), "23514", &[]);
}

#[test]
fn the_exemption_does_not_outlive_the_call() {
    let database = database();
    let mut client = database.connect();
    registered(&mut client);
    let her = live(&mut client);
    erase(&mut client, her.id);
    assert_rules_are_back(&mut client, her.id);
    // They do so within the same transaction, and in the same statement.
    let (bea, cid) = (register_ann(&mut client).id, register_ann(&mut client).id);
    let statement = "WITH erased AS MATERIALIZED (SELECT customers.erase_customer($1))
                     UPDATE customers.events SET reason = 'x' FROM erased";
    assert_refused(client.execute(statement, &[&bea]), "23514", &[]);
    client.batch_execute("BEGIN").unwrap();
    erase(&mut client, cid);
    let update = client.batch_execute("UPDATE customers.events SET reason = 'x'");
    assert_refused(update, "23514", &[]);
    client.batch_execute("ROLLBACK").unwrap();
    client.batch_execute("SELECT customers.reapply_erasures()").unwrap();
    assert_rules_are_back(&mut client, her.id);
}

#[test]
fn the_exemption_does_not_outlive_an_error_inside() {
    let database = database();
    let mut client = database.connect();
    let ann = register_ann(&mut client).id;
    let closed = register_ann(&mut client).id;
    call(&mut client, "set_status($1, 'CLOSED')", &[&closed]).unwrap();
    client
        .batch_execute(
            "CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN RAISE ''not now''; END'",
        )
        .unwrap();
    let before = contents(&mut client);
    for (when, table) in [
        ("BEFORE UPDATE", "customers.customers"),
        ("AFTER UPDATE", "customers.customers"),
        ("AFTER UPDATE", "customers.events"),
        ("BEFORE INSERT", "customers.erasures"),
    ] {
        let trigger = format!(
            "CREATE TRIGGER zz {when} ON {table} FOR EACH ROW EXECUTE FUNCTION public.fail()"
        );
        client.batch_execute(&trigger).unwrap();
        let caught = format!(
            "BEGIN;
             DO $$ BEGIN
                PERFORM customers.erase_customer('{ann}');
                RAISE EXCEPTION USING MESSAGE = 'erased in spite of the trigger', ERRCODE = '22000';
             EXCEPTION WHEN raise_exception THEN NULL;
             END $$"
        );
        client.batch_execute(&caught).unwrap();
        let update = client.batch_execute("UPDATE customers.events SET reason = 'x'");
        assert_refused(update, "23514", &[]);
        client.batch_execute("ROLLBACK").unwrap();
        let error = refusal(call(&mut client, "erase_customer($1)", &[&ann]));
        assert_eq!(error.message(), "not now", "{trigger}");
        client.batch_execute(&format!("DROP TRIGGER zz ON {table}")).unwrap();
        assert_rules_are_back(&mut client, closed);
        assert_eq!(contents(&mut client), before);
    }
}

#[test]
fn attach_accepts_who_was_erased() {
    let mut client = database().connect();
    let her = live(&mut client);
    erase(&mut client, her.id);
    let before = contents(&mut client);
    client.batch_execute("SELECT customers.attach()").unwrap();
    client
        .batch_execute("DROP EXTENSION customer_db CASCADE; CREATE EXTENSION customer_db; SELECT customers.attach()")
        .unwrap();
    assert_eq!(contents(&mut client), before);
}

#[test]
fn an_export_holds_every_column_of_a_customer() {
    let mut client = database().connect();
    client
        .batch_execute(
            "ALTER TABLE customers.customers ADD COLUMN \"Loyalty card\" text, ADD COLUMN gone int;
             ALTER TABLE customers.customers DROP COLUMN gone;
             ALTER TABLE customers.events ADD COLUMN client_address inet DEFAULT '::1'",
        )
        .unwrap();
    let her = live(&mut client);
    register_ann(&mut client);
    client.batch_execute("UPDATE customers.customers SET \"Loyalty card\" = 'no. 7'").unwrap();
    let held = "SELECT jsonb_build_object(
                    'customer', (SELECT to_jsonb(c) FROM customers.customers AS c WHERE customer_id = $1),
                    'events', (SELECT jsonb_agg(to_jsonb(e) - 'announce' ORDER BY position)
                                 FROM customers.events AS e WHERE customer_id = $1),
                    'erasure', (SELECT to_jsonb(e) FROM customers.erasures AS e WHERE customer_id = $1))";
    let export = "SELECT customers.export_customer($1)";
    let told: Value = one(&mut client, export, &[&her.id]);
    assert_eq!(told, one::<Value>(&mut client, held, &[&her.id]));
    assert_eq!(told["customer"]["Loyalty card"], "no. 7");
    assert_eq!(told["events"][0]["client_address"], "::1");
    assert_eq!(told["events"].as_array().unwrap().len() as i64, her.version);
    assert_eq!(told["erasure"], Value::Null);

    call(&mut client, "erase_customer($1, 'article 17')", &[&her.id]).unwrap();
    let told: Value = one(&mut client, export, &[&her.id]);
    assert_eq!(told, one::<Value>(&mut client, held, &[&her.id]));
    assert_eq!(told["erasure"]["reason"], "article 17");
    assert!(!told.to_string().to_lowercase().contains(SECRET), "{told}");
}

/// The plans of the statements inside a call, as reported by auto_explain.
fn plans(client: &mut Client, notices: &Notices, call: &str, params: Params) -> Vec<String> {
    client
        .batch_execute(
            "LOAD 'auto_explain';
             SET auto_explain.log_min_duration = 0;
             SET auto_explain.log_nested_statements = on;
             SET auto_explain.log_level = notice",
        )
        .unwrap();
    notices.take();
    client.query(call, params).unwrap();
    let plans = notices.take();
    plans.iter().map(|notice| notice.message().to_owned()).collect()
}

#[test]
fn erasing_a_customer_of_many_events_takes_the_index_and_not_the_feed() {
    let (mut client, notices) = database().connect_for_notices();
    let id = register_ann(&mut client).id;
    client
        .execute(
            "INSERT INTO customers.events (type, customer_id, version, occurred_at, changes, recorded_by)
             SELECT 'customer-updated', CASE WHEN n % 10 = 0 THEN $1 ELSE gen_random_uuid() END, n / 10 + 1,
                    now(), '{\"name\": \"Zyxw\"}', 'postgres'
               FROM generate_series(10, 100009) AS n",
            &[&id],
        )
        .unwrap();
    client.batch_execute("ANALYZE customers.events").unwrap();
    let call = "SELECT customers.erase_customer($1)::text";
    let plans = plans(&mut client, &notices, call, &[&id]);
    let on_events: Vec<&String> = plans
        .iter()
        .filter(|plan| plan.contains(" on events") && !plan.contains("max(position)"))
        .collect();
    assert_eq!(on_events.len(), 3, "{plans:#?}");
    for plan in on_events {
        assert!(plan.contains("idx_events_customer") && !plan.contains("Seq Scan"), "{plan}");
    }
    let left = "SELECT count(*) FROM customers.events
                 WHERE customer_id = $1 AND changes ->> 'name' IS NOT NULL";
    assert_eq!(one::<i64>(&mut client, left, &[&id]), 0);
}
