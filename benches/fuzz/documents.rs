//! Documents and texts in a real server, with the library as it is installed: each outcome is what the rules and the
//! reference say, computed here; nothing breaks, and no message contains a value.

use super::kit::attack::{SECRET, Watch};
use super::kit::{Server, all, event_count, register_ann, stored};
use super::texts::{email, text};
use super::{Fuzzer, Verdict, accepted};
use customer_db::rules::status::Status;
use customer_db::rules::{self, moment};
use postgres::Client;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Debug, Formatter};
use uuid::Uuid;

/// The most elements, patches or rows of one call.
const MOST: usize = 400;

pub fn run(fuzzer: &mut Fuzzer) {
    let server = &Server::start(&[]);
    let mut watch = Watch::over(server);
    let session = |setup: &str| {
        let mut client = server.database().connect();
        client.batch_execute("LOAD 'customer_db'; SET customer_db.notify = off").unwrap();
        client.batch_execute(setup).unwrap();
        client
    };
    fuzzer.run(
        "element of import_customers",
        (5_000, Vec::len),
        || vec(element(), 1..=MOST),
        || {
            let mut client = session("");
            move |elements: Vec<Json>| imports(&mut client, &elements)
        },
    );
    fuzzer.run(
        "patch of patch_customer",
        (2_000, Vec::len),
        || vec(patch(), 1..=MOST),
        || {
            let mut client = session(PATCH_ALL);
            move |patches: Vec<Json>| patches_as_promised(&mut client, &patches)
        },
    );
    fuzzer.run(
        "row of broken_rule",
        (5_000, Vec::len),
        || vec(row(), 1..=MOST),
        || {
            let mut client = session("");
            move |rows: Vec<_>| checks(&mut client, rows)
        },
    );
    watch.assert_stayed_up();
    let log = server.log();
    assert!(!log.contains(SECRET), "a value is in the server log");
    assert!(!["PANIC", "TRAP", "XX000", "panicked"].iter().any(|bad| log.contains(bad)), "{log}");
}

/// JSON with what serde_json does not hold: repeated keys, numbers beyond a double.
#[derive(Clone)]
enum Json {
    Null,
    Bare(&'static str),
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Debug for Json {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        let quoted = |text: &String| serde_json::to_string(text).expect("a text");
        match self {
            Self::Null => f.write_str("null"),
            Self::Bare(token) => f.write_str(token),
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::Array(elements) => f.debug_list().entries(elements).finish(),
            Self::Object(fields) => {
                let fields =
                    fields.iter().map(|(key, value)| format!("{}: {value:?}", quoted(key)));
                write!(f, "{{{}}}", fields.collect::<Vec<_>>().join(", "))
            }
        }
    }
}

impl Json {
    /// The fields of an object as jsonb keeps them: of equal keys the last.
    fn fields(&self) -> Option<BTreeMap<&str, &Json>> {
        let Self::Object(fields) = self else { return None };
        Some(fields.iter().map(|(key, value)| (key.as_str(), value)).collect())
    }

    /// The text of a field that may be left out: Err if it is of another type.
    fn text(&self) -> Result<Option<&str>, ()> {
        match self {
            Self::Null => Ok(None),
            Self::Text(text) => Ok(Some(text)),
            _ => Err(()),
        }
    }
}

/// A text without NUL, which jsonb does not hold.
fn held(text: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    text.prop_map(|text| text.replace('\0', ""))
}

fn anything() -> impl Strategy<Value = Json> {
    let bare = vec!["true", "false", "0", "-0.0", "1e400", "99999999999999999999999999999999999"];
    let leaf = prop_oneof![
        Just(Json::Null),
        select(bare).prop_map(Json::Bare),
        held(text(4)).prop_map(Json::Text)
    ];
    leaf.prop_recursive(4, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Json::Array),
            vec((held(text(3)), inner), 0..3).prop_map(Json::Object),
        ]
    })
}

fn field(text: impl Strategy<Value = String> + 'static) -> impl Strategy<Value = Json> {
    prop_oneof![20 => held(text).prop_map(Json::Text), 1 => Just(Json::Null), 1 => anything()]
}

fn addresses() -> impl Strategy<Value = String> {
    let known = "[a-cA-C]{1,2}@(taken|[a-c])\\.com".prop_map(String::from);
    let secret = email().prop_map(|email| format!("{SECRET}{email}"));
    prop_oneof![2 => known, 1 => secret, 1 => email()]
}

fn names() -> impl Strategy<Value = String> {
    prop_oneof![text(8), text(8).prop_map(|text| format!("{SECRET}{text}"))]
}

