//! Bulk registration: one INSERT for a whole batch, and one row of the result set for each customer in it.

use crate::customer::data_owner::as_writing_data_owner;
use crate::customer::enforcement::ensure_rules_fired;
use crate::customer::guard::registration_moment;
use crate::customer::schema::{CUSTOMERS, has_original_defaults};
use crate::postgres::catalog_cache::CatalogCache;
use crate::postgres::error::{OrRaise, protect_all};
use crate::postgres::ffi::GetCurrentTransactionStartTimestamp;
use crate::postgres::jsonb::Jsonb;
use crate::postgres::random_uuid::random_key;
use crate::postgres::result_set::ResultSet;
use crate::postgres::statement::{Row, Statement, connected, sql};
use crate::postgres::typed_datum::TypedDatum;
use crate::refusal::Refusal;
use crate::rules::status::Status;
use crate::rules::{email, moment, name};
use pgrx::Uuid;
use pgrx::pg_sys::BuiltinOid::{
    self, INT4OID, OIDOID, TEXTARRAYOID, TEXTOID, TIMESTAMPTZARRAYOID, UUIDARRAYOID, UUIDOID,
};
use pgrx::prelude::*;
use serde::Deserialize;
use std::collections::{HashMap, HashSet};

/// The most customers of one call, which then needs some 60 MB while it runs.
const MAX_CUSTOMERS: usize = 100_000;

#[pg_extern(sql = false)]
fn import_customers<'call>(
    customers: Option<Jsonb<'_>>,
    result: ResultSet<'call>,
) -> ResultSet<'call> {
    as_writing_data_owner(|| {
        protect_all();
        let customers = customers.ok_or(Refusal::Missing { argument: "customers" }).or_raise();
        let outcomes = import(customers).or_raise();
        let rows = (1..).zip(outcomes).map(|(ordinal, outcome)| outcome.row(ordinal));
        result.fill_with([INT4OID, UUIDOID, TEXTOID, TEXTOID, TEXTOID], rows)
    })
}

/// The outcome of each element, in their order.
fn import(customers: Jsonb) -> Result<Vec<Outcome>, Refusal> {
    let customers = customers.root();
    if customers.is_string() {
        return Err(Refusal::EncodedTwice { argument: "customers" });
    }
    let count = customers.array_len().ok_or(Refusal::NotAnArray)?;
    if count > MAX_CUSTOMERS {
        return Err(Refusal::TooManyCustomers { max: MAX_CUSTOMERS });
    }
    let mut outcomes: Vec<Option<Outcome>> = Vec::with_capacity(count);
    let mut candidates = Vec::with_capacity(count);
    customers.for_each_element(|customer| {
        let candidate = customer
            .ok_or(Refusal::NotAnObject)
            .and_then(|customer| Ok(ImportedCustomer::deserialize(customer)?))
            .and_then(Candidate::try_from);
        match candidate {
            Ok(candidate) => {
                candidates.push((outcomes.len(), candidate));
                outcomes.push(None);
            }
            Err(why) => outcomes.push(Some(Outcome::Refused(why))),
        }
    });
    for (i, outcome) in register(candidates) {
        outcomes[i] = Some(outcome);
    }
    Ok(outcomes.into_iter().map(|outcome| outcome.expect("each has been dealt with")).collect())
}

/// A customer that satisfies the rules, in canonical form.
struct Candidate {
    customer_id: Uuid,
    /// Whether the id was given by the caller, not drawn here.
    has_given_id: bool,
    email: String,
    name: Option<String>,
    status: Status,
    /// None means now.
    registered_at: Option<TimestampWithTimeZone>,
}

enum Outcome {
    Registered(Uuid),
    /// The customer existed, with this address and, if one was given, this id.
    Exists(Uuid),
    Refused(Refusal),
}

