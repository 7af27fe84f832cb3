//! What an installation consists of beside its functions: made, or made whole, by `attach()`.

use crate::errors::Refusal;
use pgrx::pg_sys::panic::ErrorReportable;
use pgrx::prelude::*;

#[pg_extern(sql = false)]
fn attach() {
    run(include_str!("../sql/owners.sql"));
    if let Some(missing) = missing_columns() {
        Refusal::NotCustomers { missing }.raise();
    }
    run(include_str!("../sql/tables.sql"));
    run(include_str!("../sql/triggers.sql"));
    run(include_str!("../sql/views.sql"));
}

/// The specified columns that a table customers.customers, where there is one, does not have.
fn missing_columns() -> Option<String> {
    Spi::connect(|client| {
        client
            .select(
                "SELECT string_agg(wanted.name || ' ' || wanted.type, ', ')
                   FROM (VALUES ('customer_id', 'uuid'), ('email', 'text'), ('name', 'text'),
                                ('status', 'text'), ('registered_at', 'timestamptz'),
                                ('updated_at', 'timestamptz')) AS wanted (name, type)
                  WHERE to_regclass('customers.customers') IS NOT NULL
                    AND NOT EXISTS (SELECT FROM pg_attribute
                                     WHERE attrelid = to_regclass('customers.customers')
                                       AND attname = wanted.name
                                       AND atttypid = wanted.type::regtype
                                       AND NOT attisdropped)",
                None,
                &[],
            )?
            .first()
            .get_one::<String>()
    })
    .unwrap_or_report()
}

fn run(script: &str) {
    Spi::run(script).unwrap_or_report();
}
