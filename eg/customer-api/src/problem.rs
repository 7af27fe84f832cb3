//! Answers to requests that fail: application/problem+json (RFC 9457), without personal data.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use std::fmt::Display;

/// The status that answers an SQLSTATE, the only thing that an answer depends on.
fn status(sqlstate: &str) -> StatusCode {
    match sqlstate {
        // A value that breaks its rule, text that is not valid, a change that the account's status forbids.
        "22023" | "22021" | "23514" => StatusCode::BAD_REQUEST,
        "PT404" => StatusCode::NOT_FOUND,
        // The address is another customer's; the version is another one.
        "23505" | "PT409" => StatusCode::CONFLICT,
        // A standby; a lock that was not available in time.
        "25006" | "55P03" => StatusCode::SERVICE_UNAVAILABLE,
        // Connection, deadlock, resources, cancellation or shutdown.
        _ if ["08", "40", "53", "57"].contains(&&sqlstate[..2]) => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

pub struct Problem {
    status: StatusCode,
    detail: Option<String>,
    sqlstate: Option<String>,
}

impl Problem {
    pub fn of(status: StatusCode) -> Self {
        Self { status, detail: None, sqlstate: None }
    }

    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..Self::of(StatusCode::BAD_REQUEST) }
    }
}

impl From<tokio_postgres::Error> for Problem {
    fn from(error: tokio_postgres::Error) -> Self {
        // Without an SQLSTATE there was no answer: no connection, or none any more.
        let Some(refusal) = error.as_db_error() else { return unavailable(error) };
        let sqlstate = refusal.code().code();
        let status = status(sqlstate);
        if status.is_server_error() {
            eprintln!("{sqlstate}: {}", refusal.message());
            return Self::of(status);
        }
        // customer_db's messages hold no address and no name, so the client may see them.
        let detail = Some(refusal.message().to_owned());
        Self { status, detail, sqlstate: Some(sqlstate.to_owned()) }
    }
}

pub fn unavailable(error: impl Display) -> Problem {
    eprintln!("{error}");
    Problem::of(StatusCode::SERVICE_UNAVAILABLE)
}

// What serde and axum say may quote the request, so it is not passed on.
impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        match rejection.status() {
            status @ StatusCode::PAYLOAD_TOO_LARGE => Self::of(status),
            status @ StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::of(status),
            _ => Self::bad_request("the body must be a JSON object whose fields are text or null"),
        }
    }
}

impl From<PathRejection> for Problem {
    fn from(_: PathRejection) -> Self {
        Self::bad_request("customerId must be a UUID")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { status, detail, sqlstate } = self;
        let body = json!({"title": status.canonical_reason(), "status": status.as_u16(), "detail": detail,
                          "sqlstate": sqlstate});
        let retry = (status == StatusCode::SERVICE_UNAVAILABLE).then_some([(RETRY_AFTER, "1")]);
        (status, [(CONTENT_TYPE, "application/problem+json")], retry, Json(body)).into_response()
    }
}
