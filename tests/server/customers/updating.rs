//! Promise: update_customer changes the fields that are given, and nothing else.

use crate::kit::{
    address, assert_refused, call, contents, database, event_count, one, refusal, register_ann,
    stored,
};
use std::time::Duration;
use uuid::Uuid;

#[test]
fn a_given_field_changes_and_null_leaves_the_others() {
    let mut client = database().connect();
    let before = register_ann(&mut client);
    let email = address();

    let after =
        call(&mut client, "update_customer($1, email => $2)", &[&before.id, &email]).unwrap();
    assert_eq!((&after.email, &after.name, &after.status), (&email, &before.name, &before.status));
    let after = call(&mut client, "update_customer($1, name => 'Bea')", &[&before.id]).unwrap();
    assert_eq!((&after.email, after.name.as_deref()), (&email, Some("Bea")));
    let after =
        call(&mut client, "update_customer($1, status => 'SUSPENDED')", &[&before.id]).unwrap();
    assert_eq!((after.name.as_deref(), after.status.as_str()), (Some("Bea"), "SUSPENDED"));
    assert_eq!(after.registered_at, before.registered_at);
}

#[test]
fn it_returns_the_customer_as_the_table_has_it() {
    let mut client = database().connect();
    let id = register_ann(&mut client).id;
    let returned = call(
        &mut client,
        "update_customer($1, $2, ' Zoe\u{308} ', 'SUSPENDED', 1)",
        &[&id, &address()],
    )
    .unwrap();
    assert_eq!(returned, stored(&mut client, id));
    assert_eq!(returned.name.as_deref(), Some("Zo\u{eb}"));
}

#[test]
fn several_fields_at_once_are_one_change_and_one_event() {
    let mut client = database().connect();
    let id = register_ann(&mut client).id;
    let after =
        call(&mut client, "update_customer($1, $2, 'Bea', 'SUSPENDED')", &[&id, &address()])
            .unwrap();
    assert_eq!((after.version, event_count(&mut client)), (2, 2));
}

#[test]
fn nothing_given_is_a_success_that_changes_nothing() {
    let mut client = database().connect();
    let ann = register_ann(&mut client);
    let before = contents(&mut client);
    assert_eq!(call(&mut client, "update_customer($1)", &[&ann.id]).unwrap(), ann);
    assert_eq!(
        call(&mut client, "update_customer($1, NULL, NULL, NULL, NULL)", &[&ann.id]).unwrap(),
        ann
    );
    assert_eq!(contents(&mut client), before);
}

#[test]
fn setting_what_is_already_there_in_any_spelling_changes_nothing() {
    let mut client = database().connect();
    let ann = call(&mut client, "register_customer('ann@example.com', 'Zo\u{eb}')", &[]).unwrap();
    let before = contents(&mut client);
    let (email, name) = (" ANN@Example.COM\t", "\u{3000}Zoe\u{308} ");
    let same =
        call(&mut client, "update_customer($1, $2, $3, 'ACTIVE')", &[&ann.id, &email, &name]);
    assert_eq!(same.unwrap(), ann);
    assert_eq!(contents(&mut client), before);
}

#[test]
fn each_change_adds_one_to_the_version_and_moves_updated_at() {
    let mut client = database().connect();
    let mut last = register_ann(&mut client);
    for name in ["Bea", "Cleo", "Bea"] {
        let next =
            call(&mut client, "update_customer($1, name => $2)", &[&last.id, &name]).unwrap();
        assert_eq!(next.version, last.version + 1);
        assert!(next.updated_at > last.updated_at);
        last = next;
    }
    assert_eq!(event_count(&mut client), 4);
}

#[test]
fn updated_at_ascends_also_within_one_transaction() {
    let mut client = database().connect();
    let mut transaction = client.transaction().unwrap();
    let mut last = register_ann(&mut transaction);
    for name in ["Bea", "Cleo", "Dora"] {
        let next =
            call(&mut transaction, "update_customer($1, name => $2)", &[&last.id, &name]).unwrap();
        assert_eq!(next.updated_at, last.updated_at + Duration::from_micros(1));
        last = next;
    }
}

#[test]
fn updated_at_of_the_first_change_in_a_transaction_is_now() {
    let mut client = database().connect();
    let id = register_ann(&mut client).id;
    assert!(one::<bool>(
        &mut client,
        "SELECT updated_at = now() FROM customers.update_customer($1, name => 'Bea')",
        &[&id]
    ));
}

