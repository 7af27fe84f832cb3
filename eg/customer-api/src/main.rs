//! The Customer API (openapi.json): each operation is one call of a function of customer_db.

mod customers;
mod problem;

use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::routing::{get, post};
use axum::{Router, serve};
use deadpool_postgres::{Manager, Pool, Runtime};
use problem::Problem;
use std::{env, error::Error, time::Duration};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_postgres::NoTls;

const DESCRIPTION: &str = include_str!("../openapi.json");
/// How long a request waits for a connection before it is answered with 503.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(2));
/// Several times what an address and a name may take in JSON.
const BODY_LIMIT: usize = 16 * 1024;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let database = env::var("DATABASE_URL").map_err(|_| "DATABASE_URL is not set")?.parse()?;
    let pool = Pool::builder(Manager::new(database, NoTls))
        .runtime(Runtime::Tokio1)
        .max_size(16)
        .wait_timeout(PATIENCE)
        .create_timeout(PATIENCE)
        .build()?;
    let address = env::var("LISTEN_ADDR").unwrap_or("127.0.0.1:8080".to_owned());
    let listener = TcpListener::bind(address).await?;
    let mut terminate = signal(SignalKind::terminate())?;
    println!("http://{}", listener.local_addr()?);
    // Requests that have begun are answered.
    serve(listener, api(pool))
        .with_graceful_shutdown(async move { terminate.recv().await.unwrap_or_default() })
        .await?;
    Ok(())
}

fn api(pool: Pool) -> Router {
    Router::new()
        .route("/customers", post(customers::register))
        .route("/customers/{customerId}", get(customers::get).patch(customers::update))
        .route("/openapi.json", get(([(CONTENT_TYPE, "application/json")], DESCRIPTION)))
        .method_not_allowed_fallback(async || Problem::of(StatusCode::METHOD_NOT_ALLOWED))
        .fallback(async || Problem::of(StatusCode::NOT_FOUND))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(pool)
}
