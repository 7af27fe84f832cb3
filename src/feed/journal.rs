//! Writing to customers.events.

use crate::errors::Refusal;
use crate::inserter::{AsMade, Inserter, may_insert};
use crate::memo::Memo;
use crate::statement::{Param, Statement, connected};
use crate::table::{ColumnSpec, Name, Table, as_owner, relation_oid};
use pgrx::pg_sys;
use pgrx::pg_sys::BuiltinOid::{
    self, BOOLOID, INT8OID, JSONBOID, TEXTOID, TIMESTAMPTZOID, UUIDOID,
};

/// What is set of an event, in the order of the table.
const COLUMNS: [ColumnSpec; 11] = [
    ColumnSpec::new(c"position", INT8OID),
    ColumnSpec::new(c"event_id", UUIDOID),
    ColumnSpec::new(c"type", TEXTOID),
    ColumnSpec::new(c"customer_id", UUIDOID),
    ColumnSpec::new(c"version", INT8OID),
    ColumnSpec::new(c"occurred_at", TIMESTAMPTZOID),
    ColumnSpec::new(c"changes", JSONBOID),
    ColumnSpec::new(c"recorded_by", TEXTOID),
    ColumnSpec::new(c"actor", TEXTOID),
    ColumnSpec::new(c"reason", TEXTOID),
    ColumnSpec::new(c"announce", BOOLOID),
];

/// Actor, reason and announce may be NULL.
const AS_MADE: AsMade = AsMade { columns: COLUMNS.len(), optional: &[8, 9, 10], checks: 0 };

const TYPES: [BuiltinOid; COLUMNS.len()] = {
    let mut types = [INT8OID; COLUMNS.len()];
    let mut i = 0;
    while i < types.len() {
        types[i] = COLUMNS[i].r#type;
        i += 1;
    }
    types
};

/// One statement's entries.
pub enum Journal {
    /// The table as it was made here.
    Direct(Inserter, [i32; COLUMNS.len()]),
    /// Its owner has added columns, triggers or policies: PostgreSQL sees to them.
    BySql,
}

impl Journal {
    pub fn open() -> Self {
        thread_local! {
            static NUMBERS: Memo<pg_sys::Oid, Option<[i32; COLUMNS.len()]>> =
                const { Memo::new() };
        }
        let events = Table::open(Name::Events, pg_sys::RowExclusiveLock);
        let find_out = || AS_MADE.holds_for(&events, &[]).then(|| events.columns(COLUMNS));
        match NUMBERS.with(|numbers| numbers.get(events.oid(), find_out)) {
            Some(numbers) if may_insert() => Self::Direct(Inserter::new(events), numbers),
            _ => {
                events.close();
                Self::BySql
            }
        }
    }

    /// Enters an event: the values of COLUMNS, made in memory that is freed afterwards.
    pub fn enter(&mut self, values: impl FnOnce() -> [Param; COLUMNS.len()]) {
        static INSERT: Statement = Statement::new(
            c"INSERT INTO customers.events (position, event_id, type, customer_id, version, occurred_at,
                                            changes, recorded_by, actor, reason, announce)
              OVERRIDING SYSTEM VALUE
              VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
              RETURNING true",
            &TYPES,
        );
        match self {
            Self::Direct(inserter, numbers) => inserter.insert(|row| {
                for (number, value) in numbers.iter().zip(values()) {
                    row.set(*number, value);
                }
            }),
            // Who may write customers need not be allowed to write the feed.
            Self::BySql => as_owner(relation_oid(Name::Events), || {
                let mut recorded = false;
                connected(|_| INSERT.run(&values(), |_| recorded = true));
                if !recorded {
                    Refusal::NotRecorded.raise();
                }
            }),
        }
    }

    pub fn close(self) {
        if let Self::Direct(inserter, _) = self {
            inserter.close();
        }
    }
}
