//! The operations. What an address, a name or a status may be is the database's to say: nothing is checked twice.

use crate::problem::{Problem, unavailable};
use axum::Json;
use axum::extract::{FromRequest, FromRequestParts, Path, State};
use axum::http::header::{ETAG, IF_MATCH, LOCATION};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use deadpool_postgres::Pool;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tokio_postgres::Row;
use tokio_postgres::types::{Json as Jsonb, ToSql};
use uuid::Uuid;

const REGISTER: &str = "SELECT * FROM customers.register_customer($1, $2)";
const GET: &str = "SELECT * FROM customers.get_customer($1)";
const SET_ACTOR: &str = "SELECT set_config('customer_db.actor', $1, true)";
const UPDATE: &str = "SELECT * FROM customers.patch_customer($1, $2, $3)";

pub async fn register(
    State(pool): State<Pool>,
    headers: HeaderMap,
    Body(fields): Body<Fields>,
) -> Result<impl IntoResponse, Problem> {
    if let Some(field) = fields.0.keys().find(|field| !matches!(field.as_str(), "email" | "name")) {
        return Err(unknown(field));
    }
    let [email, name] = ["email", "name"].map(|field| fields.0.get(field).cloned().flatten());
    let customer = command(&pool, &headers, REGISTER, &[&email, &name]).await?;
    let location = [(LOCATION, format!("/customers/{}", customer.customer_id))];
    Ok((StatusCode::CREATED, location, customer))
}

pub async fn get(State(pool): State<Pool>, Id(id): Id<Uuid>) -> Result<Customer, Problem> {
    let database = pool.get().await.map_err(unavailable)?;
    let get = database.prepare_cached(GET).await?;
    let row = database.query_opt(&get, &[&id]).await?;
    row.as_ref().map(Customer::from).ok_or(Problem::of(StatusCode::NOT_FOUND))
}

pub async fn update(
    State(pool): State<Pool>,
    headers: HeaderMap,
    Id(id): Id<Uuid>,
    Body(patch): Body<Fields>,
) -> Result<Customer, Problem> {
    command(&pool, &headers, UPDATE, &[&id, &Jsonb(patch), &if_match(&headers)?]).await
}

/// Calls a function on behalf of X-Actor, which the gateway sets, and removes where a client sends it. The setting ends
/// with the transaction: the next request on this connection is another's.
async fn command(
    pool: &Pool,
    headers: &HeaderMap,
    function: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<Customer, Problem> {
    let mut database = pool.get().await.map_err(unavailable)?;
    let transaction = database.transaction().await?;
    if let Some(actor) = header(headers, "X-Actor")? {
        let set = transaction.prepare_cached(SET_ACTOR).await?;
        transaction.execute(&set, &[&actor]).await?;
    }
    let function = transaction.prepare_cached(function).await?;
    let row = transaction.query_one(&function, parameters).await?;
    transaction.commit().await?;
    Ok(Customer::from(&row))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Customer {
    customer_id: Uuid,
    email: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    status: String,
    registered_at: jiff::Timestamp,
    /// The ETag.
    #[serde(skip)]
    version: i64,
}

impl From<&Row> for Customer {
    fn from(row: &Row) -> Self {
        Self {
            customer_id: row.get("customer_id"),
            email: row.get("email"),
            name: row.get("name"),
            status: row.get("status"),
            registered_at: row.get("registered_at"),
            version: row.get("version"),
        }
    }
}

impl IntoResponse for Customer {
    fn into_response(self) -> Response {
        ([(ETAG, format!("\"{}\"", self.version))], Json(self)).into_response()
    }
}

/// The fields of a request: text or null.
#[derive(Debug, Deserialize, Serialize)]
#[serde(try_from = "BTreeMap<String, Option<String>>")]
pub struct Fields(BTreeMap<String, Option<String>>);

impl TryFrom<BTreeMap<String, Option<String>>> for Fields {
    type Error = &'static str;

    /// Refuses NUL: PostgreSQL does too, but writes the document into its log.
    fn try_from(fields: BTreeMap<String, Option<String>>) -> Result<Self, Self::Error> {
        let mut texts = fields.keys().chain(fields.values().flatten());
        if texts.any(|text| text.contains('\0')) { Err("NUL") } else { Ok(Self(fields)) }
    }
}

/// Names the field, unless its name could be a person's name or address; so does patch_customer.
fn unknown(field: &str) -> Problem {
    let like_an_identifier = field.len() <= 32
        && field.starts_with(|c: char| c.is_ascii_lowercase())
        && field.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let field = if like_an_identifier { field } else { "a field that was given" };
    Problem::bad_request(format!("{field} is not a field of a registration"))
}

#[derive(FromRequest)]
#[from_request(via(Json), rejection(Problem))]
pub struct Body<T>(T);

#[derive(FromRequestParts)]
#[from_request(via(Path), rejection(Problem))]
pub struct Id<T>(T);

/// The version that the client has read, as its ETag.
fn if_match(headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    let Some(tag) = header(headers, IF_MATCH.as_str())? else { return Ok(None) };
    let digits = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
    let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let version = digits.and_then(|digits| digits.parse().ok());
    version.map(Some).ok_or(Problem::bad_request("If-Match must be one ETag of the customer"))
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Problem> {
    let value = headers.get(name).map(|value| str::from_utf8(value.as_bytes())).transpose();
    value.map_err(|_| Problem::bad_request(format!("{name} is not valid UTF-8")))
}
