//! attach(): creates or completes everything in the schema except functions and types.

use super::access;
use crate::customer::data_owner::{refuse_distributed, refuse_read_only};
use crate::customer::schema::{CUSTOMERS, TABLES, broken_customer};
use crate::postgres::error::{OrRaise, entry_point};
use crate::postgres::statement::{Statement, connected, run_script as run, sql};
use crate::postgres::text::Text;
use crate::postgres::transaction::is_snapshot_kept;
use crate::refusal::Refusal;
use crate::rules::status::{self, Status};
use crate::rules::{BrokenRule, email, name};
use pgrx::pg_sys::BuiltinOid::{OIDOID, TEXTARRAYOID};
use pgrx::prelude::*;

#[pg_extern(sql = false)]
fn attach() {
    static IS_CITUS_WORKER: Statement =
        Statement::new(c"SELECT groupid <> 0 FROM pg_catalog.pg_dist_local_group LIMIT 1", &[]);
    static HAS_CITUS: Statement =
        Statement::new(c"SELECT to_regclass('pg_catalog.pg_dist_local_group') IS NOT NULL", &[]);
    entry_point(|| {
        if HAS_CITUS.read_value(&[]) == Some(true) && IS_CITUS_WORKER.read_value(&[]) == Some(true)
        {
            Refusal::CitusWorker.raise();
        }
        refuse_read_only();
        access::expect_owner().or_raise();
        run(include_str!("../../sql/attach/owners.sql"));
        refuse_distributed();
        ensure_columns().or_raise();
        run(include_str!("../../sql/attach/inheritance.sql"));
        let adopts = CUSTOMERS.find().is_some();
        if adopts {
            run(include_str!("../../sql/attach/data_owner.sql"));
        }
        let missing = missing();
        if adopts {
            ensure_rows_keep_rules().or_raise();
        }
        if missing.is_empty() {
            return;
        }
        if adopts {
            lock(missing.iter().any(Missing::stops_readers)).or_raise();
        }
        let had_marks = access::has_marks();
        run(include_str!("../../sql/attach/remember_relations.sql"));
        if adopts {
            run(include_str!("../../sql/attach/warnings.sql"));
            CUSTOMERS.as_restricted_owner(|| run(include_str!("../../sql/attach/collation.sql")));
            run(include_str!("../../sql/attach/adopt.sql"));
        }
        run(include_str!("../../sql/attach/tables.sql"));
        run(include_str!("../../sql/attach/triggers.sql"));
        run(include_str!("../../sql/attach/views.sql"));
        run(include_str!("../../sql/attach/privileges.sql"));
        if !had_marks {
            access::mark_duties();
        }
    });
}

/// Locks the table of customers, at once as strongly as is needed: a stronger lock that is taken later would deadlock
/// with transactions that have read, and now write. Then checks again what others wrote before.
fn lock(stops_readers: bool) -> Result<(), Refusal> {
    if is_snapshot_kept() {
        return Err(Refusal::AttachIsolation);
    }
    run(if stops_readers {
        "LOCK TABLE customers.customers IN ACCESS EXCLUSIVE MODE"
    } else {
        "LOCK TABLE customers.customers IN SHARE ROW EXCLUSIVE MODE"
    });
    ensure_rows_keep_rules()?;
    // Where the keys are there, nothing is shared.
    if stops_readers { ensure_nothing_is_shared() } else { Ok(()) }
}

/// Something that attach() would create or restore.
pub struct Missing {
    pub problem: String,
    /// What follows from it: see `sql/attach/missing.sql`.
    effect: String,
}

impl Missing {
    /// Whether the tables cannot be read without it.
    pub fn is_needed(&self) -> bool {
        self.effect == "unreadable"
    }

    fn stops_readers(&self) -> bool {
        ["unreadable", "exclusive"].contains(&self.effect.as_str())
    }
}

pub fn missing() -> Vec<Missing> {
    static MISSING: Statement =
        Statement::new(sql!(include_str!("../../sql/attach/missing.sql")), &[OIDOID]);
    let mut missing = Vec::new();
    connected(|_| {
        MISSING.read(&[CUSTOMERS.find().into()], |row| {
            let text = |column| row.get(column).unwrap_or_default();
            missing.push(Missing { problem: text(1), effect: text(2) });
        });
    });
    missing
}

