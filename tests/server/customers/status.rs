//! Promise: an account moves between ACTIVE and SUSPENDED, and from either to CLOSED, for good.

use crate::kit::{
    Customer, address, assert_refused, call, contents, database, event_count, one, register_ann,
    stored,
};
use postgres::GenericClient;
use uuid::Uuid;

const STATUSES: [&str; 3] = ["ACTIVE", "SUSPENDED", "CLOSED"];

fn set_status(
    client: &mut impl GenericClient,
    id: Uuid,
    status: &str,
) -> Result<Customer, postgres::Error> {
    call(client, "set_status($1, $2)", &[&id, &status])
}

/// A customer whose account has this status.
fn account(client: &mut impl GenericClient, status: &str) -> Customer {
    let id = register_ann(client).id;
    set_status(client, id, status).unwrap()
}

/// The reasons in a customer's history, in order.
fn reasons(client: &mut impl GenericClient, id: Uuid) -> Vec<Option<String>> {
    let history = "SELECT reason FROM customers.customer_history($1)";
    client.query(history, &[&id]).unwrap().iter().map(|row| row.get(0)).collect()
}

#[test]
fn an_open_account_moves_to_every_other_status() {
    let mut client = database().connect();
    for from in ["ACTIVE", "SUSPENDED"] {
        for to in STATUSES.into_iter().filter(|to| *to != from) {
            let before = account(&mut client, from);
            let after = set_status(&mut client, before.id, to).unwrap();
            assert_eq!((after.status.as_str(), after.version), (to, before.version + 1));
            assert!(after.updated_at > before.updated_at);
            assert_eq!((&after.email, &after.name), (&before.email, &before.name));
            assert_eq!(after, stored(&mut client, before.id));
        }
    }
}

#[test]
fn the_status_it_already_has_is_a_success_that_records_nothing() {
    let mut client = database().connect();
    for status in STATUSES {
        let before = account(&mut client, status);
        let everything = contents(&mut client);
        assert_eq!(set_status(&mut client, before.id, status).unwrap(), before);
        let with_reason = call(&mut client, "set_status($1, $2, 'why')", &[&before.id, &status]);
        assert_eq!(with_reason.unwrap(), before);
        assert_eq!(contents(&mut client), everything);
    }
}

#[test]
fn a_closed_account_refuses_every_kind_of_change() {
    let mut client = database().connect();
    let closed = account(&mut client, "CLOSED");
    let before = contents(&mut client);
    let set = |set: &str| format!("UPDATE customers.customers SET {set} WHERE customer_id = $1");
    let function = |call: &str| format!("SELECT customers.{call}");
    for change in [
        function("set_status($1, 'ACTIVE')"),
        function("set_status($1, 'SUSPENDED', 'why', 2)"),
        function("update_customer($1, email => 'zyxw@example.com')"),
        function("update_customer($1, name => 'Zyxw')"),
        function("update_customer($1, status => 'ACTIVE')"),
        function("patch_customer($1, '{\"name\": null}')"),
        function("patch_customer($1, '{\"name\": \"Zyxw\"}')"),
        function("patch_customer($1, '{\"email\": \"zyxw@example.com\"}')"),
        set("email = 'zyxw@example.com'"),
        set("name = 'Zyxw'"),
        set("name = NULL"),
        set("status = 'ACTIVE'"),
        set("status = 'SUSPENDED'"),
    ] {
        let secrets = ["Zyxw", closed.email.as_str()];
        assert_refused(client.execute(&change, &[&closed.id]), "23514", &secrets);
    }
    assert_eq!(contents(&mut client), before);
}

#[test]
fn a_closed_account_takes_a_change_that_changes_nothing() {
    let mut client = database().connect();
    let closed = account(&mut client, "CLOSED");
    let before = contents(&mut client);
    let email = closed.email.to_uppercase();
    let same = call(&mut client, "update_customer($1, $2, 'Ann', 'CLOSED')", &[&closed.id, &email]);
    assert_eq!(same.unwrap(), closed);
    client.execute("UPDATE customers.customers SET name = ' Ann '", &[]).unwrap();
    assert_eq!(contents(&mut client), before);
}

#[test]
fn a_customer_can_be_inserted_closed_and_stays_so() {
    let mut client = database().connect();
    let insert = "INSERT INTO customers.customers (email, status) VALUES ($1, 'CLOSED') RETURNING customer_id";
    let id = one(&mut client, insert, &[&address()]);
    assert_refused(set_status(&mut client, id, "ACTIVE"), "23514", &[]);
}

