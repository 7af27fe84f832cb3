//! Promise: JSON that a driver encoded twice is refused with a HINT that says so.

use crate::kit::{assert_refused, contents, database, refusal, register_ann};
use postgres::Client;

/// Asserts that a call is refused, with a HINT that contains all of these words.
fn assert_hinted(client: &mut Client, call: &str, words: &[&str]) {
    assert_refused(client.batch_execute(call), "22023", &["zyxw"]);
    let error = refusal(client.batch_execute(call));
    let hint = error.hint().unwrap_or_default().to_lowercase();
    for word in words {
        assert!(hint.contains(word), "{call}: no {word:?} in {hint:?}");
    }
}

#[test]
fn a_patch_that_is_a_string_is_told_to_be_encoded_twice() {
    let mut client = database().connect();
    let ann = register_ann(&mut client).id;
    let before = contents(&mut client);
    for patch in [r#""{\"name\": \"Zyxw\"}""#, r#""{\"email\": \"zyxw@example.com\"}""#, r#""{}""#]
    {
        let call = format!("SELECT customers.patch_customer('{ann}', '{patch}'::jsonb)");
        assert_hinted(&mut client, &call, &["string", "twice", "object"]);
    }
    assert_eq!(contents(&mut client), before);
}

#[test]
fn an_import_that_is_a_string_is_told_to_be_encoded_twice() {
    let mut client = database().connect();
    let before = contents(&mut client);
    for batch in [r#""[{\"email\": \"zyxw@example.com\"}]""#, r#""[]""#] {
        let call = format!("SELECT * FROM customers.import_customers('{batch}'::jsonb)");
        assert_hinted(&mut client, &call, &["string", "twice", "array"]);
    }
    assert_eq!(contents(&mut client), before);
}
