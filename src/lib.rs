//! `customer_db` makes a PostgreSQL database the system of record for customer profiles.
//!
//! Layers, each of which uses only those below it:
//!
//! * `api`: the SQL functions
//! * `feed`: events in an order in which no reader misses one, and their notifications
//! * `customer`: the tables, the guard that applies the rules to every row, and their enforcement
//! * `postgres`: access to PostgreSQL, independent of customers
//! * `settings` and `refusal`
//! * `rules`: what a profile may hold, in pure Rust
//!
//! The SQL is in `sql/`: CREATE EXTENSION runs `install/`, attach() runs `attach/`.

mod api;
mod customer;
mod feed;
mod postgres;
mod refusal;
pub mod rules;
mod settings;

use pgrx::prelude::*;

pg_module_magic!(name, version);

extension_sql_file!("../sql/install/bootstrap.sql", name = "bootstrap", bootstrap);
extension_sql_file!("../sql/attach/owners.sql", name = "owners", requires = ["bootstrap"]);
extension_sql_file!("../sql/install/types.sql", name = "types", requires = ["owners"]);
extension_sql_file!("../sql/install/commands.sql", name = "commands", requires = ["types"]);
extension_sql_file!("../sql/install/queries.sql", name = "queries", requires = ["commands"]);
extension_sql_file!("../sql/install/feed.sql", name = "feed", requires = ["queries"]);
extension_sql_file!("../sql/install/privacy.sql", name = "privacy", requires = ["feed"]);
extension_sql_file!("../sql/install/access.sql", name = "access", requires = ["privacy"]);
extension_sql_file!(
    "../sql/install/trigger_functions.sql",
    name = "trigger_functions",
    requires = ["access"]
);
extension_sql_file!(
    "../sql/install/lifecycle.sql",
    name = "lifecycle",
    requires = ["trigger_functions"]
);
extension_sql_file!(
    "../sql/install/finalize.sql",
    name = "finalize",
    requires = ["lifecycle"],
    finalize
);

#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    // A panic is a bug. The entry points report it; pgrx's hook would add a backtrace.
    std::panic::set_hook(Box::new(|_| {}));
    postgres::allocation::on_failure(postgres::error::out_of_memory);
    settings::define();
    postgres::catalog_cache::register_invalidation_callbacks();
    feed::register_transaction_callbacks();
    feed::worker::register();
}

/// Required by pgrx-tests of a crate with `#[pg_test]`.
#[cfg(test)]
pub mod pg_test {
    pub fn setup(_options: Vec<&str>) {}

    pub fn postgresql_conf_options() -> Vec<&'static str> {
        vec!["listen_addresses = 'localhost'"]
    }
}
