//! Promise: an input that is too long is refused before it is processed, so that time and memory of a
//! refusal do not grow with it.

use crate::kit::attack::{SECRET, octets, past_the_triggers, processor_time};
use crate::kit::calls::{attempt, functions, seeded};
use crate::kit::{
    Database, assert_refused, call, contents, database, on_16, one, pid, register_ann, stored,
};
use postgres::Client;
use std::time::Duration;

/// The length in octets of the text in an attack.
const VAST: u64 = 60_000_000;
/// The memory in octets that everything else in a session may take.
const SMALL: u64 = 48 * 1024 * 1024;

/// Returns the refusal of a statement: SQLSTATE, message, detail and hint. A late interrupt is raised inside it.
const REFUSAL_OF: &str = "
    CREATE TABLE public.vast AS SELECT 60000000 AS size;
    CREATE FUNCTION public.refusal_of(statement text) RETURNS text[] LANGUAGE plpgsql AS $$
    DECLARE
        state text; message text; detail text; hint text;
    BEGIN
        EXECUTE statement;
        RETURN ARRAY['00000', '', '', ''];
    EXCEPTION WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
                                detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
        RETURN ARRAY[state, message, detail, hint];
    END $$";

/// Runs a statement on a text of a multiple of [`VAST`] in a session of its own, and asserts that it is
/// refused with one of these SQLSTATEs, within the memory of that many copies of the text and that many
/// seconds.
fn assert_refused_at_once(
    database: &Database,
    statement: &str,
    sqlstates: &[&str],
    (times, copies): (u64, u64),
) {
    let mut client = database.connect();
    let backend = pid(&mut client);
    client
        .batch_execute(&format!(
            "LOAD 'customer_db'; SET jit = off; SET statement_timeout = '{}s'",
            30 * times
        ))
        .unwrap();
    let (before, started) = (octets(backend, "VmHWM"), processor_time(backend));
    let told: Vec<String> = one(&mut client, "SELECT public.refusal_of($1)", &[&statement]);
    let taken = octets(backend, "VmHWM") - before;
    // Other processes may be at work, so time on the clock says nothing.
    let worked = processor_time(backend) - started;
    assert!(worked < Duration::from_secs(times), "{statement}: {worked:?}");
    assert!(sqlstates.contains(&told[0].as_str()), "{statement}: {told:?}");
    assert!(!told[3].is_empty(), "{statement}: no HINT: {told:?}");
    assert!(!told.concat().to_lowercase().contains(SECRET), "{statement}");
    let allowed = times * copies * VAST + SMALL;
    assert!(taken < allowed, "{statement}: {taken} octets of memory, {allowed} are allowed");
}

/// SQL that repeats 8 octets in large pieces: PostgreSQL itself is slow with small ones.
fn many(octets: &str) -> String {
    format!("repeat(repeat({octets}, 1000), size / 8000)")
}

/// SQL for texts of that length, for the argument of this name.
fn long_texts(argument: &str) -> Vec<String> {
    let (long, blank) = (many("'zyxwzyxw'"), many("'        '"));
    let mut texts = vec![long.clone()];
    if argument == "email" {
        texts.extend([
            format!("{long} || '@example.com'"),
            format!("'zyxw@' || {long} || '.com'"),
            format!("'zyxw@' || {} || 'com'", many("'zyxwzyx.'")),
            format!("{blank} || 'zyxw@example.com'"),
        ]);
    }
    if ["name", "prefix"].contains(&argument) {
        texts.push(format!("'zyxw' || {blank}"));
    }
    if ["email", "name", "prefix"].contains(&argument) {
        // Not in NFC.
        texts.push(format!("'zyxw' || {}", many("U&'z\\0301\\00e9\\00c9z'")));
    }
    texts
}

#[test]
fn text_that_is_too_long_for_its_argument_is_refused_at_once() {
    let database = seeded();
    let mut client = database.connect();
    client.batch_execute(REFUSAL_OF).unwrap();
    let before = contents(&mut client);
    let mut refused = 0;
    for function in functions(&mut client) {
        for (argument, r#type) in &function.arguments {
            if r#type != "text" || function.name == "broken_rule" {
                continue;
            }
            // PT404: no consumer has such a name.
            let sqlstates: &[&str] = match function.name.as_str() {
                "fetch_events" | "acknowledge" => &["22023", "PT404"],
                _ => &["22023"],
            };
            for text in long_texts(argument) {
                let call =
                    function.call_with(|name, _| (name == argument.as_str()).then(|| text.clone()));
                let call = format!("{call} FROM public.vast");
                assert_refused_at_once(&database, &call, sqlstates, (1, 3));
                refused += 1;
            }
        }
    }
    assert!(refused > 25, "{refused}");
    assert_eq!(contents(&mut client), before);
}