fn status() -> impl Strategy<Value = String> {
    let words = vec!["ACTIVE", "ACTIVE", "SUSPENDED", "SUSPENDED", "CLOSED", "active", "zyxw", ""];
    select(words).prop_map(String::from)
}

fn ids() -> impl Strategy<Value = String> {
    prop_oneof![
        "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}",
        "0000000[0-3]-0000-4000-8000-00000000000[0-3]",
        "[0-9a-fA-F]{30,33}|\\{[0-9a-f-]{36}\\}|zyxw",
    ]
}

fn moments() -> impl Strategy<Value = String> {
    let (date, time) = ("(1[89]|20)[0-9]{2}-(0[1-9]|1[0-2])-[0-3][0-9]", "[0-2][0-9]:[0-5][0-9]");
    let full = format!("{date}T{time}:[0-6][0-9](\\.[0-9]{{1,9}})?(Z|[+-]{time})");
    let other = format!("{date}[T ]{time}|zyxw|infinity");
    let like = |pattern: String| prop::string::string_regex(&pattern).expect("a pattern");
    prop_oneof![5 => like(full), 1 => like(other)]
}

fn other_field() -> impl Strategy<Value = (String, Json)> {
    let others = vec!["password", "Email", "version", "", "customer_id", "email ", "name"];
    let key = prop_oneof![select(others).prop_map(String::from), held(text(3))];
    (key, anything())
}

