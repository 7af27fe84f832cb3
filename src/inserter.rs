//! Inserting round the executor, into tables that are as they were made here.

use crate::raw;
use crate::table::Table;
use pgrx::{PgTupleDesc, pg_sys};
use std::ffi::c_char;
use std::ptr;

/// What a table has been made with. Where its owner has added anything else that takes part in an INSERT,
/// PostgreSQL has to see to it.
pub struct AsMade {
    pub columns: usize,
    /// Those that may be NULL, by index.
    pub optional: &'static [usize],
    pub checks: usize,
}

/// A trigger that fires on INSERT.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TriggerAsMade {
    pub function: pg_sys::Oid,
    /// TRIGGER_TYPE_… of pg_trigger.h.
    pub r#type: u32,
}

impl AsMade {
    /// Whether the table is still so and has just these triggers.
    pub fn holds_for(&self, table: &Table, wanted: &[TriggerAsMade]) -> bool {
        // SAFETY: the table is open; triggers and constraints are as many as their counts say.
        unsafe {
            let relation = &*table.relation();
            let class = &*relation.rd_rel;
            let constr = (*relation.rd_att).constr.as_ref();
            let checks = constr.map_or(0, |constr| constr.num_check.into());
            let generates = constr.is_some_and(|constr| constr.has_generated_stored);
            let triggers = relation.trigdesc.as_ref().map_or(&[][..], |desc| {
                std::slice::from_raw_parts(desc.triggers, desc.numtriggers as usize)
            });
            let desc = PgTupleDesc::from_pg_unchecked(relation.rd_att);
            let mut on_insert = triggers
                .iter()
                .filter(|trigger| trigger.tgtype as u32 & pg_sys::TRIGGER_TYPE_INSERT != 0);
            class.relkind == pg_sys::RELKIND_RELATION as c_char
                && class.relnatts as usize == self.columns
                && self
                    .optional
                    .iter()
                    .all(|index| desc.get(*index).is_some_and(|column| !column.attnotnull))
                && !class.relhasrules
                && !class.relrowsecurity
                && !class.relispartition
                && checks == self.checks
                && !generates
                && on_insert.clone().count() == wanted.len()
                && on_insert.all(|trigger| {
                    trigger.tgenabled == pg_sys::TRIGGER_FIRES_ON_ORIGIN as c_char
                        && trigger.tgqual.is_null()
                        && wanted.iter().any(|wanted| {
                            trigger.tgfoid == wanted.function
                                && trigger.tgtype as u32 == wanted.r#type
                        })
                })
        }
    }
}

/// Whether triggers fire in this session, and the transaction may write.
pub fn may_insert() -> bool {
    // SAFETY: plain reads.
    unsafe {
        pg_sys::SessionReplicationRole == pg_sys::SESSION_REPLICATION_ROLE_ORIGIN as i32
            && !pg_sys::XactReadOnly
            && !raw::IsInParallelMode()
    }
}

/// Inserts rows and their index entries. Defaults, CHECKs and triggers are the caller's business.
pub struct Inserter {
    table: Table,
    estate: *mut pg_sys::EState,
    result: *mut pg_sys::ResultRelInfo,
    slot: *mut pg_sys::TupleTableSlot,
    /// Emptied after each row.
    context: pg_sys::MemoryContext,
}

impl Inserter {
    /// For a table that [is as made](AsMade).
    pub fn new(table: Table) -> Self {
        // SAFETY: all of it is made for this table and lives until close(), or until PostgreSQL cleans
        // up after an error.
        unsafe {
            let relation = table.relation();
            let (estate, result, slot, econtext) = raw::guarded(|| {
                let estate = raw::CreateExecutorState();
                let result: *mut pg_sys::ResultRelInfo =
                    raw::palloc0(size_of::<pg_sys::ResultRelInfo>()).cast();
                (*result).type_ = pg_sys::NodeTag::T_ResultRelInfo;
                (*result).ri_RelationDesc = relation;
                raw::ExecOpenIndices(result, false);
                let slot =
                    raw::MakeSingleTupleTableSlot((*relation).rd_att, &pg_sys::TTSOpsVirtual);
                (estate, result, slot, raw::MakePerTupleExprContext(estate))
            });
            Self { table, estate, result, slot, context: (*econtext).ecxt_per_tuple_memory }
        }
    }

    /// Inserts the row that `fill` makes; what it allocates for that is freed afterwards.
    pub fn insert(&mut self, fill: impl FnOnce(&mut NewRow)) {
        // SAFETY: the slot is this table's and empty, and is empty again before the context is.
        unsafe {
            let caller = pg_sys::MemoryContextSwitchTo(self.context);
            let count = (*(*self.slot).tts_tupleDescriptor).natts as usize;
            let mut row = NewRow {
                values: std::slice::from_raw_parts_mut((*self.slot).tts_values, count),
                nulls: std::slice::from_raw_parts_mut((*self.slot).tts_isnull, count),
            };
            row.nulls.fill(true);
            fill(&mut row);
            let clear = (*(*self.slot).tts_ops).clear.expect("every slot can be cleared");
            raw::guarded(|| {
                raw::ExecStoreVirtualTuple(self.slot);
                raw::simple_table_tuple_insert(self.table.relation(), self.slot);
                raw::ExecInsertIndexTuples(
                    self.result,
                    self.slot,
                    self.estate,
                    false,
                    false,
                    ptr::null_mut(),
                    ptr::null_mut(),
                    #[cfg(not(feature = "pg15"))]
                    false,
                );
                clear(self.slot);
                raw::MemoryContextReset(self.context);
            });
            pg_sys::MemoryContextSwitchTo(caller);
        }
    }

    pub fn close(self) {
        // SAFETY: made in new(), in the reverse order.
        unsafe {
            raw::guarded(|| {
                raw::ExecDropSingleTupleTableSlot(self.slot);
                close_indexes(self.result);
                raw::FreeExecutorState(self.estate);
            });
        }
        self.table.close();
    }
}

/// Does what ExecCloseIndices does, but keeps the locks to the end of the transaction, as that of the table is
/// kept: letting all go at once takes a third of the work.
///
/// # Safety
/// Inside a guard; ExecOpenIndices has opened them.
unsafe fn close_indexes(result: *mut pg_sys::ResultRelInfo) {
    // SAFETY: promised by the caller.
    unsafe {
        for i in 0..(*result).ri_NumIndices as usize {
            let index = *(*result).ri_IndexRelationDescs.add(i);
            #[cfg(not(any(feature = "pg15", feature = "pg16")))]
            raw::index_insert_cleanup(index, *(*result).ri_IndexRelationInfo.add(i));
            raw::index_close(index, pg_sys::NoLock as pg_sys::LOCKMODE);
        }
    }
}

/// A row in the making: NULL where nothing is set.
pub struct NewRow<'slot> {
    values: &'slot mut [pg_sys::Datum],
    nulls: &'slot mut [bool],
}

impl NewRow<'_> {
    pub fn set(&mut self, column: i32, value: Option<pg_sys::Datum>) {
        let i = column as usize - 1;
        self.nulls[i] = value.is_none();
        self.values[i] = value.unwrap_or(pg_sys::Datum::null());
    }
}