/// Shows that the measurement attributes nothing of PostgreSQL's own work to the extension: a refusal
/// without any work is within the limits.
#[test]
fn a_refusal_without_any_work_is_at_once() {
    if !on_16() {
        return;
    }
    let database = seeded();
    database
        .connect()
        .batch_execute(
            "CREATE FUNCTION public.refuse(document anyelement) RETURNS void LANGUAGE plpgsql AS $$
             BEGIN
                 RAISE invalid_parameter_value USING HINT = 'Give less.';
             END $$",
        )
        .unwrap();
    database.connect().batch_execute(REFUSAL_OF).unwrap();
    database.connect().batch_execute(DOCUMENTS).unwrap();
    for documents in ["patches", "batches"] {
        let call =
            format!("SELECT public.refuse(jsonb_typeof(document)) FROM public.{documents} LIMIT 1");
        assert_refused_at_once(&database, &call, &["22023"], (1, 4));
    }
    for text in [long_texts("email"), long_texts("name")].concat() {
        let call = format!("SELECT public.refuse({text}) FROM public.vast");
        assert_refused_at_once(&database, &call, &["22023"], (1, 3));
        let call = call.replace("size / 8000", "size / 2000");
        assert_refused_at_once(&database, &call, &["22023"], (4, 3));
    }
}

/// The largest text that a row can hold.
#[test]
fn an_address_of_240_megabytes_is_refused_at_once() {
    let database = seeded();
    let mut client = database.connect();
    client.batch_execute(REFUSAL_OF).unwrap();
    let vast = many("'zyxwzyxw'").replace("8000", "2000");
    for call in ["find_customer", "register_customer"] {
        for text in [format!("'zyxw@' || {vast}"), format!("{vast} || '@example.com'")] {
            let call = format!("SELECT customers.{call}({text}) FROM public.vast");
            assert_refused_at_once(&database, &call, &["22023"], (4, 3));
        }
    }
}

/// Documents that contain such texts, stored uncompressed: decompressing would take PostgreSQL memory and time.
const DOCUMENTS: &str = "
    CREATE TABLE public.patches (document jsonb);
    ALTER TABLE public.patches ALTER document SET STORAGE EXTERNAL;
    INSERT INTO public.patches
    SELECT jsonb_build_object(field, repeat('zyxwzyxw', size / 8))
      FROM public.vast, unnest(ARRAY['email', 'name', 'status']) AS field;
    CREATE TABLE public.batches (document jsonb);
    ALTER TABLE public.batches ALTER document SET STORAGE EXTERNAL;
    INSERT INTO public.batches
    SELECT jsonb_build_array('{\"email\": \"first@example.com\"}'::jsonb,
               '{\"email\": \"other@example.com\"}'::jsonb
               || jsonb_build_object(field, repeat('zyxwzyxw', size / 8)))
      FROM public.vast,
           unnest(ARRAY['email', 'name', 'status', 'customerId', 'registeredAt']) AS field";

#[test]
fn text_that_is_too_long_in_a_document_is_refused_at_once() {
    if !on_16() {
        return;
    }
    let database = seeded();
    let mut client = database.connect();
    client.batch_execute(REFUSAL_OF).unwrap();
    client.batch_execute(DOCUMENTS).unwrap();
    let before = contents(&mut client);
    for n in 0..3 {
        let patch = format!(
            "SELECT customers.patch_customer((SELECT id FROM public.known), document)
               FROM (SELECT document FROM public.patches OFFSET {n} LIMIT 1) AS patches"
        );
        assert_refused_at_once(&database, &patch, &["22023"], (1, 4));
    }
    for n in 0..5 {
        let mut session = database.connect();
        let backend = pid(&mut session);
        session.batch_execute("LOAD 'customer_db'; SET statement_timeout = '2s'; BEGIN").unwrap();
        let taken_before = octets(backend, "VmHWM");
        let import = format!(
            "SELECT outcome, sqlstate, message
               FROM (SELECT document FROM public.batches OFFSET {n} LIMIT 1) AS batches,
                    LATERAL customers.import_customers(document) ORDER BY ordinal"
        );
        let rows = session.query(&import, &[]).unwrap();
        let taken = octets(backend, "VmHWM") - taken_before;
        let outcomes: Vec<(String, Option<String>)> =
            rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        assert_eq!(outcomes[0].0, "registered", "{outcomes:?}");
        assert_eq!(outcomes[1], ("refused".to_owned(), Some("22023".to_owned())));
        assert!(!rows[1].get::<_, String>(2).contains(SECRET));
        assert!(taken < 4 * VAST + SMALL, "{taken} octets of memory");
        session.batch_execute("ROLLBACK").unwrap();
    }
    assert_eq!(contents(&mut client), before);
}

