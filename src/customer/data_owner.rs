//! Whose rights functions work with: those of the data owner, the owner of customers.customers, or their caller's.

use super::schema::{CUSTOMERS, TABLES};
use crate::postgres::catalog_cache::CatalogCache;
use crate::postgres::error::{Protected, entry_point, protect, protecting};
use crate::postgres::relation::NamedRelation;
use crate::postgres::statement::{Row, Statement, connected};
use crate::postgres::text::Text;
use crate::postgres::transaction::{is_read_only, with_latest_snapshot};
use crate::refusal::Refusal;

/// Runs the body of a function that works on the tables with the rights of the data owner, never with those
/// of the superuser who installed the extension: a trigger, default or index expression that the data owner
/// added runs with no more rights than its author has.
pub fn as_data_owner<T>(body: impl FnOnce() -> T) -> T {
    checked(|| {}, || CUSTOMERS.as_owner(body))
}

/// The same for a function that writes: refused on a standby and in a read-only transaction, whatever there would be to
/// write.
pub fn as_writing_data_owner<T>(body: impl FnOnce() -> T) -> T {
    checked(refuse_read_only, || CUSTOMERS.as_owner(body))
}

/// Runs the body of a function that works with its caller's rights.
pub fn as_caller<T>(body: impl FnOnce() -> T) -> T {
    checked(|| {}, body)
}

/// Runs the body of a function that looks at the catalogue with the rights of the extension's owner, which it must leave
/// for those of the data owner before it reads a table.
pub fn as_extension_owner<T>(body: impl FnOnce() -> T) -> T {
    protecting(|| entry_point(body))
}

fn checked<T>(check: impl FnOnce(), body: impl FnOnce() -> T) -> T {
    let call = || {
        protect(Protected::Call, [None; 4]);
        protect(Protected::Row, [None; 4]);
        check();
        CUSTOMERS.refuse_inheritance();
        refuse_distributed();
        body()
    };
    protecting(|| entry_point(call))
}

/// Refuses where nothing may be written.
pub fn refuse_read_only() {
    if is_read_only() {
        Refusal::ReadOnly.raise();
    }
}

/// Where Citus lists the tables that it manages.
static PG_DIST_PARTITION: NamedRelation = NamedRelation::new(c"pg_catalog", c"pg_dist_partition");

/// Refuses to work where Citus manages one of the tables: a statement on a shard would pass the triggers.
pub fn refuse_distributed() {
    static DISTRIBUTED: Statement = Statement::new(
        c"SELECT relname::text
            FROM pg_catalog.pg_dist_partition
            JOIN pg_catalog.pg_class ON pg_class.oid = logicalrelid
           WHERE relnamespace = to_regnamespace('customers')",
        &[],
    );
    thread_local! {
        static KNOWN: CatalogCache<(), Option<&'static str>> = const { CatalogCache::new() };
    }
    let look_up = || {
        PG_DIST_PARTITION.find()?;
        let mut distributed = None;
        let read = |row: &Row| {
            let name = row.get::<Text>(1).map(Text::bytes);
            let mut tables = TABLES.iter().map(|(table, _)| *table);
            distributed = tables.find(|table| name == Some(table.as_bytes())).or(distributed);
        };
        with_latest_snapshot(|| connected(|_| DISTRIBUTED.read(&[], read)));
        distributed
    };
    if let Some(table) = KNOWN.with(|known| known.get_of_any((), look_up)) {
        Refusal::Distributed { table }.raise();
    }
}
