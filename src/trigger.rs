//! A trigger call as PostgreSQL hands it over.
//!
//! pgrx's own wrapper forms the row anew for each column that is set; a trigger on every row of a bulk
//! load has no time for that.

use crate::customer::{COLUMNS, CustomerRow, Layout};
use crate::errors::Refusal;
use crate::table::{Name, relation_oid};
use pgrx::callconv::{BoxRet, FcInfo};
use pgrx::datum::Datum;
use pgrx::{impl_sql_translatable, pg_sys};
use std::ffi::CStr;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Insert,
    Update,
    Delete,
    Truncate,
}

/// One firing of a trigger.
pub struct Trigger<'call>(&'call pg_sys::TriggerData);

/// How a trigger function of ours may be fired.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Firing {
    BeforeRow,
    BeforeStatement,
    AfterStatement,
}

impl Trigger<'_> {
    /// Refuses a call that is no such firing: the slots of a row trigger are not there in another.
    ///
    /// # Safety
    /// `fcinfo` is the call at hand.
    pub unsafe fn from_call(fcinfo: pg_sys::FunctionCallInfo, firing: Firing) -> Self {
        // SAFETY: `context` is null or a node; this is CALLED_AS_TRIGGER of trigger.h.
        unsafe {
            let context = (*fcinfo).context;
            if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_TriggerData {
                Refusal::OnlyAsTrigger.raise();
            }
            let trigger = Self(&*context.cast::<pg_sys::TriggerData>());
            if trigger.firing() != Some(firing) {
                Refusal::OnlyAsTrigger.raise();
            }
            trigger
        }
    }

    fn firing(&self) -> Option<Firing> {
        let for_row = self.0.tg_event & pg_sys::TRIGGER_EVENT_ROW != 0;
        match (self.0.tg_event & pg_sys::TRIGGER_EVENT_TIMINGMASK, for_row) {
            (pg_sys::TRIGGER_EVENT_BEFORE, true) => Some(Firing::BeforeRow),
            (pg_sys::TRIGGER_EVENT_BEFORE, false) => Some(Firing::BeforeStatement),
            (pg_sys::TRIGGER_EVENT_AFTER, false) => Some(Firing::AfterStatement),
            _ => None,
        }
    }

    /// The OID of the function at work.
    ///
    /// # Safety
    /// `fcinfo` is the call at hand.
    pub unsafe fn function(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Oid {
        // SAFETY: a call through the function manager, as triggers make it, has its look-up at hand.
        unsafe { (*(*fcinfo).flinfo).fn_oid }
    }

    /// Refuses to record what happens in another table: whoever may call the function could attach it to one
    /// of his own, and have the feed tell what never was.
    pub fn expect_customers(&self) {
        // SAFETY: the table is open while its trigger runs.
        if unsafe { (*self.0.tg_relation).rd_id } != relation_oid(Name::Customers) {
            Refusal::OnlyAsTrigger.raise();
        }
    }

    pub fn table_name(&self) -> &CStr {
        // SAFETY: the table is open while its trigger runs, and its name ends in NUL.
        unsafe { CStr::from_ptr((*(*self.0.tg_relation).rd_rel).relname.data.as_ptr()) }
    }

    pub fn operation(&self) -> Operation {
        match self.0.tg_event & pg_sys::TRIGGER_EVENT_OPMASK {
            pg_sys::TRIGGER_EVENT_INSERT => Operation::Insert,
            pg_sys::TRIGGER_EVENT_UPDATE => Operation::Update,
            pg_sys::TRIGGER_EVENT_DELETE => Operation::Delete,
            _ => Operation::Truncate,
        }
    }

    fn is_update(&self) -> bool {
        self.operation() == Operation::Update
    }

    pub fn layout(&self) -> Layout {
        // SAFETY: the table is open while its trigger runs.
        unsafe { Layout::of(self.0.tg_relation) }
    }

    /// The row that an UPDATE replaces.
    pub fn old_row(&self, layout: &Layout) -> CustomerRow {
        // SAFETY: the slots of a row trigger hold rows of its table.
        unsafe { CustomerRow::from_slot(self.0.tg_trigslot, layout) }
    }

    /// The row that is about to be written.
    pub fn new_row(&self, layout: &Layout) -> CustomerRow {
        let slot = if self.is_update() { self.0.tg_newslot } else { self.0.tg_trigslot };
        // SAFETY: the slots of a row trigger hold rows of its table.
        unsafe { CustomerRow::from_slot(slot, layout) }
    }

    /// Answers with the row as it now is: the very one that came, where nothing was set.
    pub fn write(&self, row: &CustomerRow, layout: &Layout) -> Fired {
        let came = if self.is_update() { self.0.tg_newtuple } else { self.0.tg_trigtuple };
        let written = || COLUMNS.into_iter().filter(|column| row.is_written(*column));
        let mut numbers: Vec<i32> = written().map(|column| layout.number(column)).collect();
        if numbers.is_empty() {
            return Fired(came);
        }
        let mut values: Vec<pg_sys::Datum> =
            written().filter_map(|column| row.value(column)).collect();
        let mut nulls = vec![false; numbers.len()];
        assert_eq!(values.len(), numbers.len(), "only values are ever set, never NULL");
        // SAFETY: the tuple is a row of the table; numbers, values and nulls are of one length.
        Fired(unsafe {
            pg_sys::heap_modify_tuple_by_cols(
                came,
                (*self.0.tg_relation).rd_att,
                numbers.len() as i32,
                numbers.as_mut_ptr(),
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
            )
        })
    }

    /// The rows that the statement replaced; none for an INSERT.
    pub fn old_rows(&self) -> Option<TransitionTable> {
        TransitionTable::open(self.0.tg_oldtable, self.0.tg_relation)
    }

    /// The rows that the statement wrote.
    pub fn new_rows(&self) -> Option<TransitionTable> {
        TransitionTable::open(self.0.tg_newtable, self.0.tg_relation)
    }
}