/// An element of the array. Null means not known.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ImportedCustomer<'a> {
    email: Option<&'a str>,
    name: Option<&'a str>,
    customer_id: Option<&'a str>,
    status: Option<&'a str>,
    registered_at: Option<&'a str>,
}

impl TryFrom<ImportedCustomer<'_>> for Candidate {
    type Error = Refusal;

    fn try_from(imported: ImportedCustomer) -> Result<Self, Refusal> {
        let given_id = imported.customer_id.map(parse_uuid).transpose()?;
        let email = imported.email.ok_or(Refusal::Missing { argument: "email" })?;
        Ok(Self {
            customer_id: given_id.unwrap_or_else(random_key),
            has_given_id: given_id.is_some(),
            email: email::canonical(email)?,
            name: imported.name.map(name::canonical).transpose()?.map(|name| name.into_owned()),
            status: imported.status.map_or(Ok(Status::Active), Status::parse)?,
            registered_at: imported.registered_at.map(parse_moment).transpose()?,
        })
    }
}

fn parse_uuid(text: &str) -> Result<Uuid, Refusal> {
    let uuid = uuid::Uuid::try_parse(text).map_err(|_| Refusal::NotAUuid)?;
    Ok(Uuid::from_bytes(uuid.into_bytes()))
}

/// RFC 3339, so that neither DateStyle nor TimeZone matters.
fn parse_moment(text: &str) -> Result<TimestampWithTimeZone, Refusal> {
    const FROM_1970_TO_2000: i64 = 946_684_800_000_000;
    let moment = moment::parse(text).ok_or(Refusal::NotAMoment)?;
    let moment = registration_moment(moment - FROM_1970_TO_2000)?;
    TimestampWithTimeZone::try_from(moment).map_err(|_| Refusal::NotAMoment)
}

/// Registers all candidates that do not conflict, as if they were registered one after the other.
fn register(candidates: Vec<(usize, Candidate)>) -> Vec<(usize, Outcome)> {
    macro_rules! insert_on_conflict {
        ($conflict:literal) => {
            sql!(
                "INSERT INTO customers.customers (customer_id, email, name, status, registered_at)
                 SELECT customer_id, email, name, status, registered_at
                   FROM unnest($1, $2, $3, $4, $5)
                        AS candidate (customer_id, email, name, status, registered_at)
                 ON CONFLICT ",
                $conflict,
                " DO NOTHING RETURNING customer_id, email"
            )
        };
    }
    const TYPES: [BuiltinOid; 5] =
        [UUIDARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID];
    static INSERT: Statement = Statement::new(insert_on_conflict!(""), &TYPES);
    // An id drawn here cannot conflict, and searching the index for it would take a tenth of the import's
    // time. Not to be used if another unique index or exclusion constraint can conflict: this statement
    // would raise its error.
    static INSERT_WITH_NEW_IDS: Statement = Statement::new(insert_on_conflict!("(email)"), &TYPES);
    if candidates.is_empty() {
        return Vec::new();
    }
    // None if the table has another default, which the guard then applies.
    let now = TimestampWithTimeZone::try_from(GetCurrentTransactionStartTimestamp()).ok();
    let default = now.filter(|_| has_original_defaults(CUSTOMERS.oid()));
    let all = || candidates.iter().map(|(_, candidate)| candidate);
    let params = [
        all().map(|c| c.customer_id).collect::<Vec<_>>().into(),
        all().map(|c| c.email.as_str()).collect::<Vec<_>>().into(),
        all().map(|c| c.name.as_deref()).collect::<Vec<_>>().into(),
        all().map(|c| c.status.as_str()).collect::<Vec<_>>().into(),
        all().map(|c| c.registered_at.or(default)).collect::<Vec<_>>().into(),
    ];
    let mut registered = HashSet::with_capacity(candidates.len());
    let by_email_alone = !all().any(|c| c.has_given_id) && has_only_our_keys();
    let insert = if by_email_alone { &INSERT_WITH_NEW_IDS } else { &INSERT };
    ensure_rules_fired(|| {
        connected(|_| {
            insert.run(&params, |row| {
                registered.insert(key(row));
            })
        });
        ((), !registered.is_empty())
    });
    // Of two equal candidates in one batch, the first was registered.
    let (new, others): (Vec<_>, Vec<_>) = candidates
        .into_iter()
        .partition(|(_, c)| registered.remove(&(c.customer_id, c.email.clone())));
    let known = Known::of(&others);
    let registered = new.into_iter().map(|(i, c)| (i, Outcome::Registered(c.customer_id)));
    registered.chain(others.into_iter().map(|(i, c)| (i, known.outcome(&c)))).collect()
}

