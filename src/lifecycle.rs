//! What an installation consists of beside its functions: made, or made whole, by `attach()`.

use crate::errors::{OrRefuse, Refusal};
use crate::rules::email::{self, EmailError};
use crate::rules::name;
use crate::rules::status::Status;
use pgrx::pg_sys::panic::ErrorReportable;
use pgrx::prelude::*;

#[pg_extern(sql = false)]
fn attach() {
    run(include_str!("../sql/owners.sql"));
    if ask("SELECT to_regclass('customers.customers') IS NOT NULL") == Some(true) {
        adoptable().or_refuse();
        run(include_str!("../sql/adopt.sql"));
    }
    run(include_str!("../sql/tables.sql"));
    run(include_str!("../sql/triggers.sql"));
    run(include_str!("../sql/views.sql"));
}

/// Whether customers.customers can be what the rules take it for.
fn adoptable() -> Result<(), Refusal> {
    let missing = ask("SELECT string_agg(wanted.name || ' ' || wanted.type, ', ')
           FROM (VALUES ('customer_id', 'uuid'), ('email', 'text'), ('name', 'text'),
                        ('status', 'text'), ('registered_at', 'timestamptz'),
                        ('updated_at', 'timestamptz')) AS wanted (name, type)
          WHERE NOT EXISTS (SELECT FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
                             WHERE attrelid = 'customers.customers'::regclass
                               AND relkind = 'r'
                               AND attname = wanted.name
                               AND atttypid = wanted.type::regtype
                               AND NOT attisdropped)");
    if let Some(missing) = missing {
        return Err(Refusal::NotCustomers { missing });
    }
    let rows = ask("SELECT count(*) FROM customers.customers
                     WHERE customers.broken_rule(email, name, status) IS NOT NULL");
    if let Some(rows @ 1..) = rows {
        return Err(Refusal::BrokenRules { rows });
    }
    let addresses = ask("SELECT count(*) FROM (SELECT FROM customers.customers
                                                GROUP BY email HAVING count(*) > 1) AS shared");
    if let Some(addresses @ 1..) = addresses {
        return Err(Refusal::SharedAddresses { addresses });
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

fn run(script: &str) {
    Spi::run(script).unwrap_or_report();
}