/// An object of these fields, where they are given, and at times of others.
fn object(fields: Vec<(&'static str, BoxedStrategy<Option<Json>>)>) -> impl Strategy<Value = Json> {
    let (keys, values): (Vec<_>, Vec<_>) = fields.into_iter().unzip();
    let more = prop_oneof![
        18 => Just(Vec::new()),
        2 => vec(other_field(), 1..3),
        1 => vec(other_field(), 60..70),
    ];
    (values, more).prop_map(move |(values, more)| {
        let known =
            keys.iter().zip(values).filter_map(|(key, value)| Some((key.to_string(), value?)));
        Json::Object(known.chain(more).collect())
    })
}

fn element() -> impl Strategy<Value = Json> {
    let object = object(vec![
        ("email", option::weighted(0.98, field(addresses())).boxed()),
        ("name", option::weighted(0.5, field(names())).boxed()),
        ("customerId", option::weighted(0.3, field(ids())).boxed()),
        ("status", option::weighted(0.3, field(status())).boxed()),
        ("registeredAt", option::weighted(0.3, field(moments())).boxed()),
    ]);
    prop_oneof![20 => object, 1 => anything()]
}

fn patch() -> impl Strategy<Value = Json> {
    let object = object(vec![
        ("email", option::weighted(0.4, field(addresses())).boxed()),
        ("name", option::weighted(0.5, field(names())).boxed()),
        ("status", option::weighted(0.2, field(status())).boxed()),
    ]);
    prop_oneof![20 => object, 1 => anything()]
}

/// The canonical form of a name that is given, and None of one that is not.
fn canonical_name(name: Option<&str>) -> Result<Option<String>, ()> {
    let canonical = |name| rules::name::canonical(name).map(|name| name.into_owned());
    name.map(canonical).transpose().map_err(drop)
}

#[derive(Debug)]
struct Candidate {
    id: Option<Uuid>,
    email: String,
    name: Option<String>,
    status: Status,
    /// Microseconds since 1970.
    at: Option<i64>,
}

impl Candidate {
    /// What the element asks for, if it keeps the rules.
    fn of(element: &Json) -> Result<Self, ()> {
        const YEAR_1900: i64 = -2_208_988_800_000_000;
        let fields = element.fields().ok_or(())?;
        let known = ["email", "name", "customerId", "status", "registeredAt"];
        if fields.keys().any(|key| !known.contains(key)) {
            return Err(());
        }
        let text = |key| fields.get(key).map_or(Ok(None), |value| value.text());
        let at = text("registeredAt")?.map(|at| moment::parse(at).ok_or(())).transpose()?;
        let now = std::time::UNIX_EPOCH.elapsed().expect("a clock").as_micros() as i64;
        if at.is_some_and(|at| !(YEAR_1900..=now).contains(&at)) {
            return Err(());
        }
        let id = text("customerId")?.map(Uuid::try_parse);
        Ok(Self {
            id: id.transpose().map_err(drop)?,
            email: rules::email::canonical(text("email")?.ok_or(())?).map_err(drop)?,
            name: canonical_name(text("name")?)?,
            status: Status::parse(text("status")?.unwrap_or("ACTIVE")).map_err(drop)?,
            at,
        })
    }
}

/// What a customer who was registered by an import is stored as.
type Stored = (String, Option<String>, String, Option<i64>);

fn imports(client: &mut Client, elements: &[Json]) -> Verdict {
    let mut transaction = client.transaction().unwrap();
    let import = "SELECT customer_id, outcome, coalesce(sqlstate, '00000'), coalesce(message, '')
                    FROM customers.import_customers($1::text::jsonb) ORDER BY ordinal";
    let rows = transaction.query(import, &[&format!("{elements:?}")]);
    let rows = rows.map_err(|error| TestCaseError::fail(format!("{error:?}")))?;
    prop_assert_eq!(rows.len(), elements.len());
    let (mut by_email, mut ids) = (BTreeMap::<String, Uuid>::new(), BTreeSet::<Uuid>::new());
    let mut expected = BTreeMap::<Uuid, Stored>::new();
    for (element, row) in elements.iter().zip(&rows) {
        let (id, outcome, sqlstate): (Option<Uuid>, &str, &str) =
            (row.get(0), row.get(1), row.get(2));
        let message: &str = row.get(3);
        prop_assert!(!message.to_lowercase().contains(SECRET), "{message}");
        let (expected_outcome, expected_sqlstate) = match Candidate::of(element) {
            Err(()) => ("refused", "22023"),
            Ok(candidate) => match by_email.get(&candidate.email) {
                Some(known) if candidate.id.is_none_or(|given| given == *known) => {
                    prop_assert_eq!(id, Some(*known));
                    ("exists", "00000")
                }
                Some(_) => ("refused", "23505"),
                None if candidate.id.is_some_and(|given| ids.contains(&given)) => {
                    ("refused", "23505")
                }
                None => {
                    let Some(id) = id.filter(|id| candidate.id.is_none_or(|given| given == *id))
                    else {
                        return Err(TestCaseError::fail(format!(
                            "{candidate:?} was to be registered, not {outcome} {message}"
                        )));
                    };
                    let Candidate { email, name, status, at, .. } = candidate;
                    by_email.insert(email.clone(), id);
                    ids.insert(id);
                    expected.insert(id, (email, name, status.as_str().to_owned(), at));
                    ("registered", "00000")
                }
            },
        };
        prop_assert_eq!(
            (outcome, sqlstate),
            (expected_outcome, expected_sqlstate),
            "{:?} {}",
            element,
            message
        );
    }
    accepted(expected.len());
    let stored = "SELECT customer_id, email, name, status, (extract(epoch FROM registered_at) * 1000000)::bigint
                    FROM customers.customers";
    let stored = transaction.query(stored, &[]).unwrap();
    prop_assert_eq!(stored.len(), expected.len());
    for row in &stored {
        let (email, name, status, at) = &expected[&row.get(0)];
        prop_assert_eq!((email, name, status), (&row.get(1), &row.get(2), &row.get(3)));
        prop_assert!(at.is_none_or(|at| at == row.get::<_, i64>(4)), "{at:?}");
    }
    prop_assert_eq!(event_count(&mut transaction), expected.len() as i64);
    transaction.rollback().unwrap();
    Ok(())
}

/// Applies patches to a customer in turn: the new version, or the refusal.
const PATCH_ALL: &str = "
    CREATE FUNCTION public.patch_all(id uuid, patches text[]) RETURNS SETOF text LANGUAGE plpgsql AS $$
    DECLARE
        patch text; now_version bigint; told text;
    BEGIN
        FOREACH patch IN ARRAY patches LOOP
            BEGIN
                SELECT version INTO now_version FROM customers.patch_customer(id, patch::jsonb);
                RETURN NEXT now_version::text;
            EXCEPTION WHEN OTHERS THEN
                GET STACKED DIAGNOSTICS told = PG_EXCEPTION_HINT;
                RETURN NEXT concat(SQLSTATE, ': ', SQLERRM, ': ', told);
            END;
        END LOOP;
    END $$;
    SELECT customers.register_customer('a@taken.com');";

/// What a customer becomes by patches.
struct Patched {
    email: String,
    name: Option<String>,
    status: Status,
    version: i64,
}

impl Patched {
    /// The refusal of a patch, if it is to be refused.
    fn apply(&mut self, patch: &Json) -> Result<(), &'static str> {
        let fields = patch.fields().filter(|fields| !fields.is_empty()).ok_or("22023")?;
        if fields.keys().any(|key| !["email", "name", "status"].contains(key)) {
            return Err("22023");
        }
        let text = |key| fields.get(key).map(|value| value.text().map_err(|()| "22023"));
        let required = |key| text(key).map(|text| text?.ok_or("22023")).transpose();
        let email = required("email")?.map(rules::email::canonical).transpose();
        let email = email.map_err(|_| "22023")?.unwrap_or_else(|| self.email.clone());
        let name = match text("name").transpose()? {
            None => self.name.clone(),
            Some(name) => canonical_name(name).map_err(|()| "22023")?,
        };
        let status = required("status")?.map(Status::parse).transpose();
        let status = status.map_err(|_| "22023")?.unwrap_or(self.status);
        if (&email, &name, status) == (&self.email, &self.name, self.status) {
            return Ok(());
        }
        if self.status == Status::Closed {
            return Err("23514");
        }
        if email == "a@taken.com" {
            return Err("23505");
        }
        *self = Self { email, name, status, version: self.version + 1 };
        Ok(())
    }
}