/// SQL for a registration with this actor, given as SQL.
fn register_as(actor: &str) -> String {
    format!(
        "SELECT set_config('customer_db.actor', {actor}, true);
         SELECT customers.register_customer('other@example.com')"
    )
}

#[test]
fn an_actor_that_is_too_long_is_refused_at_once() {
    let database = seeded();
    let mut client = database.connect();
    client.batch_execute(REFUSAL_OF).unwrap();
    let before = contents(&mut client);
    let vast = register_as(&many("'zyxwzyxw'")).replacen(";", " FROM public.vast;", 1);
    // PostgreSQL itself keeps several copies of a setting.
    assert_refused_at_once(&database, &vast, &["22023"], (1, 7));
    for change in [
        "SELECT customers.register_customer('other@example.com')",
        "SELECT customers.set_status((SELECT id FROM public.known), 'SUSPENDED')",
        "SELECT customers.erase_customer((SELECT id FROM public.known))",
        "INSERT INTO customers.customers (email) VALUES ('other@example.com')",
        "UPDATE customers.customers SET name = 'Bea'",
    ] {
        let attack = format!(
            "SELECT set_config('customer_db.actor', repeat('zyx\u{1f600}', 250) || 'w', true); {change}"
        );
        assert_refused(client.batch_execute(&attack), "22023", &[SECRET]);
    }
    assert_eq!(contents(&mut client), before);
}

#[test]
fn a_reason_and_an_actor_may_have_1000_characters_and_no_more() {
    let mut client = database().connect();
    for character in ["a", "\u{e9}", "\u{20ac}", "\u{1f600}"] {
        let (thousand, more) = (character.repeat(1000), character.repeat(1001));
        let ann = register_ann(&mut client);
        let set_actor = "SELECT set_config('customer_db.actor', $1, false)";
        client.execute(set_actor, &[&thousand]).unwrap();
        let suspend = "set_status($1, 'SUSPENDED', $2)";
        call(&mut client, suspend, &[&ann.id, &thousand]).unwrap();
        let told = "SELECT reason = $2 AND actor = $2 FROM customers.events
                     WHERE customer_id = $1 AND version = 2";
        assert!(one::<bool>(&mut client, told, &[&ann.id, &thousand]));

        let before = contents(&mut client);
        assert_refused(
            call(&mut client, "set_status($1, 'ACTIVE', $2)", &[&ann.id, &more]),
            "22023",
            &[&more],
        );
        assert_refused(
            call(&mut client, "erase_customer($1, $2)", &[&ann.id, &more]),
            "22023",
            &[&more],
        );
        assert_refused(client.batch_execute(&register_as(&format!("'{more}'"))), "22023", &[&more]);
        assert_eq!(contents(&mut client), before);
        client.batch_execute("RESET customer_db.actor").unwrap();
        call(&mut client, "erase_customer($1, $2)", &[&ann.id, &thousand]).unwrap();
        let ledger = "SELECT reason FROM customers.erasures WHERE customer_id = $1";
        assert_eq!(one::<String>(&mut client, ledger, &[&ann.id]), thousand);
    }
}

#[test]
fn a_reason_and_an_actor_have_line_breaks_and_tabs_and_no_other_control_characters() {
    let mut client = database().connect();
    let ann = register_ann(&mut client);
    let before = contents(&mut client);
    for control in ('\u{1}'..='\u{1f}').chain('\u{7f}'..='\u{9f}') {
        if "\t\n\r".contains(control) {
            continue;
        }
        let text = format!("zyxw{control}zyxw");
        for command in ["set_status($1, 'SUSPENDED', $2)", "erase_customer($1, $2)"] {
            assert_refused(call(&mut client, command, &[&ann.id, &text]), "22023", &[SECRET]);
        }
        assert_refused(
            client.batch_execute(&register_as(&format!("'{text}'"))),
            "22023",
            &[SECRET],
        );
    }
    assert_eq!(contents(&mut client), before);
    let text = "first line\r\n\tsecond line\n";
    client.execute("SELECT set_config('customer_db.actor', $1, false)", &[&text]).unwrap();
    call(&mut client, "set_status($1, 'SUSPENDED', $2)", &[&ann.id, &text]).unwrap();
    let told =
        "SELECT reason LIKE 'first line%second line%' AND actor LIKE 'first line%second line%'
                  FROM customers.events WHERE customer_id = $1 AND version = 2";
    assert!(one::<bool>(&mut client, told, &[&ann.id]));
}

