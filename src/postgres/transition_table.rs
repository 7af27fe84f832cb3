//! The rows that a statement wrote, as an AFTER STATEMENT trigger reads them.

use super::relation::column_type;
use super::trigger::values_of;
use super::typed_datum::TypedDatum;
use pgrx::pg_sys;
use std::marker::PhantomData;

/// The rows of a statement in the order in which it wrote them, so that the n-th old row became the n-th new row; or
/// sorted.
pub struct TransitionTable<'call> {
    rows: Rows,
    table: pg_sys::Relation,
    slot: *mut pg_sys::TupleTableSlot,
    call: PhantomData<&'call ()>,
}

enum Rows {
    AsWritten { store: *mut pg_sys::Tuplestorestate, pointer: i32 },
    Sorted(*mut pg_sys::Tuplesortstate),
}

impl TransitionTable<'_> {
    /// None if `store` is null: the trigger names no such table.
    ///
    /// # Safety
    /// `store` holds rows of `table`, and both live as long as the result.
    pub(super) unsafe fn open(
        store: *mut pg_sys::Tuplestorestate,
        table: pg_sys::Relation,
    ) -> Option<Self> {
        if store.is_null() {
            return None;
        }
        // SAFETY: the caller guarantees that the tuplestore lives. Other triggers read it too, so this uses a
        // read pointer of its own; a new pointer starts where the active one is, hence the rescan.
        unsafe {
            let pointer =
                pg_sys::tuplestore_alloc_read_pointer(store, pg_sys::EXEC_FLAG_REWIND as i32);
            pg_sys::tuplestore_select_read_pointer(store, pointer);
            pg_sys::tuplestore_rescan(store);
            let slot =
                pg_sys::MakeSingleTupleTableSlot((*table).rd_att, &pg_sys::TTSOpsMinimalTuple);
            Some(Self { rows: Rows::AsWritten { store, pointer }, table, slot, call: PhantomData })
        }
    }

    /// The number of rows; to be asked before the table is sorted.
    pub fn len(&self) -> i64 {
        match self.rows {
            // SAFETY: the tuplestore lives as long as `self`.
            Rows::AsWritten { store, .. } => unsafe { pg_sys::tuplestore_tuple_count(store) },
            Rows::Sorted(_) => unreachable!("a sorted table is not counted"),
        }
    }

    /// The rows in the order of the column with this number, if it alone is the primary key; otherwise as written, since
    /// equal values would come in any order. Sorts within work_mem, and beyond it in temporary files.
    pub fn sorted_by_key(mut self, number: i32) -> Self {
        if !self.is_key(number) {
            return self;
        }
        // SAFETY: the rows are those of the open table, which has a column with this number; the operator is its
        // type's "less than". The sort keeps a copy of each row, and the descriptor lives as long as the table.
        unsafe {
            let desc = (*self.table).rd_att;
            let column = column_type(desc, number as usize - 1);
            let operator =
                (*pg_sys::lookup_type_cache(column, pg_sys::TYPECACHE_LT_OPR as i32)).lt_opr;
            let sort = pg_sys::tuplesort_begin_heap(
                desc,
                1,
                &mut (number as pg_sys::AttrNumber),
                &mut operator.clone(),
                &mut pg_sys::InvalidOid.clone(),
                &mut false.clone(),
                pg_sys::work_mem,
                std::ptr::null_mut(),
                pg_sys::TUPLESORT_NONE as i32,
            );
            while self.advance() {
                pg_sys::tuplesort_puttupleslot(sort, self.slot);
            }
            pg_sys::tuplesort_performsort(sort);
            self.rows = Rows::Sorted(sort);
        }
        self
    }

    fn is_key(&self, number: i32) -> bool {
        // SAFETY: the table is open. The columns of the bitmap are counted from the first system column.
        unsafe {
            let key = pg_sys::RelationGetIndexAttrBitmap(
                self.table,
                pg_sys::IndexAttrBitmapKind::INDEX_ATTR_BITMAP_PRIMARY_KEY,
            );
            let mut member = 0;
            pg_sys::bms_get_singleton_member(key, &mut member)
                && member + pg_sys::FirstLowInvalidHeapAttributeNumber == number
        }
    }

    /// The next row; it replaces the previous one in the slot.
    pub fn next<const N: usize>(&mut self, numbers: &[i32; N]) -> Option<[TypedDatum<'_>; N]> {
        // SAFETY: the slot holds a row of the table whose columns have these numbers.
        self.advance().then(|| unsafe { values_of(self.slot, numbers) })
    }

    /// Puts the next row into the slot; false if there is none.
    fn advance(&mut self) -> bool {
        // SAFETY: the rows live as long as `self`, and the slot has their descriptor.
        unsafe {
            match self.rows {
                Rows::AsWritten { store, pointer } => {
                    pg_sys::tuplestore_select_read_pointer(store, pointer);
                    pg_sys::tuplestore_gettupleslot(store, true, false, self.slot)
                }
                Rows::Sorted(sort) => pg_sys::tuplesort_gettupleslot(
                    sort,
                    true,
                    false,
                    self.slot,
                    std::ptr::null_mut(),
                ),
            }
        }
    }
}

impl Drop for TransitionTable<'_> {
    fn drop(&mut self) {
        // After an error, PostgreSQL frees slot and sort with their memory contexts, and temporary files with the
        // transaction.
        if !std::thread::panicking() {
            // SAFETY: values of the slot borrow `self`, so none is in use any more.
            unsafe {
                pg_sys::ExecDropSingleTupleTableSlot(self.slot);
                if let Rows::Sorted(sort) = self.rows {
                    pg_sys::tuplesort_end(sort);
                }
            }
        }
    }
}