fn patches_as_promised(client: &mut Client, patches: &[Json]) -> Verdict {
    let mut transaction = client.transaction().unwrap();
    let first = register_ann(&mut transaction);
    let texts: Vec<String> = patches.iter().map(|patch| format!("{patch:?}")).collect();
    let told = transaction.query("SELECT public.patch_all($1, $2)", &[&first.id, &texts]).unwrap();
    prop_assert_eq!(told.len(), patches.len());
    let mut model =
        Patched { email: first.email, name: first.name, status: Status::Active, version: 1 };
    for (patch, told) in patches.iter().zip(&told) {
        let told: &str = told.get(0);
        let expected = model.apply(patch).err().unwrap_or("");
        let sqlstate = told.split_once(": ").map_or("", |(sqlstate, _)| sqlstate);
        prop_assert_eq!(sqlstate, expected, "{:?}: {}", patch, told);
        prop_assert!(!told.to_lowercase().contains(SECRET) && !told.ends_with(": "), "{told}");
        if expected.is_empty() {
            accepted(1);
            prop_assert_eq!(told, &model.version.to_string(), "{:?}", patch);
        }
    }
    let stored = stored(&mut transaction, first.id);
    prop_assert_eq!(
        (model.email, model.name, model.status.as_str(), model.version),
        (stored.email, stored.name, stored.status.as_str(), stored.version)
    );
    let versions = "SELECT version FROM customers.events WHERE customer_id = $1 ORDER BY position";
    let versions = transaction.query(versions, &[&first.id]).unwrap();
    prop_assert!(versions.iter().map(|row| row.get::<_, i64>(0)).eq(1..=stored.version));
    transaction.rollback().unwrap();
    Ok(())
}

type Row = (String, Option<String>, String);

/// A row of which half of the values are in canonical form, where they have one.
fn row() -> impl Strategy<Value = Row> {
    let value = (email(), any::<bool>(), option::of((text(10), any::<bool>())), status());
    value.prop_map(|(email, corrected, name, status)| {
        let email = match rules::email::canonical(&email) {
            Ok(canonical) if corrected => canonical,
            _ => email,
        };
        let name = name.map(|(name, corrected)| match rules::name::canonical(&name) {
            Ok(canonical) if corrected => canonical.into_owned(),
            _ => name,
        });
        (email, name, status)
    })
}

/// broken_rule names a rule exactly where a row is not in canonical form.
fn checks(client: &mut Client, rows: Vec<Row>) -> Verdict {
    let without_nul = |text: &String| text.replace('\0', "");
    let emails: Vec<String> = rows.iter().map(|row| without_nul(&row.0)).collect();
    let names: Vec<Option<String>> =
        rows.iter().map(|row| row.1.as_ref().map(without_nul)).collect();
    let statuses: Vec<&String> = rows.iter().map(|row| &row.2).collect();
    let kept: Vec<bool> = all(
        client,
        "SELECT customers.broken_rule(email, name, status) IS NULL
           FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS row (email, name, status, n)
          ORDER BY n",
        &[&emails, &names, &statuses],
    );
    prop_assert_eq!(kept.len(), rows.len());
    for (((email, name), status), kept) in emails.iter().zip(&names).zip(statuses).zip(kept) {
        let is_good_email = match rules::email::canonical(email) {
            Ok(canonical) => canonical == *email,
            // The state of an erased customer, whose address has no capitals.
            Err(why) => {
                let has_capitals = email.bytes().any(|octet| octet.is_ascii_uppercase());
                why == rules::email::RESERVED
                    && name.is_none()
                    && status == "CLOSED"
                    && !has_capitals
            }
        };
        let is_good_name = canonical_name(name.as_deref()).as_ref() == Ok(name);
        let expected = is_good_email && is_good_name && Status::parse(status).is_ok();
        accepted(usize::from(kept));
        prop_assert_eq!(kept, expected, "{:?} {:?} {:?}", email, name, status);
    }
    Ok(())
}