#[test]
fn an_address_is_stored_in_canonical_form() {
    let mut client = database().connect();
    let id = register_ann(&mut client).id;
    let email = " JOSE\u{301}@Bu\u{308}cher.Example\r\n";
    let after = call(&mut client, "update_customer($1, $2)", &[&id, &email]).unwrap();
    assert_eq!(after.email, "jos\u{e9}@xn--bcher-kva.example");
}

#[test]
fn the_expected_version_lets_a_change_through() {
    let mut client = database().connect();
    let id = register_ann(&mut client).id;
    for version in 1..4_i64 {
        let name = format!("Ann {version}");
        let after = call(
            &mut client,
            "update_customer($1, name => $2, expected_version => $3)",
            &[&id, &name, &version],
        );
        assert_eq!(after.unwrap().version, version + 1);
    }
}

#[test]
fn another_version_than_the_expected_one_is_refused_and_both_are_named() {
    let mut client = database().connect();
    let ann = register_ann(&mut client);
    call(&mut client, "update_customer($1, name => 'Bea')", &[&ann.id]).unwrap();
    let before = contents(&mut client);
    for expected in [1, 3, 0, -1, i64::MIN, i64::MAX] {
        for fields in ["", "name => 'Cleo',", "name => 'Bea',"] {
            let command = format!("update_customer($1, {fields} expected_version => $2)");
            let error = refusal(call(&mut client, &command, &[&ann.id, &expected]));
            assert_eq!(error.code().code(), "PT409");
            let detail = error.detail().unwrap_or_default();
            assert!(numbers_of(detail).eq([expected, 2]), "{expected} and 2 in {detail:?}");
        }
        assert_refused(
            call(&mut client, "update_customer($1, expected_version => $2)", &[&ann.id, &expected]),
            "PT409",
            &[&ann.email, "Bea"],
        );
    }
    assert_eq!(contents(&mut client), before);
}

fn numbers_of(text: &str) -> impl Iterator<Item = i64> {
    text.split(|c: char| !c.is_ascii_digit() && c != '-').filter_map(|word| word.parse().ok())
}

#[test]
fn nobody_cannot_be_updated() {
    let mut client = database().connect();
    let ann = register_ann(&mut client);
    let before = contents(&mut client);
    let nobody = Uuid::from_u128(404);
    for arguments in ["$1", "$1, name => 'Bea'", "$1, name => 'Bea', expected_version => 1"] {
        let command = format!("update_customer({arguments})");
        assert_refused(call(&mut client, &command, &[&nobody]), "PT404", &["Bea"]);
    }
    let null = None::<Uuid>;
    assert_refused(call(&mut client, "update_customer($1, 'x')", &[&null]), "22023", &[]);
    assert_eq!(contents(&mut client), before);
    assert_eq!(stored(&mut client, ann.id), ann);
}

#[test]
fn an_address_of_somebody_else_is_refused_in_any_spelling() {
    let mut client = database().connect();
    let (ann, bea) = (register_ann(&mut client), register_ann(&mut client));
    call(&mut client, "set_status($1, 'CLOSED')", &[&bea.id]).unwrap();
    let before = contents(&mut client);
    for email in [bea.email.clone(), format!(" {}\n", bea.email.to_uppercase())] {
        assert_refused(
            call(&mut client, "update_customer($1, $2)", &[&ann.id, &email]),
            "23505",
            &[&bea.email, bea.email.split('@').next().unwrap()],
        );
    }
    assert_eq!(contents(&mut client), before);
}

#[test]
fn a_value_that_breaks_its_rule_is_refused() {
    let mut client = database().connect();
    let ann = register_ann(&mut client);
    let before = contents(&mut client);
    for (field, bad) in [
        ("email", ""),
        ("email", "bea.example.com"),
        ("email", "bea@erased.invalid"),
        ("name", ""),
        ("name", "Bea\nBea"),
        ("status", ""),
        ("status", "active"),
        ("status", "DELETED"),
        ("status", " CLOSED"),
    ] {
        let command = format!("update_customer($1, {field} => $2)");
        assert_refused(call(&mut client, &command, &[&ann.id, &bad]), "22023", &["bea"]);
    }
    assert_eq!(contents(&mut client), before);
}

#[test]
fn a_good_field_beside_a_bad_one_does_not_change_either() {
    let mut client = database().connect();
    let ann = register_ann(&mut client);
    let bad = call(&mut client, "update_customer($1, $2, 'Bea', 'GONE')", &[&ann.id, &address()]);
    assert_refused(bad, "22023", &["Bea"]);
    assert_eq!(stored(&mut client, ann.id), ann);
}