#[test]
fn a_word_that_is_no_status_is_refused() {
    let mut client = database().connect();
    for from in ["ACTIVE", "CLOSED"] {
        let before = account(&mut client, from);
        for bad in
            ["", "active", "CLOSED ", "DELETED", "Zyxw", "ACTIVE\u{200b}", "'; DROP TABLE x; --"]
        {
            assert_refused(set_status(&mut client, before.id, bad), "22023", &["Zyxw", "DROP"]);
        }
        let null = None::<&str>;
        let missing = call(&mut client, "set_status($1, $2)", &[&before.id, &null]);
        assert_refused(missing, "22023", &[]);
        assert_eq!(stored(&mut client, before.id), before);
    }
}

#[test]
fn nobody_has_no_status() {
    let mut client = database().connect();
    let command = "set_status($1, 'CLOSED', expected_version => $2)";
    for version in [None, Some(1_i64)] {
        assert_refused(call(&mut client, command, &[&Uuid::nil(), &version]), "PT404", &[]);
        assert_refused(call(&mut client, command, &[&None::<Uuid>, &version]), "22023", &[]);
    }
}

#[test]
fn the_expected_version_decides() {
    let mut client = database().connect();
    let ann = register_ann(&mut client);
    let command = "set_status($1, $2, expected_version => $3)";
    for status in ["SUSPENDED", "ACTIVE"] {
        let stale = call(&mut client, command, &[&ann.id, &status, &2_i64]);
        assert_refused(stale, "PT409", &[&ann.email]);
    }
    assert_eq!(stored(&mut client, ann.id), ann);
    assert_eq!(call(&mut client, command, &[&ann.id, &"CLOSED", &1_i64]).unwrap().version, 2);
}

#[test]
fn the_reason_is_kept_in_the_history() {
    let mut client = database().connect();
    let id = register_ann(&mut client).id;
    call(&mut client, "set_status($1, 'SUSPENDED', 'caf\u{e9} ''fraud''\n')", &[&id]).unwrap();
    assert_eq!(reasons(&mut client, id), [None, Some("caf\u{e9} 'fraud'\n".to_owned())]);
}

#[test]
fn the_reason_does_not_pass_to_the_next_statement() {
    let mut client = database().connect();
    let (ann, bea) = (register_ann(&mut client).id, account(&mut client, "CLOSED").id);
    let mut transaction = client.transaction().unwrap();
    let why = "set_status($1, $2, 'why')";
    call(&mut transaction, why, &[&ann, &"SUSPENDED"]).unwrap();
    call(&mut transaction, "set_status($1, 'ACTIVE')", &[&ann]).unwrap();
    // Neither a change that records nothing nor a refused one leaves a reason behind.
    call(&mut transaction, why, &[&ann, &"ACTIVE"]).unwrap();
    call(&mut transaction, "update_customer($1, name => 'Bea')", &[&ann]).unwrap();
    for status in ["ACTIVE", "nonsense"] {
        let mut savepoint = transaction.transaction().unwrap();
        assert!(call(&mut savepoint, why, &[&bea, &status]).is_err());
        savepoint.rollback().unwrap();
    }
    transaction
        .execute("UPDATE customers.customers SET name = 'Cleo' WHERE customer_id = $1", &[&ann])
        .unwrap();
    transaction.commit().unwrap();
    call(&mut client, "update_customer($1, name => 'Dora')", &[&ann]).unwrap();

    let why = Some("why".to_owned());
    assert_eq!(reasons(&mut client, ann), [None, why, None, None, None, None]);
    let leaked: i64 = one(
        &mut client,
        "SELECT count(*) FROM customers.events WHERE reason IS NOT NULL AND customer_id <> $1",
        &[&ann],
    );
    assert_eq!(leaked, 0);
}

/// A trigger that changes another account as well: each event keeps its own reason.
#[test]
fn the_reason_survives_a_command_inside_the_command() {
    let mut client = database().connect();
    let (ann, bea) = (register_ann(&mut client).id, register_ann(&mut client).id);
    client
        .batch_execute(&format!(
            "CREATE FUNCTION public.follow() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN
                 PERFORM customers.set_status('{bea}', new.status, 'follows');
                 RETURN NULL;
             END $$;
             CREATE TRIGGER follow AFTER UPDATE OF status ON customers.customers
                 FOR EACH ROW WHEN (new.customer_id = '{ann}') EXECUTE FUNCTION public.follow()"
        ))
        .unwrap();
    call(&mut client, "set_status($1, 'SUSPENDED', 'fraud')", &[&ann]).unwrap();
    assert_eq!(event_count(&mut client), 4);
    assert_eq!(reasons(&mut client, bea), [None, Some("follows".to_owned())]);
    assert_eq!(reasons(&mut client, ann), [None, Some("fraud".to_owned())]);
}
