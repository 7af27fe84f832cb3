//! The tables that the functions work with: names, columns, types, nullability.
//!
//! `sql/attach/tables.sql` creates them; a test compares the two.

use crate::postgres::catalog_cache::CatalogCache;
use crate::postgres::relation::{Column, DefaultValue, NamedRelation, has_defaults};
use pgrx::pg_sys::BuiltinOid::{
    BOOLOID, INT4OID, INT8OID, JSONBOID, TEXTOID, TIMESTAMPTZOID, UUIDOID,
};
use pgrx::pg_sys::{self, Oid};

pub static CUSTOMERS: NamedRelation = NamedRelation::new(c"customers", c"customers");
pub static EVENTS: NamedRelation = NamedRelation::new(c"customers", c"events");
/// The sequence that positions are drawn from.
pub static POSITION_SEQUENCE: NamedRelation =
    NamedRelation::new(c"customers", c"events_position_seq");
/// The sequence whose value is the last event that was there, with all before it, when a reader last got events.
pub static READ_SEQUENCE: NamedRelation = NamedRelation::new(c"customers", c"feed_read_seq");

/// In the order of `customers.profile`. An adopted table may have them in another order, among other columns.
pub const CUSTOMER_COLUMNS: [Column; 7] = [
    Column::required(c"customer_id", UUIDOID),
    Column::required(c"email", TEXTOID),
    Column::optional(c"name", TEXTOID),
    Column::required(c"status", TEXTOID),
    Column::required(c"registered_at", TIMESTAMPTZOID),
    Column::required(c"updated_at", TIMESTAMPTZOID),
    Column::required(c"version", INT8OID),
];

pub const EVENT_COLUMNS: [Column; 11] = [
    Column::required(c"position", INT8OID),
    Column::required(c"event_id", UUIDOID),
    Column::required(c"type", TEXTOID),
    Column::required(c"customer_id", UUIDOID),
    Column::required(c"version", INT8OID),
    Column::required(c"occurred_at", TIMESTAMPTZOID),
    Column::required(c"changes", JSONBOID),
    Column::required(c"recorded_by", TEXTOID),
    Column::optional(c"actor", TEXTOID),
    Column::optional(c"reason", TEXTOID),
    Column::optional(c"announce", BOOLOID),
];

const CONSUMER_COLUMNS: [Column; 3] = [
    Column::required(c"consumer", TEXTOID),
    Column::required(c"position", INT8OID),
    Column::optional(c"acknowledged_at", TIMESTAMPTZOID),
];

pub const ERASURE_COLUMNS: [Column; 4] = [
    Column::required(c"customer_id", UUIDOID),
    Column::required(c"erased_at", TIMESTAMPTZOID),
    Column::required(c"erased_by", TEXTOID),
    Column::optional(c"reason", TEXTOID),
];

const EPOCH_COLUMNS: [Column; 6] = [
    Column::required(c"epoch", INT4OID),
    Column::required(c"first_position", INT8OID),
    Column::required(c"previous_end", INT8OID),
    Column::required(c"began_at", TIMESTAMPTZOID),
    Column::required(c"pruned_to", INT8OID),
    Column::required(c"history", TEXTOID),
];

/// Every table and its columns.
pub const TABLES: [(&str, &[Column]); 5] = [
    ("customers", &CUSTOMER_COLUMNS),
    ("events", &EVENT_COLUMNS),
    ("consumers", &CONSUMER_COLUMNS),
    ("erasures", &ERASURE_COLUMNS),
    ("feed_epochs", &EPOCH_COLUMNS),
];

/// The SQL condition that is true for a row of customers.customers which breaks a rule, but for its version, a column
/// that an adopted table need not have.
macro_rules! broken_customer {
    () => {
        "customers.broken_rule(email, name, status) IS NOT NULL OR customer_id IS NULL \
         OR registered_at IS NULL OR registered_at > clock_timestamp() \
         OR registered_at < '1900-01-01 00:00:00+00' OR updated_at IS NULL"
    };
}
pub(crate) use broken_customer;

/// Whether a table of customers has the defaults that it was created with.
pub fn has_original_defaults(table: Oid) -> bool {
    const OURS: [(&str, DefaultValue); 3] = [
        (
            "customer_id",
            DefaultValue::Call { function: pg_sys::F_GEN_RANDOM_UUID, returns: UUIDOID },
        ),
        ("status", DefaultValue::Text("ACTIVE")),
        ("registered_at", DefaultValue::Call { function: pg_sys::F_NOW, returns: TIMESTAMPTZOID }),
    ];
    thread_local! {
        static KNOWN: CatalogCache<Oid, bool> = const { CatalogCache::new() };
    }
    let look_up = || has_defaults(table, &OURS);
    KNOWN.with(|known| known.get(table, look_up))
}

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use super::*;
    use pgrx::prelude::*;

    #[pg_test]
    fn the_tables_are_created_as_this_list_says() {
        Spi::run("CREATE EXTENSION IF NOT EXISTS customer_db").unwrap();
        for (table, columns) in TABLES {
            let created = Spi::get_one::<Vec<String>>(&format!(
                "SELECT array_agg(attname || ' ' || format_type(atttypid, atttypmod)
                                  || CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END ORDER BY attnum)
                   FROM pg_attribute
                  WHERE attrelid = 'customers.{table}'::regclass AND attnum > 0 AND NOT attisdropped"
            ));
            let listed: Vec<String> = columns
                .iter()
                .map(|column| {
                    let null = if column.nullable { "" } else { " NOT NULL" };
                    format!("{} {}{null}", column.name.to_string_lossy(), column.type_name())
                })
                .collect();
            assert_eq!(created.unwrap().unwrap(), listed, "customers.{table}");
        }
    }
}
