//! Inserting without the executor, whose start-up for one row costs more than the insertion: for tables
//! whose shape leaves the executor nothing else to do.

use super::ffi;
use super::relation::{Column, OpenRelation, column_type};
use super::typed_datum::TypedDatum;
use pgrx::pg_sys;
use std::ffi::c_char;
use std::ptr;

/// The shape that a table must have. A table with anything else that takes part in an INSERT requires the
/// executor.
pub struct FastPathShape<'a, const N: usize> {
    pub columns: &'a [Column; N],
    pub checks: usize,
}

/// A trigger on INSERT whose work the caller does itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct InsertTrigger {
    pub function: pg_sys::Oid,
    /// The combination of TRIGGER_TYPE_… flags of pg_trigger.h.
    pub r#type: u32,
}

impl<const N: usize> FastPathShape<'_, N> {
    /// The numbers of the columns, if the table has exactly these columns with this nullability, this
    /// number of CHECKs, exactly these triggers on INSERT, and no rule, row level security, partition or
    /// generated column.
    pub fn matches(&self, table: &OpenRelation, triggers: &[InsertTrigger]) -> Option<[i32; N]> {
        let (class, all) = table.class_and_triggers();
        let fits = table.is_plain_table()
            && class.relnatts as usize == N
            && !class.relhasrules
            && !class.relrowsecurity
            && !class.relispartition
            && table.constraints().map_or(0, |constr| constr.num_check.into()) == self.checks
            && !table.constraints().is_some_and(generates);
        let mut on_insert =
            all.iter().filter(|trigger| trigger.tgtype as u32 & pg_sys::TRIGGER_TYPE_INSERT != 0);
        let fits = fits
            && on_insert.clone().count() == triggers.len()
            && on_insert.all(|trigger| {
                trigger.tgenabled == pg_sys::TRIGGER_FIRES_ON_ORIGIN as c_char
                    && trigger.tgqual.is_null()
                    && triggers.iter().any(|expected| {
                        trigger.tgfoid == expected.function
                            && trigger.tgtype as u32 == expected.r#type
                    })
            });
        if !fits {
            return None;
        }
        let numbers = table.column_numbers(self.columns);
        let desc = table.tuple_desc();
        let nullable = |number: i32| desc.get(number as usize - 1).is_some_and(|c| !c.attnotnull);
        let as_nullable = self
            .columns
            .iter()
            .zip(numbers)
            .all(|(column, number)| column.nullable == nullable(number));
        as_nullable.then_some(numbers)
    }
}

fn generates(constr: &pg_sys::TupleConstr) -> bool {
    #[cfg(feature = "pg18")]
    if constr.has_generated_virtual {
        return true;
    }
    constr.has_generated_stored
}

/// The most rows that are inserted at a time.
const BATCH: usize = 500;

/// Inserts rows and their index entries, in batches: PostgreSQL then writes one WAL record a page instead of one a
/// row. Defaults, CHECKs and triggers are left to the caller.
pub struct HeapInsert {
    table: OpenRelation,
    estate: *mut pg_sys::EState,
    result: *mut pg_sys::ResultRelInfo,
    /// The first `filled` hold rows that are not inserted yet.
    slots: Vec<*mut pg_sys::TupleTableSlot>,
    filled: usize,
    /// The memory context that a row's values are allocated in.
    context: pg_sys::MemoryContext,
}

impl HeapInsert {
    /// Requires a table that has the [shape](FastPathShape).
    pub fn begin(table: OpenRelation) -> Self {
        // SAFETY: `table` keeps the relation open; the executor state and the indexes are created for it here
        // and live until close(), or until PostgreSQL releases them after an error.
        unsafe {
            let relation = table.as_ptr();
            let (estate, result, econtext) = ffi::with_error_boundary(|| {
                let estate = ffi::CreateExecutorState();
                let result: *mut pg_sys::ResultRelInfo =
                    ffi::palloc0(size_of::<pg_sys::ResultRelInfo>()).cast();
                (*result).type_ = pg_sys::NodeTag::T_ResultRelInfo;
                (*result).ri_RelationDesc = relation;
                ffi::ExecOpenIndices(result, false);
                (estate, result, ffi::MakePerTupleExprContext(estate))
            });
            let context = (*econtext).ecxt_per_tuple_memory;
            Self { table, estate, result, slots: Vec::new(), filled: 0, context }
        }
    }

