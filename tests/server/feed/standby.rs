//! Promise: a hot standby answers reads of customers and refuses those of the feed; once promoted, it
//! continues the feed without loss.

use crate::customers::reading::{ann_with_a_past, every_read};
use crate::kit::calls::{functions, outcome, seed};
use crate::kit::{
    Server, all, assert_refused, await_true, begin_change, disable_notify, fetched, one, positions,
    registered,
};
use postgres::Client;

/// Waits until the standby shows what the primary has committed.
fn await_replay(primary: &mut Client, standby: &mut Client) {
    let lsn: String = one(primary, "SELECT pg_current_wal_lsn()::text", &[]);
    let replayed = "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn";
    await_true(standby, replayed, &[&lsn]);
}

#[test]
fn a_standby_reads_customers_and_not_the_feed_and_goes_on_with_it_when_promoted() {
    let primary = Server::start(&[]);
    let database = primary.database();
    let mut writer = database.connect();
    let ann = ann_with_a_past(&mut writer);
    writer.batch_execute("SELECT customers.subscribe('mailer')").unwrap();
    let standby = primary.standby();
    let mut client = standby.connect(&database.name);

    // Replicated only by WAL: a consumer's position, and a transaction prepared between two committed ones.
    writer.batch_execute("SELECT customers.acknowledge('mailer', 2)").unwrap();
    registered(&mut writer);
    let mut preparing = database.connect();
    disable_notify(&mut preparing);
    begin_change(&mut preparing);
    preparing.batch_execute("PREPARE TRANSACTION 'prepared'").unwrap();
    registered(&mut writer);
    await_replay(&mut writer, &mut client);

    let mut transaction = client.transaction().unwrap();
    for function in every_read(&ann) {
        let rows = transaction.query(&format!("SELECT * FROM customers.{function}"), &[]);
        assert!(!rows.unwrap().is_empty(), "{function}");
    }
    let assigned = "SELECT pg_current_xact_id_if_assigned() IS NOT NULL";
    assert!(!one::<bool>(&mut transaction, assigned, &[]));
    transaction.commit().unwrap();
    for function in ["read_events(0)", "fetch_events('mailer')", "fetch_events('nobody')"] {
        let read = client.query(&format!("SELECT customers.{function}"), &[]);
        assert_refused(read, "25006", &[]);
    }

    let before = positions(&mut writer);
    drop(primary);
    standby.pg_ctl("promote");
    // The same session, whose reads were refused before the promotion, can read now.
    assert_eq!(fetched(&mut client, "fetch_events('mailer')"), before[2..5]);
    assert_eq!(fetched(&mut client, "read_events(0)"), before[..5], "the prepared one holds it");
    registered(&mut client);
    assert_eq!(fetched(&mut client, "read_events(0)"), before[..5]);
    client.batch_execute("COMMIT PREPARED 'prepared'").unwrap();
    let after = positions(&mut client);
    assert_eq!(after.len(), before.len() + 2);
    assert_eq!(after[..5], before[..5]);
    assert_eq!(fetched(&mut client, "read_events(0)"), after);
    assert_eq!(fetched(&mut client, "fetch_events('mailer')"), after[2..]);
}

#[test]
fn every_function_answers_on_a_standby_or_is_refused_as_read_only() {
    let primary = Server::start(&[]);
    let database = primary.database();
    let mut writer = database.connect();
    seed(&mut writer);
    let standby = primary.standby();
    let mut client = standby.connect(&database.name);
    await_replay(&mut writer, &mut client);
    let answering = [
        "get_customer",
        "find_customer",
        "list_customers",
        "search_customers",
        "canonical_email",
        "canonical_name",
        "customer_history",
        "customer_timeline",
        "export_customer",
        "broken_rule",
        "offenders",
        "verify",
        "metrics",
        "duties",
    ];
    let triggers =
        ["guard", "refuse_removal", "record_registered", "record_updated", "keep_erasure"];
    for function in functions(&mut writer) {
        let expected = match function.name.as_str() {
            name if answering.contains(&name) => "00000",
            name if triggers.contains(&name) => continue,
            _ => "25006",
        };
        assert_eq!(outcome(&mut client, &function.call()), expected, "{}", function.name);
    }
    let not_ok: Vec<String> =
        all(&mut client, "SELECT check_name FROM customers.verify() WHERE NOT ok", &[]);
    assert_eq!(not_ok, [""; 0]);
    writer.batch_execute("SET default_transaction_read_only = on").unwrap();
    for call in [
        "register_customer('a@example.com')",
        "import_customers('[]')",
        "attach()",
        "reapply_erasures()",
    ] {
        assert_eq!(outcome(&mut writer, &format!("SELECT customers.{call}")), "25006", "{call}");
    }
}