#[test]
fn an_address_and_a_name_are_taken_from_up_to_4096_octets() {
    let mut client = database().connect();
    let email = format!("{:4096}", "ann@example.com");
    let name = format!("{:4096}", "Ann");
    let ann = call(&mut client, "register_customer($1, $2)", &[&email, &name]).unwrap();
    assert_eq!((ann.email.as_str(), ann.name.as_deref()), ("ann@example.com", Some("Ann")));
    let before = contents(&mut client);
    let (email, name) = (format!("{:4097}", "zyxw@example.com"), format!("{:4097}", "Zyxw"));
    let good = "other@example.com";
    let id = ann.id;
    for result in [
        call(&mut client, "register_customer($1)", &[&email]),
        call(&mut client, "register_customer($1, $2)", &[&good, &name]),
        call(&mut client, "update_customer($1, $2)", &[&id, &email]),
        call(&mut client, "update_customer($1, name => $2)", &[&id, &name]),
        call(
            &mut client,
            "patch_customer($1, jsonb_build_object('name', $2::text))",
            &[&id, &name],
        ),
        call(&mut client, "find_customer($1)", &[&email]),
        call(&mut client, "search_customers($1)", &[&email]),
    ] {
        assert_refused(result, "22023", &[SECRET]);
    }
    let insert = "INSERT INTO customers.customers (email, name) VALUES ($1, $2)";
    assert_refused(client.execute(insert, &[&email, &"Bea"]), "22023", &[SECRET]);
    assert_refused(client.execute(insert, &[&good, &name]), "22023", &[SECRET]);
    let update = "UPDATE customers.customers SET name = $1";
    assert_refused(client.execute(update, &[&name]), "22023", &[SECRET]);
    assert_eq!(contents(&mut client), before);
}

/// A customer with an event whose reason has 200 MB and contains her address and name.
fn with_a_vast_reason(client: &mut Client) -> uuid::Uuid {
    let her = call(client, "register_customer('zyxw@example.com', 'Zyxw Before')", &[]);
    let id = her.expect("a good address and name").id;
    call(client, "set_status($1, 'SUSPENDED', 'a reason')", &[&id]).unwrap();
    past_the_triggers(
        client,
        "customers.events",
        "UPDATE customers.events SET reason = repeat('said so ', 12500000) || 'ZYXW  before '
                || repeat('said so ', 12500000) || 'zyxw@example.com'
          WHERE version = 2",
    );
    id
}

#[test]
fn a_vast_reason_is_erased_in_little_memory() {
    let database = database();
    let mut client = database.connect();
    let id = with_a_vast_reason(&mut client);
    let mut session = database.connect();
    let backend = pid(&mut session);
    session.batch_execute("LOAD 'customer_db'").unwrap();
    let before = octets(backend, "VmHWM");
    call(&mut session, "erase_customer($1, 'asked')", &[&id]).unwrap();
    let taken = octets(backend, "VmHWM") - before;
    assert_eq!(stored(&mut client, id).name, None);
    let reason =
        "SELECT left(reason, 100) FROM customers.events WHERE customer_id = $1 AND version = 2";
    assert_eq!(one::<String>(&mut client, reason, &[&id]), "[erased]");
    assert!(taken < 1_000_000_000, "{taken} octets of memory");
}

#[test]
fn an_erasure_that_takes_long_can_be_cancelled() {
    let database = database();
    let mut client = database.connect();
    let id = with_a_vast_reason(&mut client);
    client.batch_execute("SET statement_timeout = '500ms'").unwrap();
    let backend = pid(&mut client);
    let started = processor_time(backend);
    let erase = format!("SELECT customers.erase_customer('{id}')");
    let error = attempt(&mut client, &erase);
    // It may succeed in time, but not be cancelled late.
    assert!(error.is_none_or(|error| error.code().code() == "57014"));
    let worked = processor_time(backend) - started;
    assert!(worked < Duration::from_secs(4), "{worked:?}");
}
