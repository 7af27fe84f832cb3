//! Bulk registration: one statement for a whole batch, one answer for each customer in it.

use crate::errors::{OrRefuse, Refusal, without_values};
use crate::guard::has_passed;
use crate::jsonb::{Fields, Jsonb, Value};
use crate::random::new_customer_id;
use crate::rows::Rows;
use crate::rules::status::Status;
use crate::rules::{email, name};
use crate::statement::{Param, Row, Statement, connected, sql};
use crate::witness::witnessed;
use pgrx::pg_sys::BuiltinOid::{self, TEXTARRAYOID, TIMESTAMPTZARRAYOID, UUIDARRAYOID};
use pgrx::prelude::*;
use pgrx::{IntoDatum, Uuid};
use std::collections::{HashMap, HashSet};

#[pg_extern(sql = false)]
fn import_customers(customers: Option<Jsonb>) -> Rows {
    let customers = customers.ok_or(Refusal::Missing("customers")).or_refuse();
    let batch = customers.elements().ok_or(Refusal::NotAnArray).or_refuse();
    let mut outcomes: Vec<Option<Outcome>> = Vec::with_capacity(batch.len());
    let mut candidates = Vec::with_capacity(batch.len());
    for customer in batch {
        match customer.ok_or(Refusal::NotAnObject).and_then(Candidate::from_fields) {
            Ok(candidate) => {
                candidates.push((outcomes.len(), candidate));
                outcomes.push(None);
            }
            Err(why) => outcomes.push(Some(Outcome::Refused(why))),
        }
    }
    for (i, outcome) in register(candidates) {
        outcomes[i] = Some(outcome);
    }
    let answered = outcomes.into_iter().map(|outcome| outcome.expect("each has been dealt with"));
    Rows::AtHand((1..).zip(answered).map(|(ordinal, outcome)| outcome.row(ordinal)).collect())
}

/// A customer that keeps the rules, in canonical form.
struct Candidate {
    customer_id: Uuid,
    /// Whether the id came with the customer, or was drawn here.
    has_given_id: bool,
    email: String,
    name: Option<String>,
    status: Status,
    /// None for now.
    registered_at: Option<TimestampWithTimeZone>,
}

enum Outcome {
    Registered(Uuid),
    /// The customer was there, with this address and, where one was given, this id.
    Exists(Uuid),
    Refused(Refusal),
}

impl Candidate {
    fn from_fields(fields: Fields) -> Result<Self, Refusal> {
        let (mut customer_id, mut email, mut name, mut status, mut registered_at) =
            (None, None, None, None, None);
        for (field, value) in fields {
            let (place, field) = match field {
                "customerId" => (&mut customer_id, "customerId"),
                "email" => (&mut email, "email"),
                "name" => (&mut name, "name"),
                "status" => (&mut status, "status"),
                "registeredAt" => (&mut registered_at, "registeredAt"),
                other => return Err(Refusal::unknown_field(other)),
            };
            *place = match value {
                Value::Text(text) => Some(text),
                Value::Null => None,
                Value::Other => return Err(Refusal::NotText(field)),
            };
        }
        let given_id = customer_id.map(parse_uuid).transpose()?;
        Ok(Self {
            customer_id: given_id.unwrap_or_else(new_customer_id),
            has_given_id: given_id.is_some(),
            email: email::canonical(email.ok_or(Refusal::Missing("email"))?)?,
            name: name.map(name::canonical).transpose()?.map(|name| name.into_owned()),
            status: status.map_or(Ok(Status::Active), Status::parse)?,
            registered_at: registered_at.map(parse_moment).transpose()?,
        })
    }
}

fn parse_uuid(text: &str) -> Result<Uuid, Refusal> {
    let uuid = uuid::Uuid::try_parse(text).map_err(|_| Refusal::NotAUuid)?;
    Ok(Uuid::from_bytes(uuid.into_bytes()))
}

/// RFC 3339, so that no session's DateStyle or TimeZone has a say.
fn parse_moment(text: &str) -> Result<TimestampWithTimeZone, Refusal> {
    const FROM_1970_TO_2000: i64 = 946_684_800_000_000;
    let moment: jiff::Timestamp = text.parse().map_err(|_| Refusal::NotAMoment)?;
    let moment = moment.as_microsecond() - FROM_1970_TO_2000;
    if !has_passed(moment) {
        return Err(Refusal::RegisteredInFuture);
    }
    TimestampWithTimeZone::try_from(moment).map_err(|_| Refusal::NotAMoment)
}

/// Registers those who can be, as if one came after the other.
fn register(candidates: Vec<(usize, Candidate)>) -> Vec<(usize, Outcome)> {
    macro_rules! insert_on_conflict {
        ($conflict:literal) => {
            sql!(
                "INSERT INTO customers.customers (customer_id, email, name, status, registered_at)
                 SELECT customer_id, email, name, status, coalesce(registered_at, now())
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
    // An id that was drawn here is nobody's: looking for it in the index would cost a tenth of the import.
    static INSERT_WITH_NEW_IDS: Statement = Statement::new(insert_on_conflict!("(email)"), &TYPES);
    if candidates.is_empty() {
        return Vec::new();
    }
    let all = || candidates.iter().map(|(_, candidate)| candidate);
    let params = [
        all().map(|c| c.customer_id).collect::<Vec<_>>().into_datum(),
        all().map(|c| c.email.as_str()).collect::<Vec<_>>().into_datum(),
        all().map(|c| c.name.as_deref()).collect::<Vec<_>>().into_datum(),
        all().map(|c| c.status.as_str()).collect::<Vec<_>>().into_datum(),
        all().map(|c| c.registered_at).collect::<Vec<_>>().into_datum(),
    ];
    let mut registered = HashSet::with_capacity(candidates.len());
    let insert = if all().any(|c| c.has_given_id) { &INSERT } else { &INSERT_WITH_NEW_IDS };
    witnessed(|| {
        without_values(|| {
            connected(|_| {
                insert.run(&params, |row| {
                    registered.insert(key(row));
                })
            })
        });
        !registered.is_empty()
    });
    // Of two that are alike in one batch the first was registered.
    let (new, others): (Vec<_>, Vec<_>) = candidates
        .into_iter()
        .partition(|(_, c)| registered.remove(&(c.customer_id, c.email.clone())));
    let known = Known::of(&others);
    let registered = new.into_iter().map(|(i, c)| (i, Outcome::Registered(c.customer_id)));
    registered.chain(others.into_iter().map(|(i, c)| (i, known.outcome(&c)))).collect()
}

/// Customers who were there already.
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
            candidates.iter().map(|(_, c)| c.email.as_str()).collect::<Vec<_>>().into_datum(),
            candidates.iter().map(|(_, c)| c.customer_id).collect::<Vec<_>>().into_datum(),
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

impl Outcome {
    fn row(self, ordinal: i32) -> Vec<Param> {
        let (customer_id, outcome, why) = match self {
            Self::Registered(id) => (Some(id), "registered", None),
            Self::Exists(id) => (Some(id), "exists", None),
            Self::Refused(why) => (None, "refused", Some(why)),
        };
        vec![
            ordinal.into_datum(),
            customer_id.into_datum(),
            outcome.into_datum(),
            why.as_ref().map(Refusal::sqlstate).into_datum(),
            why.map(|why| why.to_string()).into_datum(),
        ]
    }
}