/// Refuses existing tables without the columns which the functions need.
pub fn ensure_columns() -> Result<(), Refusal> {
    static LACKING: Statement = Statement::new(
        sql!(include_str!("../../sql/attach/lacking.sql")),
        &[TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID],
    );
    let columns =
        || TABLES.iter().flat_map(|(table, columns)| columns.iter().map(move |c| (*table, c)));
    let params = [
        columns().map(|(table, _)| table.to_owned()).collect::<Vec<_>>().into(),
        columns()
            .map(|(_, column)| column.name.to_string_lossy().into_owned())
            .collect::<Vec<_>>()
            .into(),
        columns().map(|(_, column)| column.type_name()).collect::<Vec<_>>().into(),
    ];
    let mut lacking = Ok(());
    connected(|_| {
        LACKING.read(&params, |row| {
            let text = |column| row.get(column).unwrap_or_default();
            lacking = Err(Refusal::NotAdoptable { table: text(1), problems: text(2) });
        });
    });
    lacking
}

/// Refuses if a row of customers.customers breaks a rule.
fn ensure_rows_keep_rules() -> Result<(), Refusal> {
    static BROKEN: Statement = Statement::new(
        sql!("SELECT count(*) FROM customers.customers WHERE ", broken_customer!()),
        &[],
    );
    static HAS_VERSION: Statement = Statement::new(
        c"SELECT true FROM pg_attribute WHERE attrelid = $1 AND attname = 'version' AND NOT attisdropped",
        &[OIDOID],
    );
    static BROKEN_VERSION: Statement = Statement::new(
        c"SELECT count(*) FROM customers.customers WHERE version IS NULL OR version < 1",
        &[],
    );
    // What evaluates an expression of the owner's over rows is done with the owner's rights.
    if let Some(rows @ 1..) = CUSTOMERS.as_restricted_owner(|| BROKEN.value(&[])) {
        return Err(Refusal::BrokenRules { rows });
    }
    if HAS_VERSION.value(&[CUSTOMERS.oid().into()]) == Some(true)
        && let Some(rows @ 1..) = CUSTOMERS.as_restricted_owner(|| BROKEN_VERSION.value(&[]))
    {
        return Err(Refusal::BrokenVersions { rows });
    }
    Ok(())
}

/// Refuses if customers share an address or an id.
fn ensure_nothing_is_shared() -> Result<(), Refusal> {
    static SHARED: Statement = Statement::new(
        c"SELECT count(*) FROM (SELECT FROM customers.customers
                                 GROUP BY email HAVING count(*) > 1
                                UNION ALL
                                SELECT FROM customers.customers
                                 GROUP BY customer_id HAVING count(*) > 1) AS shared",
        &[],
    );
    if let Some(values @ 1..) = CUSTOMERS.as_restricted_owner(|| SHARED.value(&[])) {
        return Err(Refusal::Shared { values });
    }
    Ok(())
}

#[pg_extern(sql = false)]
fn broken_rule(
    email: Option<Text<'_>>,
    name: Option<Text<'_>>,
    status: Option<Text<'_>>,
) -> Option<String> {
    entry_point(|| check(email, name, status).err().map(|why| why.facts().message))
}

fn check(email: Option<Text>, name: Option<Text>, status: Option<Text>) -> Result<(), Refusal> {
    const EMAIL_NOT_CANONICAL: BrokenRule =
        BrokenRule { message: "e-mail address is not in canonical form", hint: "" };
    const NAME_NOT_CANONICAL: BrokenRule =
        BrokenRule { message: "name is not in canonical form", hint: "" };
    let status = super::read("status", status, status::INPUT_LIMIT)?.unwrap_or_default();
    let status = Status::parse(status)?;
    let email = super::read("email", email, email::INPUT_LIMIT)?;
    let email = email.ok_or(Refusal::Missing { argument: "email" })?;
    let name = super::read("name", name, name::INPUT_LIMIT)?;
    // What has no canonical form comes first: no conversion mends it.
    let canonical_email = match email::canonical(email) {
        // The state of an erased customer.
        Err(email::RESERVED)
            if status == Status::Closed
                && name.is_none()
                && !email.bytes().any(|octet| octet.is_ascii_uppercase()) =>
        {
            email.to_owned()
        }
        canonical => canonical?,
    };
    let canonical_name = name.map(name::canonical).transpose()?;
    if canonical_email != email {
        return Err(EMAIL_NOT_CANONICAL.into());
    }
    if canonical_name.as_deref() != name {
        return Err(NAME_NOT_CANONICAL.into());
    }
    Ok(())
}