/// The rows of a statement, in the order in which it wrote them: the n-th old row became the n-th new.
pub struct TransitionTable {
    store: *mut pg_sys::Tuplestorestate,
    pointer: i32,
    slot: *mut pg_sys::TupleTableSlot,
}

impl TransitionTable {
    fn open(store: *mut pg_sys::Tuplestorestate, table: pg_sys::Relation) -> Option<Self> {
        if store.is_null() {
            return None;
        }
        // SAFETY: the store lives as long as the statement. Other triggers read it too, hence a read
        // pointer of our own, and the rewind, for a new one stands where the last reader stopped.
        unsafe {
            let pointer =
                pg_sys::tuplestore_alloc_read_pointer(store, pg_sys::EXEC_FLAG_REWIND as i32);
            pg_sys::tuplestore_select_read_pointer(store, pointer);
            pg_sys::tuplestore_rescan(store);
            let slot =
                pg_sys::MakeSingleTupleTableSlot((*table).rd_att, &pg_sys::TTSOpsMinimalTuple);
            Some(Self { store, pointer, slot })
        }
    }

    /// The next row; valid until the next call.
    pub fn next(&mut self, layout: &Layout) -> Option<CustomerRow> {
        // SAFETY: store and slot are of one table, whose layout the caller gives.
        unsafe {
            pg_sys::tuplestore_select_read_pointer(self.store, self.pointer);
            pg_sys::tuplestore_gettupleslot(self.store, true, false, self.slot)
                .then(|| CustomerRow::from_slot(self.slot, layout))
        }
    }

    pub fn close(self) {
        // SAFETY: nothing read from the slot is used any more.
        unsafe { pg_sys::ExecDropSingleTupleTableSlot(self.slot) }
    }
}

/// What a trigger answers: the row to write, or nothing after a statement.
pub struct Fired(pg_sys::HeapTuple);

impl_sql_translatable!(Fired, "trigger");

impl Fired {
    pub fn after_statement() -> Self {
        Self(std::ptr::null_mut())
    }
}

// SAFETY: trigger functions return a HeapTuple and never set isnull.
unsafe impl BoxRet for Fired {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> Datum<'fcx> {
        unsafe { fcinfo.return_raw_datum(self.0.into()) }
    }
}
