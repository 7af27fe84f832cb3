//! Writes rows of customers.events.

use crate::customer::schema::{EVENT_COLUMNS, EVENTS};
use crate::postgres::catalog_cache::CatalogCache;
use crate::postgres::heap_insert::{FastPathShape, HeapInsert};
use crate::postgres::statement::{Statement, connected};
use crate::postgres::transaction::may_insert;
use crate::postgres::typed_datum::TypedDatum;
use crate::refusal::Refusal;
use pgrx::pg_sys;
use pgrx::pg_sys::BuiltinOid;

const COUNT: usize = EVENT_COLUMNS.len();

const SHAPE: FastPathShape<COUNT> = FastPathShape { columns: &EVENT_COLUMNS, checks: 0 };

const TYPES: [BuiltinOid; COUNT] = {
    let mut types = [BuiltinOid::INT8OID; COUNT];
    let mut i = 0;
    while i < COUNT {
        types[i] = EVENT_COLUMNS[i].r#type;
        i += 1;
    }
    types
};

/// Appends the events of one statement.
pub enum EventWriter {
    /// Bypasses the executor, where the table has the shape that it was created with.
    FastPath(HeapInsert, [i32; COUNT]),
    /// Runs an INSERT, where the table has other columns, triggers or policies.
    ByStatement,
}

impl EventWriter {
    pub fn open() -> Self {
        thread_local! {
            static NUMBERS: CatalogCache<pg_sys::Oid, Option<[i32; COUNT]>> =
                const { CatalogCache::new() };
        }
        let events = EVENTS.open(pg_sys::RowExclusiveLock);
        EVENTS.refuse_inheritance();
        let numbers = NUMBERS.with(|known| known.get(events.oid(), || SHAPE.matches(&events, &[])));
        match numbers {
            Some(numbers) if may_insert() => Self::FastPath(HeapInsert::begin(events), numbers),
            _ => Self::ByStatement,
        }
    }

    /// Appends an event, whose values `values` returns in the order of [`EVENT_COLUMNS`], allocated in
    /// memory that is freed afterwards.
    pub fn append<'event>(&mut self, values: impl FnOnce() -> [TypedDatum<'event>; COUNT]) {
        static INSERT: Statement = Statement::new(
            c"INSERT INTO customers.events (position, event_id, type, customer_id, version, occurred_at,
                                            changes, recorded_by, actor, reason, announce)
              OVERRIDING SYSTEM VALUE
              VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
              RETURNING true",
            &TYPES,
        );
        match self {
            Self::FastPath(insert, numbers) => insert.insert(numbers, values),
            Self::ByStatement => {
                let mut recorded = false;
                connected(|_| INSERT.run(&values(), |_| recorded = true));
                if !recorded {
                    Refusal::NotRecorded.raise();
                }
            }
        }
    }

    pub fn close(self) {
        if let Self::FastPath(insert, _) = self {
            insert.close();
        }
    }
}
