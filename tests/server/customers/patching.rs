//! Promise: patch_customer applies a JSON merge patch (RFC 7396) to e-mail, name and status, and refuses
//! everything else.

use crate::kit::{
    Customer, address, assert_refused, call, contents, database, event_count, one, refusal,
    register_ann, stored,
};
use postgres::Client;
use serde_json::{Value, json};
use uuid::Uuid;

fn patch(client: &mut Client, id: Uuid, patch: Value) -> Result<Customer, postgres::Error> {
    call(client, "patch_customer($1, $2)", &[&id, &patch])
}

/// Asserts that every patch is refused with this SQLSTATE, changes nothing and discloses no secret.
fn assert_all_refused(patches: impl IntoIterator<Item = Value>, sqlstate: &str, secrets: &[&str]) {
    let mut client = database().connect();
    let ann = register_ann(&mut client);
    let before = contents(&mut client);
    for bad in patches {
        assert_refused(patch(&mut client, ann.id, bad), sqlstate, secrets);
    }
    assert_eq!(contents(&mut client), before);
}

#[test]
fn a_present_field_changes_and_an_absent_one_stays() {
    let mut client = database().connect();
    let ann = register_ann(&mut client);
    let after = patch(&mut client, ann.id, json!({"name": " Bea "})).unwrap();
    assert_eq!((after.name.as_deref(), &after.email), (Some("Bea"), &ann.email));
    let after = patch(&mut client, ann.id, json!({"status": "SUSPENDED"})).unwrap();
    assert_eq!((after.name.as_deref(), after.status.as_str()), (Some("Bea"), "SUSPENDED"));
    let email = address();
    let after = patch(&mut client, ann.id, json!({"email": email.to_uppercase()})).unwrap();
    assert_eq!((&after.email, after.status.as_str()), (&email, "SUSPENDED"));
    assert_eq!(after, stored(&mut client, ann.id));
    assert_eq!((after.version, event_count(&mut client)), (4, 4));
}

#[test]
fn several_fields_are_one_change_and_one_event() {
    let mut client = database().connect();
    let id = register_ann(&mut client).id;
    let email = address();
    let whole = json!({"status": "SUSPENDED", "name": "Bea", "email": email});
    let after = patch(&mut client, id, whole.clone()).unwrap();
    assert_eq!((after.version, event_count(&mut client)), (2, 2));
    let changes: Value =
        one(&mut client, "SELECT changes FROM customers.events WHERE version = 2", &[]);
    assert_eq!(changes, whole);
}

#[test]
fn null_clears_the_name() {
    let mut client = database().connect();
    let id = register_ann(&mut client).id;
    let after = patch(&mut client, id, json!({"name": null})).unwrap();
    assert_eq!((after.name, after.version), (None, 2));
    let changes: Value =
        one(&mut client, "SELECT changes FROM customers.events WHERE version = 2", &[]);
    assert_eq!(changes, json!({"name": null}));

    let again = patch(&mut client, id, json!({"name": null})).unwrap();
    assert_eq!((again.version, event_count(&mut client)), (2, 2));
}

#[test]
fn a_patch_of_what_is_already_there_changes_nothing() {
    let mut client = database().connect();
    let ann = register_ann(&mut client);
    let before = contents(&mut client);
    let same = json!({"email": ann.email.to_uppercase(), "name": "Ann ", "status": "ACTIVE"});
    assert_eq!(patch(&mut client, ann.id, same).unwrap(), ann);
    assert_eq!(contents(&mut client), before);
}

#[test]
fn null_for_an_address_or_a_status_is_refused() {
    assert_all_refused(
        [
            json!({"email": null}),
            json!({"status": null}),
            json!({"name": "Bea", "email": null}),
            json!({"name": null, "status": null}),
        ],
        "22023",
        &["Bea"],
    );
}

#[test]
fn an_empty_patch_and_whatever_is_no_object_are_refused() {
    assert_all_refused(
        [
            json!({}),
            json!([]),
            json!([{"name": "Bea"}]),
            json!("Bea"),
            json!(""),
            json!(0),
            json!(1e300),
            json!(true),
            Value::Null,
        ],
        "22023",
        &["Bea"],
    );
    let mut client = database().connect();
    let ann = register_ann(&mut client);
    let null = None::<Value>;
    assert_refused(call(&mut client, "patch_customer($1, $2)", &[&ann.id, &null]), "22023", &[]);
    assert_eq!(stored(&mut client, ann.id), ann);
}