    /// Adds a row: the columns with these numbers get the values that `values` returns, all others NULL. They are
    /// copied, and what `values` allocates from PostgreSQL is freed. The row is inserted by close() at the latest.
    pub fn insert<'row, const N: usize>(
        &mut self,
        numbers: &[i32; N],
        values: impl FnOnce() -> [TypedDatum<'row>; N],
    ) {
        if self.filled == BATCH {
            self.flush();
        }
        let slot = self.next_slot();
        // SAFETY: the slot was made for this table, whose descriptor says how many values it has room for. It
        // is empty, and copies the values before the context that holds them is reset.
        unsafe {
            let caller = pg_sys::MemoryContextSwitchTo(self.context);
            let desc = (*slot).tts_tupleDescriptor;
            let count = (*desc).natts as usize;
            let slot_values = std::slice::from_raw_parts_mut((*slot).tts_values, count);
            let slot_nulls = std::slice::from_raw_parts_mut((*slot).tts_isnull, count);
            slot_nulls.fill(true);
            for (number, value) in numbers.iter().zip(values()) {
                let i = *number as usize - 1;
                let value = value.of_type(column_type(desc, i));
                slot_nulls[i] = value.is_none();
                slot_values[i] = value.unwrap_or(pg_sys::Datum::null());
            }
            pg_sys::MemoryContextSwitchTo(caller);
            let copy = pg_sys::TTSOpsVirtual.materialize.expect("every slot can be materialized");
            ffi::with_error_boundary(|| {
                ffi::ExecStoreVirtualTuple(slot);
                copy(slot);
                ffi::MemoryContextReset(self.context);
            });
        }
        self.filled += 1;
    }

    fn next_slot(&mut self) -> *mut pg_sys::TupleTableSlot {
        if self.slots.len() == self.filled {
            // SAFETY: `table` keeps the relation and its descriptor open; the slot lives until close(), or
            // until PostgreSQL releases it after an error.
            self.slots.push(unsafe {
                let desc = (*self.table.as_ptr()).rd_att;
                ffi::with_error_boundary(|| {
                    ffi::MakeSingleTupleTableSlot(desc, &pg_sys::TTSOpsVirtual)
                })
            });
        }
        self.slots[self.filled]
    }

    /// Inserts the rows that were added. Follows CopyMultiInsertBufferFlush of copyfrom.c; a single row follows
    /// simple_heap_insert of heapam.c.
    fn flush(&mut self) {
        // SAFETY: the first `filled` slots hold rows of this table; heap_multi_insert sets each slot's tid,
        // which ExecInsertIndexTuples reads. What is copied on the way is allocated in `context`.
        unsafe {
            let caller = pg_sys::MemoryContextSwitchTo(self.context);
            let relation = self.table.as_ptr();
            let slots = &mut self.slots[..self.filled];
            let multi_insert = (*(*relation).rd_tableam).multi_insert.expect("every table has it");
            let clear = pg_sys::TTSOpsVirtual.clear.expect("every slot can be cleared");
            ffi::with_error_boundary(|| {
                if let [slot] = slots {
                    ffi::simple_table_tuple_insert(relation, *slot);
                } else {
                    multi_insert(
                        relation,
                        slots.as_mut_ptr(),
                        slots.len() as i32,
                        ffi::GetCurrentCommandId(true),
                        0,
                        ptr::null_mut(),
                    );
                }
                for slot in slots.iter() {
                    ffi::ExecInsertIndexTuples(
                        self.result,
                        *slot,
                        self.estate,
                        false,
                        false,
                        ptr::null_mut(),
                        ptr::null_mut(),
                        #[cfg(not(feature = "pg15"))]
                        false,
                    );
                    clear(*slot);
                }
                ffi::MemoryContextReset(self.context);
            });
            pg_sys::MemoryContextSwitchTo(caller);
        }
        self.filled = 0;
    }

    /// Inserts what is left.
    pub fn close(mut self) {
        if self.filled > 0 {
            self.flush();
        }
        // SAFETY: slots, indexes and executor state were created here and are released once, since close()
        // consumes `self`.
        unsafe {
            ffi::with_error_boundary(|| {
                for slot in &self.slots {
                    ffi::ExecDropSingleTupleTableSlot(*slot);
                }
                close_indexes(self.result);
                ffi::FreeExecutorState(self.estate);
            });
        }
    }
}

/// Does what ExecCloseIndices of execIndexing.c does, but keeps the index locks to the end of the
/// transaction, like the table's: releasing all locks at once takes a third of the time.
///
/// # Safety
/// To be called inside an error boundary, after ExecOpenIndices.
unsafe fn close_indexes(result: *mut pg_sys::ResultRelInfo) {
    // SAFETY: the caller has opened the indexes with ExecOpenIndices, which fills both arrays with
    // ri_NumIndices entries.
    unsafe {
        for i in 0..(*result).ri_NumIndices as usize {
            let index = *(*result).ri_IndexRelationDescs.add(i);
            #[cfg(not(any(feature = "pg15", feature = "pg16")))]
            ffi::index_insert_cleanup(index, *(*result).ri_IndexRelationInfo.add(i));
            ffi::index_close(index, pg_sys::NoLock as pg_sys::LOCKMODE);
        }
    }
}
