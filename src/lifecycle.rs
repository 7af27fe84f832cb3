//! What an installation consists of beside its functions: made, or made whole, by `attach()`.

use crate::errors::{OrRefuse, Refusal, broken_customer};
use crate::rules::email::{self, EmailError};
use crate::rules::name;
use crate::rules::status::Status;
use crate::statement::run_script as run;
use pgrx::pg_sys::panic::ErrorReportable;
use pgrx::prelude::*;

#[pg_extern(sql = false)]
fn attach() {
    run(include_str!("../sql/owners.sql"));
    shaped().or_refuse();
    if ask("SELECT to_regclass('customers.customers') IS NOT NULL") == Some(true) {
        // Without a version, or with one that its owner has left empty, all rows begin at 1.
        run(
            "ALTER TABLE customers.customers ADD COLUMN IF NOT EXISTS version bigint NOT NULL DEFAULT 1",
        );
        adoptable().or_refuse();
        run(include_str!("../sql/adopt.sql"));
    }
    run(include_str!("../sql/tables.sql"));
    run(include_str!("../sql/triggers.sql"));
    run(include_str!("../sql/views.sql"));
}

/// Whether the tables that are there are those that the functions work with.
fn shaped() -> Result<(), Refusal> {
    let lacking: Result<_, pgrx::spi::Error> = Spi::connect(|client| {
        let mut rows = client.select(include_str!("../sql/lacking.sql"), None, &[])?;
        rows.next().map(|row| Ok((row.get(1)?, row.get(2)?))).transpose()
    });
    match lacking.unwrap_or_report() {
        Some((table, lacks)) => Err(Refusal::OtherTable {
            table: table.unwrap_or_default(),
            lacks: lacks.unwrap_or_default(),
        }),
        None => Ok(()),
    }
}

/// Whether every row of customers.customers keeps the rules.
fn adoptable() -> Result<(), Refusal> {
    let rows = ask(concat!("SELECT count(*) FROM customers.customers WHERE ", broken_customer!()));
    if let Some(rows @ 1..) = rows {
        return Err(Refusal::BrokenRules { rows });
    }
    let values = ask("SELECT count(*) FROM (SELECT FROM customers.customers
                                             GROUP BY email HAVING count(*) > 1
                                            UNION ALL
                                            SELECT FROM customers.customers
                                             GROUP BY customer_id HAVING count(*) > 1) AS shared");
    if let Some(values @ 1..) = values {
        return Err(Refusal::Shared { values });
    }
    Ok(())
}

#[pg_extern(sql = false)]
fn broken_rule(email: Option<&str>, name: Option<&str>, status: Option<&str>) -> Option<String> {
    check(email, name, status).err()
}

fn check(email: Option<&str>, name: Option<&str>, status: Option<&str>) -> Result<(), String> {
    let status = Status::parse(status.unwrap_or_default()).map_err(|why| why.to_string())?;
    let email = email.ok_or("email is required")?;
    match email::canonical(email) {
        Ok(canonical) if canonical == email => {}
        Ok(_) => return Err("e-mail address is not in canonical form".to_owned()),
        // What erasure leaves behind.
        Err(EmailError::Reserved) if status == Status::Closed && name.is_none() => {}
        Err(why) => return Err(why.to_string()),
    }
    match name.map(name::canonical).transpose() {
        Ok(canonical) if canonical.as_deref() == name => Ok(()),
        Ok(_) => Err("name is not in canonical form".to_owned()),
        Err(why) => Err(why.to_string()),
    }
}

fn ask<T: FromDatum + IntoDatum>(question: &str) -> Option<T> {
    Spi::connect(|client| client.select(question, None, &[])?.first().get_one()).unwrap_or_report()
}