#[test]
fn a_field_that_is_not_part_of_the_profile_is_refused_by_name() {
    let mut client = database().connect();
    let ann = register_ann(&mut client);
    let before = contents(&mut client);
    for field in [
        "password",
        "passwordHash",
        "customer_id",
        "customerId",
        "registered_at",
        "updated_at",
        "version",
        "Email",
        "NAME",
        "role",
    ] {
        for bad in [
            json!({field: "hunter2"}),
            json!({"name": "Bea", field: "hunter2"}),
            json!({field: null}),
        ] {
            let error = refusal(patch(&mut client, ann.id, bad.clone()));
            assert_eq!(error.code().code(), "22023", "{bad}");
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
            assert!(!format!("{error:?}").contains("Bea"), "{error:?}");
            if field.starts_with(|c: char| c.is_ascii_lowercase()) {
                assert!(error.message().contains(field), "{field} in {error:?}");
            }
        }
    }
    assert_eq!(contents(&mut client), before);
}

#[test]
fn a_key_that_could_be_personal_data_is_refused_but_not_told() {
    let long = "zyxw".repeat(1000);
    assert_all_refused(
        [
            "zyxw@example.com",
            "Zyxw",
            "Zyxw Example",
            "zyxw example",
            "zyxw.example",
            "zyxw\u{e9}",
            "\u{202e}zyxw",
            "",
            " zyxw",
            "zyxw\n",
            "+49 170 zyxw",
            long.as_str(),
            "%s%n zyxw",
        ]
        .map(|key| json!({key: "x"})),
        "22023",
        &["zyxw"],
    );
}

#[test]
fn a_value_that_is_no_text_is_refused() {
    let values =
        [json!(1), json!(1.5), json!(true), json!(["zyxw"]), json!({"zyxw": "zyxw"}), json!([])];
    let patches = ["email", "name", "status"]
        .into_iter()
        .flat_map(|field| values.iter().map(move |value| json!({field: value})));
    assert_all_refused(patches, "22023", &["zyxw"]);
}

/// jsonb holds more than serde_json accepts by default: numbers beyond a double, and deep nesting.
#[test]
fn a_value_beyond_what_other_json_libraries_take_is_refused_like_any_other() {
    let mut client = database().connect();
    let ann = register_ann(&mut client);
    let before = contents(&mut client);
    let deep = format!("{}\"zyxw\"{}", "[".repeat(500), "]".repeat(500));
    for bad in ["1e400", "-1e1000", &"9".repeat(500), &deep] {
        for patch in
            [format!(r#"{{"name": {bad}}}"#), format!(r#"{{"zyxw zyxw": {bad}}}"#), bad.to_owned()]
        {
            let result =
                call(&mut client, "patch_customer($1, $2::text::jsonb)", &[&ann.id, &patch]);
            assert_refused(result, "22023", &["zyxw"]);
        }
    }
    assert_eq!(contents(&mut client), before);
}

#[test]
fn a_text_that_breaks_its_rule_is_refused() {
    assert_all_refused(
        [
            json!({"email": ""}),
            json!({"email": "zyxw"}),
            json!({"email": "zyxw@localhost"}),
            json!({"name": ""}),
            json!({"name": "zyxw\u{202e}"}),
            json!({"status": ""}),
            json!({"status": "zyxw"}),
            json!({"name": "zyxw", "status": "closed"}),
        ],
        "22023",
        &["zyxw"],
    );
}

#[test]
fn the_refusals_of_a_change_are_those_of_update_customer() {
    let mut client = database().connect();
    let (ann, bea) = (register_ann(&mut client), register_ann(&mut client));
    call(&mut client, "set_status($1, 'CLOSED')", &[&bea.id]).unwrap();
    let before = contents(&mut client);

    let name = json!({"name": "Zyxw"});
    let secrets = ["Zyxw", &ann.email, &bea.email];
    assert_refused(patch(&mut client, Uuid::nil(), name.clone()), "PT404", &secrets);
    assert_refused(patch(&mut client, bea.id, name.clone()), "23514", &secrets);
    assert_refused(patch(&mut client, ann.id, json!({"email": bea.email})), "23505", &secrets);
    let versioned = "patch_customer($1, $2, expected_version => $3)";
    assert_refused(call(&mut client, versioned, &[&ann.id, &name, &7_i64]), "PT409", &secrets);
    let detail = refusal(call(&mut client, versioned, &[&ann.id, &name, &7_i64]));
    assert!(detail.detail().is_some_and(|d| d.contains('7') && d.contains('1')), "{detail:?}");
    let null = None::<Uuid>;
    assert_refused(call(&mut client, "patch_customer($1, $2)", &[&null, &name]), "22023", &secrets);
    assert_eq!(contents(&mut client), before);

    assert_eq!(call(&mut client, versioned, &[&ann.id, &name, &1_i64]).unwrap().version, 2);
}