/// Customers that existed before.
#[derive(Default)]
struct Known {
    by_email: HashMap<String, Uuid>,
    ids: HashSet<Uuid>,
}

impl Known {
    fn of(candidates: &[(usize, Candidate)]) -> Self {
        static FIND: Statement = Statement::new(
            c"SELECT customer_id, email FROM customers.customers
               WHERE email = ANY ($1) OR customer_id = ANY ($2)",
            &[TEXTARRAYOID, UUIDARRAYOID],
        );
        let mut known = Self::default();
        if candidates.is_empty() {
            return known;
        }
        let params = [
            candidates.iter().map(|(_, c)| c.email.as_str()).collect::<Vec<_>>().into(),
            candidates.iter().map(|(_, c)| c.customer_id).collect::<Vec<_>>().into(),
        ];
        connected(|_| {
            FIND.run(&params, |row| {
                let (customer_id, email) = key(row);
                known.by_email.insert(email, customer_id);
                known.ids.insert(customer_id);
            })
        });
        known
    }

    fn outcome(&self, candidate: &Candidate) -> Outcome {
        match self.by_email.get(&candidate.email) {
            Some(id) if !candidate.has_given_id || *id == candidate.customer_id => {
                Outcome::Exists(*id)
            }
            Some(_) => Outcome::Refused(Refusal::EmailTaken),
            None if self.ids.contains(&candidate.customer_id) => Outcome::Refused(Refusal::IdTaken),
            None => Outcome::Refused(Refusal::KeptOut),
        }
    }
}

fn key(row: &Row) -> (Uuid, String) {
    (row.get(1).expect("the primary key"), row.get(2).expect("every customer has an address"))
}

/// Whether the unique indexes on id and address are the table's only unique or exclusion indexes.
fn has_only_our_keys() -> bool {
    static OTHERS: Statement = Statement::new(
        c"SELECT count(*)
            FROM pg_index
           WHERE indrelid = $1 AND (indisunique OR indisexclusion)
             AND NOT (indnkeyatts = 1 AND indpred IS NULL AND indexprs IS NULL AND indkey[0] IN
                      (SELECT attnum FROM pg_attribute
                        WHERE attrelid = $1 AND attname IN ('customer_id', 'email')))",
        &[OIDOID],
    );
    thread_local! {
        static KNOWN: CatalogCache<pg_sys::Oid, bool> = const { CatalogCache::new() };
    }
    let table = CUSTOMERS.oid();
    let look_up = || OTHERS.catalog_value::<i64>(&[table.into()]) == Some(0);
    KNOWN.with(|known| known.get(table, look_up))
}

impl Outcome {
    fn row(self, ordinal: i32) -> [TypedDatum<'static>; 5] {
        let (customer_id, outcome, why) = match self {
            Self::Registered(id) => (Some(id), "registered", None),
            Self::Exists(id) => (Some(id), "exists", None),
            Self::Refused(why) => (None, "refused", Some(why.facts())),
        };
        [
            ordinal.into(),
            customer_id.into(),
            outcome.into(),
            why.as_ref().map(|why| why.sqlstate).into(),
            why.map(|why| why.message).into(),
        ]
    }
}
