//! Promise: text that is not valid UTF-8 is refused in every input; stored text that is not can be read,
//! corrected and erased.

use crate::kit::attack::{
    SECRET, Watch, broken_texts, past_the_triggers, psql, server_with_broken_settings,
};
use crate::kit::calls::{attempt, functions, outcome, seed};
use crate::kit::{
    Database, all, assert_refused, await_true, call, contents, one, printed, refusal, register_ann,
    role, stored, unique,
};
use postgres::{Client, GenericClient};
use std::process::Stdio;
use uuid::Uuid;

/// Asserts that a statement is refused with one of these SQLSTATEs, with a HINT and without a value.
fn assert_refuses(client: &mut impl GenericClient, statement: &str, sqlstates: &[&str]) {
    let error = attempt(client, statement).unwrap_or_else(|| panic!("not refused: {statement}"));
    assert!(sqlstates.contains(&error.code().code()), "{statement}: {error:?}");
    assert!(error.hint().is_some_and(|hint| !hint.is_empty()), "{statement}: {error:?}");
    assert!(!format!("{error:?}").to_lowercase().contains(SECRET), "{statement}: {error:?}");
}

#[test]
fn text_that_is_not_utf8_is_refused_by_every_function_and_nothing_is_stored() {
    let server = server_with_broken_settings();
    let database = server.database();
    let mut client = database.connect();
    seed(&mut client);
    let mut watch = Watch::over(&server);
    let before = contents(&mut client);
    let mut refused = 0;
    for function in functions(&mut client) {
        for (argument, r#type) in &function.arguments {
            // broken_rule() reports what is wrong with stored values, these included.
            if r#type != "text" || function.name == "broken_rule" {
                continue;
            }
            for broken in broken_texts() {
                let whole = if argument == "email" {
                    format!("{broken} || '@example.com'")
                } else {
                    format!("'zyxw' || {broken}")
                };
                for text in [broken, whole] {
                    let call = function
                        .call_with(|name, _| (name == argument.as_str()).then(|| text.clone()));
                    assert_refuses(&mut client, &call, &["22021"]);
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 200, "{refused}");
    watch.assert_stayed_up();
    assert_eq!(contents(&mut client), before);
}

/// Long texts whose last character is cut short: code that took them for valid would read beyond their end.
#[test]
fn long_text_that_is_not_utf8_is_refused_and_nothing_is_stored() {
    let server = server_with_broken_settings();
    let database = server.database();
    let mut client = database.connect();
    seed(&mut client);
    let mut watch = Watch::over(&server);
    let before = contents(&mut client);
    for function in functions(&mut client) {
        for (argument, r#type) in &function.arguments {
            if r#type != "text" || function.name == "broken_rule" {
                continue;
            }
            // Lengths at which the text ends where its allocation does.
            for length in [1_000, 3_995, 4_095, 8_180, 163_760, 1_000_000] {
                let text =
                    format!("repeat('x', {length} - 4) || current_setting('broken.cut_short')");
                let call =
                    function.call_with(|name, _| (name == argument.as_str()).then(|| text.clone()));
                // PT404: no consumer has a name that long.
                assert_refuses(&mut client, &call, &["22021", "22023", "PT404"]);
            }
        }
    }
    watch.assert_stayed_up();
    assert_eq!(contents(&mut client), before);
}

#[test]
fn a_patch_that_is_not_utf8_is_refused_and_changes_nothing() {
    let server = server_with_broken_settings();
    let mut client = server.database().connect();
    let id = register_ann(&mut client).id;
    let mut watch = Watch::over(&server);
    let before = contents(&mut client);
    for broken in broken_texts() {
        for (patch, sqlstates) in [
            (format!("jsonb_build_object('email', {broken} || '@example.com')"), &["22021"][..]),
            (format!("jsonb_build_object('email', {broken})"), &["22021"]),
            (format!("jsonb_build_object('name', {broken})"), &["22021"]),
            (format!("jsonb_build_object('status', {broken})"), &["22021"]),
            (format!("jsonb_build_object('name', 'Bea', 'email', {broken})"), &["22021"]),
            (format!("jsonb_build_object('name', repeat('x', 3000) || {broken})"), &["22021"]),
            // 22023 if the length is checked first.
            (
                format!("jsonb_build_object('name', repeat('x', 163760) || {broken})"),
                &["22021", "22023"],
            ),
            (format!("jsonb_build_object({broken}, 1)"), &["22021", "22023"]),
            (
                format!("jsonb_build_object('name', jsonb_build_array({broken}))"),
                &["22021", "22023"],
            ),
            (format!("to_jsonb({broken})"), &["22021", "22023"]),
            (format!("jsonb_build_array({broken})"), &["22021", "22023"]),
        ] {
            let patch = format!("SELECT customers.patch_customer('{id}', {patch})");
            assert_refuses(&mut client, &patch, sqlstates);
        }
    }
    watch.assert_stayed_up();
    assert_eq!(contents(&mut client), before);
}

#[test]
fn an_import_refuses_what_is_not_utf8_and_registers_the_others() {
    let server = server_with_broken_settings();
    let mut client = server.database().connect();
    let mut watch = Watch::over(&server);
    for (n, broken) in broken_texts().iter().enumerate() {
        let good = |place: &str| format!("{place}{n}@example.com");
        let first = format!("jsonb_build_object('email', '{}')", good("first"));
        let last = format!("jsonb_build_object('email', '{}', 'name', 'Bea')", good("last"));
        let with = |field: &str| {
            format!("jsonb_build_object('email', '{}', '{field}', {broken})", good("bad"))
        };
        // 22023 if it is first refused as no UUID, no moment or no field.
        let either = &["22021", "22023"][..];
        let batch = [
            (first, None),
            (
                format!("jsonb_build_object('email', {broken} || '@example.com')"),
                Some(&["22021"][..]),
            ),
            (format!("jsonb_build_object('email', {broken})"), Some(&["22021"])),
            (with("name"), Some(&["22021"])),
            (with("status"), Some(&["22021"])),
            (with("customerId"), Some(either)),
            (with("registeredAt"), Some(either)),
            (with("nickname"), Some(either)),
            (format!("jsonb_build_object({broken}, 1)"), Some(either)),
            (format!("to_jsonb({broken})"), Some(either)),
            (last, None),
        ];
        let elements: Vec<&str> = batch.iter().map(|(element, _)| element.as_str()).collect();
        let import = format!(
            "SELECT outcome, sqlstate, message
               FROM customers.import_customers(jsonb_build_array({})) ORDER BY ordinal",
            elements.join(", ")
        );
        let rows = client.query(&import, &[]).unwrap();
        assert_eq!(rows.len(), batch.len());
        for (row, (element, sqlstates)) in rows.iter().zip(&batch) {
            let (outcome, sqlstate): (String, Option<String>) = (row.get(0), row.get(1));
            let Some(sqlstates) = sqlstates else {
                assert_eq!(outcome, "registered", "{element}");
                continue;
            };
            assert_eq!(outcome, "refused", "{element}");
            let sqlstate = sqlstate.expect("a refusal has one");
            assert!(sqlstates.contains(&sqlstate.as_str()), "{element}: {sqlstate}");
            let message: String = row.get(2);
            assert!(!message.to_lowercase().contains(SECRET), "{element}: {message}");
        }
    }
    watch.assert_stayed_up();
    let emails = "SELECT email FROM customers.customers WHERE email !~ '^(first|last)[0-9]@'";
    assert_eq!(all::<String>(&mut client, emails, &[]), [""; 0]);
    assert_eq!(
        one::<i64>(&mut client, "SELECT count(*) FROM customers.events", &[]),
        2 * broken_texts().len() as i64
    );
}

/// Changes of every kind, by function and by plain statement, of the customer in `public.known`.
const CHANGES: [&str; 8] = [
    "SELECT customers.register_customer('other@example.com')",
    "SELECT customers.register_customer('other@example.com', 'Bea', gen_random_uuid())",
    "SELECT customers.update_customer((SELECT id FROM public.known), name => 'Bea')",
    "SELECT customers.patch_customer((SELECT id FROM public.known), '{\"name\": \"Bea\"}')",
    "SELECT customers.set_status((SELECT id FROM public.known), 'SUSPENDED')",
    "SELECT customers.erase_customer((SELECT id FROM public.known))",
    "INSERT INTO customers.customers (email) VALUES ('other@example.com')",
    "UPDATE customers.customers SET name = 'Bea'",
];

#[test]
fn an_actor_that_is_not_utf8_is_refused_and_nothing_is_stored() {
    let server = server_with_broken_settings();
    let database = server.database();
    let mut client = database.connect();
    seed(&mut client);
    let mut watch = Watch::over(&server);
    let before = contents(&mut client);
    for broken in broken_texts() {
        for change in CHANGES {
            let attack =
                format!("SELECT set_config('customer_db.actor', {broken}, true); {change}");
            assert_refuses(&mut client, &attack, &["22021"]);
        }
    }
    watch.assert_stayed_up();
    assert_eq!(contents(&mut client), before);
}

#[test]
fn a_start_packet_that_is_not_utf8_stores_nothing() {
    let server = server_with_broken_settings();
    let database = server.database();
    let mut client = database.connect();
    seed(&mut client);
    let writer = role(&mut client, "");
    client
        .execute("SELECT customers.grant_access($1::text::regrole, 'writer')", &[&writer])
        .unwrap();
    let mut watch = Watch::over(&server);
    let before = contents(&mut client);
    let register = "SELECT customers.register_customer('other@example.com', ";
    let mut attacks: Vec<(&[u8], String)> = vec![
        (
            b"-c my.bad=ann\xf0",
            format!("{register} repeat('x', 163760) || current_setting('my.bad'))"),
        ),
        (
            b"-c my.bad=ann\xf0",
            format!("{register} repeat('x', 996) || current_setting('my.bad'))"),
        ),
        (b"-c my.bad=x\xe9t", format!("{register} current_setting('my.bad'))")),
    ];
    attacks.extend(
        CHANGES[..5]
            .iter()
            .map(|change| (&b"-c customer_db.actor=zyxw\xf0"[..], change.to_string())),
    );
    for (options, statement) in attacks {
        let output =
            psql(&database, writer.as_bytes(), options, statement.as_bytes()).output().unwrap();

        let told = printed(&output);
        assert!(!output.status.success(), "{statement}: {told}");
        assert!(told.contains("ERROR:  2202"), "{statement}: {told}");
        assert!(told.contains("HINT:  ") && !told.contains(SECRET), "{statement}: {told}");
    }
    watch.assert_stayed_up();
    assert_eq!(contents(&mut client), before);
}

#[test]
fn plain_statements_cannot_store_text_that_is_not_utf8() {
    let server = server_with_broken_settings();
    let mut client = server.database().connect();
    let ann = register_ann(&mut client);
    let mut watch = Watch::over(&server);
    let before = contents(&mut client);
    for broken in broken_texts() {
        for statement in [
            format!("INSERT INTO customers.customers (email) VALUES ({broken} || '@example.com')"),
            format!("INSERT INTO customers.customers (email) VALUES ({broken})"),
            format!("INSERT INTO customers.customers (email, name) VALUES ('other@example.com', {broken})"),
            format!("INSERT INTO customers.customers (email, name) VALUES ('other@example.com', repeat('x', 996) || {broken})"),
            format!("INSERT INTO customers.customers (email, status) VALUES ('other@example.com', {broken})"),
            format!(
                "INSERT INTO customers.customers (email) VALUES ('{}')
                     ON CONFLICT (email) DO UPDATE SET name = {broken}",
                ann.email
            ),
            format!("UPDATE customers.customers SET email = {broken} || '@example.com'"),
            format!("UPDATE customers.customers SET name = {broken}"),
            format!("UPDATE customers.customers SET status = {broken}"),
            format!(
                "MERGE INTO customers.customers AS c USING (VALUES ('{}', {broken})) AS v (email, name)
                     ON c.email = v.email WHEN MATCHED THEN UPDATE SET name = v.name",
                ann.email
            ),
        ] {
            assert_refuses(&mut client, &statement, &["22021"]);
        }
    }
    watch.assert_stayed_up();
    assert_eq!(contents(&mut client), before);
    // Columns that the owner adds are not checked.
    client
        .batch_execute(
            "ALTER TABLE customers.customers ADD COLUMN note text;
             UPDATE customers.customers SET note = current_setting('broken.latin')",
        )
        .unwrap();
    let changed = call(&mut client, "update_customer($1, name => 'Bea')", &[&ann.id]).unwrap();
    assert_eq!(changed.version, 2);
    watch.assert_stayed_up();
}

/// Customers with invalid UTF-8 in their rows and events, written by bypassing the triggers.
fn broken_customers(client: &mut Client) -> Vec<Uuid> {
    let mut ids = Vec::new();
    for broken in broken_texts() {
        let ann = register_ann(client);
        let id = ann.id;
        call(client, "set_status($1, 'SUSPENDED', 'a reason')", &[&id]).unwrap();
        past_the_triggers(
            client,
            "customers.events",
            &format!(
                "UPDATE customers.events
                    SET changes = CASE WHEN version = 1
                            THEN changes || jsonb_build_object('name', {broken}) ELSE changes END,
                        actor = {broken}, reason = 'said ' || {broken} || ' of {}'
                  WHERE customer_id = '{id}'",
                ann.email
            ),
        );
        past_the_triggers(
            client,
            "customers.customers",
            &format!("UPDATE customers.customers SET name = {broken} WHERE customer_id = '{id}'"),
        );
        ids.push(id);
    }
    ids
}

#[test]
fn what_is_stored_and_is_not_utf8_is_read_without_harm() {
    let server = server_with_broken_settings();
    let database = server.database();
    let mut client = database.connect();
    seed(&mut client);
    let ids = broken_customers(&mut client);
    let mut watch = Watch::over(&server);
    for id in &ids {
        let email: String =
            one(&mut client, "SELECT email FROM customers.customers WHERE customer_id = $1", &[id]);
        for read in [
            format!("get_customer('{id}')"),
            format!("find_customer('{email}')"),
            format!("search_customers('{email}')"),
            "list_customers()".to_owned(),
            format!("customer_history('{id}')"),
            format!("customer_timeline('{id}')"),
            format!("export_customer('{id}')"),
            "read_events(0, 1000)".to_owned(),
            "fetch_events('mailer', 1000)".to_owned(),
            "customers_masked".to_owned(),
            "reapply_erasures()".to_owned(),
        ] {
            let read = format!("SELECT * FROM customers.{read}");
            assert_eq!(outcome(&mut client, &read), "00000", "{read}");
        }
        look_after(&mut client);
        let export = "SELECT octet_length(customers.export_customer($1)::text)";
        assert!(one::<i32>(&mut client, export, &[id]) > 0);
    }
    for read in ["read_events(0, 1000)", "fetch_events('mailer', 1000)"] {
        let events: Vec<i32> = all(
            &mut client,
            &format!("SELECT octet_length(event::text) FROM customers.{read}"),
            &[],
        );
        assert_eq!(events.len(), 1 + 2 * ids.len(), "{read}");
    }
    watch.assert_stayed_up();
}

#[test]
fn what_is_stored_and_is_not_utf8_can_be_mended_and_erased() {
    let server = server_with_broken_settings();
    let mut client = server.database().connect();
    let ids = broken_customers(&mut client);
    let mut watch = Watch::over(&server);
    for id in &ids {
        // A change of another field may be refused until the text is corrected, but not fail otherwise.
        let suspend = format!("SELECT customers.set_status('{id}', 'ACTIVE')");
        assert!(["00000", "22021"].contains(&outcome(&mut client, &suspend).as_str()));
        let mended = call(&mut client, "update_customer($1, name => 'Bea')", &[id]).unwrap();
        assert_eq!(mended.name.as_deref(), Some("Bea"));
        past_the_triggers(
            &mut client,
            "customers.customers",
            &format!(
                "UPDATE customers.customers SET name = current_setting('broken.cut_short'),
                        email = current_setting('broken.latin') || '{id}@example.com'
                  WHERE customer_id = '{id}'"
            ),
        );
        let erased = call(&mut client, "erase_customer($1, 'asked')", &[id]).unwrap();
        assert_eq!(
            (erased.email, erased.name, erased.status.as_str()),
            (format!("erased+{id}@erased.invalid"), None, "CLOSED")
        );
        assert_eq!(stored(&mut client, *id).name, None);
        // The client can only read valid text.
        for left in [
            "SELECT e::text FROM customers.events AS e WHERE customer_id = $1",
            "SELECT c::text FROM customers.customers AS c WHERE customer_id = $1",
        ] {
            for row in all::<String>(&mut client, left, &[id]) {
                assert!(!row.contains(SECRET), "{row}");
            }
        }
    }
    watch.assert_stayed_up();
}

/// A role whose name is not valid UTF-8 in a UTF8 database: created in a LATIN1 database.
fn latin_role(database: &Database, options: &str) -> Vec<u8> {
    let latin = database
        .server
        .empty_database("TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'");
    let name = unique("zo\u{eb}");
    let create = format!("CREATE ROLE \"{name}\" LOGIN {options}");
    latin.connect().batch_execute(&create).unwrap();
    name.chars().map(|char| u8::try_from(u32::from(char)).expect("in Latin 1")).collect()
}

#[test]
fn a_role_whose_name_is_not_utf8_leaves_records_that_are() {
    let server = server_with_broken_settings();
    let database = server.database();
    let mut client = database.connect();
    let role = latin_role(&database, "SUPERUSER");
    let mut watch = Watch::over(&server);
    for statement in [
        "SELECT customers.register_customer('by.function@example.com', 'Bea', '00000000-0000-0000-0000-000000000001')",
        "SELECT customers.register_customer('by.short.cut@example.com')",
        "INSERT INTO customers.customers (email) VALUES ('by.insert@example.com')",
        "SELECT customers.set_status('00000000-0000-0000-0000-000000000001', 'SUSPENDED')",
        "SELECT count(*) FROM customers.import_customers('[{\"email\": \"by.import@example.com\"}]')",
        "SELECT customers.erase_customer('00000000-0000-0000-0000-000000000001', 'asked')",
        "SELECT customers.export_customer('00000000-0000-0000-0000-000000000001')",
        "SELECT customers.subscribe('mailer')",
    ] {
        let output = psql(&database, &role, b"", statement.as_bytes()).output().unwrap();
        assert!(output.status.success(), "{statement}: {}", printed(&output));
    }
    // The client can only read valid text.
    let recorded: Vec<String> = all(&mut client, "SELECT recorded_by FROM customers.events", &[]);
    assert_eq!(recorded.len(), 6);
    assert!(recorded.iter().all(|by| by.starts_with("zo")), "{recorded:?}");
    let erased: Vec<String> = all(&mut client, "SELECT erased_by FROM customers.erasures", &[]);
    assert!(erased.len() == 1 && erased[0].starts_with("zo"), "{erased:?}");
    watch.assert_stayed_up();
    let restored = contents(&mut database.copy().connect());
    assert_eq!(restored, contents(&mut client));
}

#[test]
fn a_role_whose_name_is_not_utf8_is_granted_a_duty_or_refused() {
    let server = server_with_broken_settings();
    let database = server.database();
    let mut client = database.connect();
    latin_role(&database, "");
    let mut watch = Watch::over(&server);
    for duty in ["writer", "support", "auditor", "operator"] {
        let [granted, revoked] = ["grant_access", "revoke_access"].map(|function| {
            format!(
                "SELECT customers.{function}(oid, '{duty}') FROM pg_roles WHERE rolname LIKE 'zo%'"
            )
        });
        let outcome = outcome(&mut client, &format!("{granted}; {revoked}"));
        assert!(["00000", "22021", "22023"].contains(&outcome.as_str()), "{outcome}");
    }
    watch.assert_stayed_up();
}

/// Calls every function that reports on the installation, and asserts that the client can read the result.
fn look_after(client: &mut Client) {
    for function in functions(client) {
        if ["verify", "metrics", "feed_position"].contains(&function.name.as_str()) {
            let look = format!("SELECT f::text FROM customers.{}() AS f", function.name);
            let answers: Vec<String> = all(client, &look, &[]);
            assert!(!answers.is_empty(), "{look}");
        }
    }
}

/// PostgreSQL does not verify other sessions' statements and names either.
#[test]
fn sessions_of_other_encodings_do_not_disturb_whoever_looks_after_the_server() {
    let server = server_with_broken_settings();
    let database = server.database();
    let unchecked = server
        .empty_database("TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'");
    let mut client = database.connect();
    seed(&mut client);
    let role = latin_role(&database, "SUPERUSER");
    let mut watch = Watch::over(&server);
    let locks = [database.connect(), unchecked.connect()].map(|mut client| {
        client.batch_execute("SELECT pg_advisory_lock(7)").unwrap();
        client
    });
    // One of them holds the watermark back.
    let holders = [
        (&database, &b"BEGIN; SELECT customers.register_customer('holder@example.com'); SELECT pg_advisory_lock(7)"[..]),
        (&unchecked, b"SELECT pg_advisory_lock(7), 'zyxw\xf0\x9f'"),
    ]
    .map(|(database, statement)| {
        psql(database, &role, b"-c my.bad=ann\xf0", statement).stdout(Stdio::null()).spawn().unwrap()
    });
    let wait = "SELECT count(*) = 2 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    await_true(&mut client, wait, &[]);
    look_after(&mut client);
    for read in ["SELECT * FROM customers.read_events(0)", "SELECT customers.prune_events('1 day')"]
    {
        assert_eq!(outcome(&mut client, read), "00000", "{read}");
    }
    drop(locks);
    for mut holder in holders {
        holder.wait().unwrap();
    }
    watch.assert_stayed_up();
}

/// A refused reason leaves the session usable.
#[test]
fn a_session_that_was_refused_text_goes_on() {
    let server = server_with_broken_settings();
    let mut client = server.database().connect();
    let ann = register_ann(&mut client);
    for broken in broken_texts() {
        let suspend = format!("SELECT customers.set_status('{}', 'SUSPENDED', {broken})", ann.id);
        assert_refused(client.batch_execute(&suspend), "22021", &[SECRET]);
        let error = refusal(
            client
                .batch_execute(&format!("SELECT customers.erase_customer('{}', {broken})", ann.id)),
        );
        assert_eq!(error.code().code(), "22021");
        assert_eq!(register_ann(&mut client).version, 1);
    }
    assert_eq!(stored(&mut client, ann.id), ann);
}
