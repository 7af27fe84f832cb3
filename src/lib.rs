//! `customer_db` makes a PostgreSQL database the system of record for customer profiles.
//!
//! Reading order: `rules` says what a profile may hold, `guard` holds every row to it, `feed` records
//! what changed and tells listeners, `commands` and `queries` are what applications call.
//! The SQL that installs them stands in `sql/`.

mod access;
mod commands;
mod customer;
mod direct;
mod errors;
mod exemption;
mod feed;
mod guard;
mod import;
mod inserter;
mod jsonb;
mod lifecycle;
mod memo;
mod privacy;
mod profile;
mod queries;
mod random;
mod raw;
mod rows;
pub mod rules;
mod settings;
mod statement;
mod table;
mod trigger;
mod witness;

use pgrx::prelude::*;

pg_module_magic!(name, version);

extension_sql_file!("../sql/bootstrap.sql", name = "bootstrap", bootstrap);
extension_sql_file!("../sql/owners.sql", name = "owners", requires = ["bootstrap"]);
extension_sql_file!("../sql/types.sql", name = "types", requires = ["owners"]);
extension_sql_file!("../sql/commands.sql", name = "commands", requires = ["types"]);
extension_sql_file!("../sql/queries.sql", name = "queries", requires = ["commands"]);
extension_sql_file!("../sql/feed.sql", name = "feed", requires = ["queries"]);
extension_sql_file!("../sql/privacy.sql", name = "privacy", requires = ["feed"]);
extension_sql_file!("../sql/access.sql", name = "access", requires = ["privacy"]);
extension_sql_file!(
    "../sql/trigger_functions.sql",
    name = "trigger_functions",
    requires = ["access"]
);
extension_sql_file!("../sql/lifecycle.sql", name = "lifecycle", requires = ["trigger_functions"]);
extension_sql_file!("../sql/finalize.sql", name = "finalize", requires = ["lifecycle"], finalize);

#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    // A panic is a bug, and reported by its message alone: pgrx's own hook would add a backtrace.
    std::panic::set_hook(Box::new(|_| {}));
    settings::define();
    memo::watch_definitions();
    feed::watermark::watch_transactions();
    feed::worker::register();
}

/// What pgrx-tests asks of a crate with `#[pg_test]`.
#[cfg(test)]
pub mod pg_test {
    pub fn setup(_options: Vec<&str>) {}

    pub fn postgresql_conf_options() -> Vec<&'static str> {
        vec!["listen_addresses = 'localhost'"]
    }
}
