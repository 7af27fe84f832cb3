//! A trigger call.
//!
//! pgrx's own wrapper forms the whole row again for each column that is set, which is too slow for a
//! trigger on every row of a bulk load.

use super::ffi;
use super::relation::{self, Column, column_type};
use super::transition_table::TransitionTable;
use super::typed_datum::TypedDatum;
use crate::refusal::Refusal;
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

/// The timings that a trigger function accepts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TriggerTiming {
    BeforeRow,
    BeforeStatement,
    AfterStatement,
}

/// One firing of a trigger.
pub struct Trigger<'call> {
    data: &'call pg_sys::TriggerData,
    /// The memory context of the FmgrInfo, which lives as long as the statement.
    context: pg_sys::MemoryContext,
}

impl Trigger<'_> {
    /// Refuses a call that is not from a trigger with one of these timings: only a row trigger has slots.
    ///
    /// # Safety
    /// `fcinfo` is the frame of the current call.
    pub unsafe fn from_call(fcinfo: pg_sys::FunctionCallInfo, timings: &[TriggerTiming]) -> Self {
        // SAFETY: the caller passes the current frame. Its `context` is null or a node, whose tag is
        // compared as CALLED_AS_TRIGGER of trigger.h does; `flinfo` is set for every call through fmgr.
        unsafe {
            let context = (*fcinfo).context;
            if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_TriggerData {
                Refusal::OnlyAsTrigger.raise();
            }
            let trigger = Self {
                data: &*context.cast::<pg_sys::TriggerData>(),
                context: (*(*fcinfo).flinfo).fn_mcxt,
            };
            if !trigger.timing().is_some_and(|timing| timings.contains(&timing)) {
                Refusal::OnlyAsTrigger.raise();
            }
            trigger
        }
    }

    fn timing(&self) -> Option<TriggerTiming> {
        let for_row = self.data.tg_event & pg_sys::TRIGGER_EVENT_ROW != 0;
        match (self.data.tg_event & pg_sys::TRIGGER_EVENT_TIMINGMASK, for_row) {
            (pg_sys::TRIGGER_EVENT_BEFORE, true) => Some(TriggerTiming::BeforeRow),
            (pg_sys::TRIGGER_EVENT_BEFORE, false) => Some(TriggerTiming::BeforeStatement),
            (pg_sys::TRIGGER_EVENT_AFTER, false) => Some(TriggerTiming::AfterStatement),
            _ => None,
        }
    }

    pub fn table_oid(&self) -> pg_sys::Oid {
        // SAFETY: tg_relation is open while its trigger runs.
        unsafe { (*self.data.tg_relation).rd_id }
    }

    pub fn table_name(&self) -> &CStr {
        // SAFETY: tg_relation is open while its trigger runs; relname is a NameData, which ends in NUL.
        unsafe { CStr::from_ptr((*(*self.data.tg_relation).rd_rel).relname.data.as_ptr()) }
    }

    /// Whether a statement on another table can fire this trigger, or write this table without firing it.
    pub fn table_inherits(&self) -> bool {
        // SAFETY: tg_relation is open while its trigger runs.
        unsafe { relation::inherits(self.data.tg_relation) }
    }

    pub fn column_numbers<const N: usize>(&self, columns: &[Column; N]) -> [i32; N] {
        // SAFETY: tg_relation is open while its trigger runs.
        unsafe { relation::column_numbers(self.data.tg_relation, columns) }
    }

    pub fn operation(&self) -> Operation {
        match self.data.tg_event & pg_sys::TRIGGER_EVENT_OPMASK {
            pg_sys::TRIGGER_EVENT_INSERT => Operation::Insert,
            pg_sys::TRIGGER_EVENT_UPDATE => Operation::Update,
            pg_sys::TRIGGER_EVENT_DELETE => Operation::Delete,
            _ => Operation::Truncate,
        }
    }

    fn is_update(&self) -> bool {
        self.operation() == Operation::Update
    }

    /// The old row of an UPDATE or DELETE. Only for a row trigger.
    pub fn old_values<const N: usize>(&self, numbers: &[i32; N]) -> [TypedDatum<'_>; N] {
        // SAFETY: in a row trigger, the slot holds a row of tg_relation.
        unsafe { values_of(self.data.tg_trigslot, numbers) }
    }

    /// The row that is about to be written. Only for a row trigger on INSERT or UPDATE.
    pub fn new_values<const N: usize>(&self, numbers: &[i32; N]) -> [TypedDatum<'_>; N] {
        let slot = if self.is_update() { self.data.tg_newslot } else { self.data.tg_trigslot };
        // SAFETY: in a row trigger, the slot holds a row of tg_relation.
        unsafe { values_of(slot, numbers) }
    }

    /// The command of this transaction that wrote the row which an UPDATE replaces; None if an earlier
    /// transaction wrote it.
    pub fn written_by(&self) -> Option<pg_sys::CommandId> {
        // SAFETY: the tuple of a row trigger has a header, whose xmin is read as by HeapTupleHeaderGetXmin
        // of htup_details.h. HeapTupleHeaderGetCmin requires a row written by this transaction, which is
        // checked first.
        unsafe {
            let header = (*self.data.tg_trigtuple).t_data;
            let is_frozen = u32::from((*header).t_infomask) & pg_sys::HEAP_XMIN_FROZEN
                == pg_sys::HEAP_XMIN_FROZEN;
            let xmin = (*header).t_choice.t_heap.t_xmin;
            (!is_frozen && ffi::TransactionIdIsCurrentTransactionId(xmin))
                .then(|| pg_sys::HeapTupleHeaderGetCmin(header))
        }
    }

    /// Calls `end` with `argument` when the statement has ended, successfully or not.
    pub fn at_end_of_statement(
        &self,
        end: unsafe extern "C-unwind" fn(*mut std::ffi::c_void),
        argument: usize,
    ) {
        // SAFETY: the callback is allocated in the context that it is registered for, so it lives until it
        // is called.
        unsafe {
            let size = size_of::<pg_sys::MemoryContextCallback>();
            let callback = pg_sys::MemoryContextAlloc(self.context, size)
                .cast::<pg_sys::MemoryContextCallback>();
            callback.write(pg_sys::MemoryContextCallback {
                func: Some(end),
                arg: argument as *mut _,
                next: std::ptr::null_mut(),
            });
            pg_sys::MemoryContextRegisterResetCallback(self.context, callback);
        }
    }

    /// The row as the trigger received it.
    pub fn unchanged(&self) -> TriggerResult {
        TriggerResult(if self.is_update() { self.data.tg_newtuple } else { self.data.tg_trigtuple })
    }

    /// The row with other values in the columns with these numbers.
    pub fn changed<'new>(
        &self,
        new: impl Iterator<Item = (i32, TypedDatum<'new>)>,
    ) -> TriggerResult {
        // SAFETY: tg_relation is open while its trigger runs; its descriptor has columns with these numbers.
        let desc = unsafe { (*self.data.tg_relation).rd_att };
        let (mut numbers, mut values, mut nulls) = (Vec::new(), Vec::new(), Vec::new());
        for (number, value) in new {
            // SAFETY: as above.
            let value = value.of_type(unsafe { column_type(desc, number as usize - 1) });
            numbers.push(number);
            values.push(value.unwrap_or(pg_sys::Datum::null()));
            nulls.push(value.is_none());
        }
        if numbers.is_empty() {
            return self.unchanged();
        }
        let TriggerResult(came) = self.unchanged();
        // SAFETY: the tuple is a row of tg_relation; numbers, values and nulls have the same length, and the values
        // the columns' types.
        TriggerResult(unsafe {
            pg_sys::heap_modify_tuple_by_cols(
                came,
                desc,
                numbers.len() as i32,
                numbers.as_mut_ptr(),
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
            )
        })
    }

    /// The value of a column's default; None if it has none or it is NULL. Follows rewriteTargetListIU of
    /// rewriteHandler.c and ExecEvalExpr of executor.h.
    pub fn default_value(&self, number: i32) -> TypedDatum<'_> {
        // SAFETY: tg_relation is open while its trigger runs, and `number` is that of one of its columns.
        // The expression is evaluated in the current memory context, so the value outlives the expression
        // context.
        unsafe {
            let r#type = column_type((*self.data.tg_relation).rd_att, number as usize - 1);
            let expression = pg_sys::build_column_default(self.data.tg_relation, number);
            if expression.is_null() {
                return TypedDatum::new(None, r#type);
            }
            let expression = pg_sys::expression_planner(expression.cast());
            let state = pg_sys::ExecInitExpr(expression, std::ptr::null_mut());
            let context = pg_sys::CreateStandaloneExprContext();
            let mut is_null = true;
            let evaluate = (*state).evalfunc.expect("every expression can be evaluated");
            let value = ffi::with_error_boundary(|| evaluate(state, context, &mut is_null));
            pg_sys::FreeExprContext(context, true);
            TypedDatum::new((!is_null).then_some(value), r#type)
        }
    }

    /// The rows that the statement replaced, in their old version; None if the trigger has no old
    /// transition table.
    pub fn old_rows(&self) -> Option<TransitionTable<'_>> {
        // SAFETY: both live as long as the trigger runs, and the rows are those of the table.
        unsafe { TransitionTable::open(self.data.tg_oldtable, self.data.tg_relation) }
    }

    /// The rows that the statement wrote; None if the trigger has no new transition table.
    pub fn new_rows(&self) -> Option<TransitionTable<'_>> {
        // SAFETY: as above.
        unsafe { TransitionTable::open(self.data.tg_newtable, self.data.tg_relation) }
    }
}

/// The values of columns, in the order of their numbers.
///
/// # Safety
/// `slot` holds, for `'row`, a row of the table whose columns have these numbers.
pub(super) unsafe fn values_of<'row, const N: usize>(
    slot: *mut pg_sys::TupleTableSlot,
    numbers: &[i32; N],
) -> [TypedDatum<'row>; N] {
    // SAFETY: the caller guarantees that `slot` holds a row with these columns, whose types its descriptor says; all
    // attributes are deformed first, as by slot_getallattrs of tuptable.h.
    unsafe {
        let desc = (*slot).tts_tupleDescriptor;
        if i32::from((*slot).tts_nvalid) < (*desc).natts {
            pg_sys::slot_getsomeattrs_int(slot, (*desc).natts);
        }
        numbers.map(|number| {
            let i = number as usize - 1;
            let value = (!*(*slot).tts_isnull.add(i)).then(|| *(*slot).tts_values.add(i));
            TypedDatum::new(value, column_type(desc, i))
        })
    }
}

/// A trigger's return value: the row to write, or null.
pub struct TriggerResult(pg_sys::HeapTuple);

impl_sql_translatable!(TriggerResult, "trigger");

impl TriggerResult {
    /// From an AFTER STATEMENT trigger, whose return value PostgreSQL ignores.
    pub fn none() -> Self {
        Self(std::ptr::null_mut())
    }

    /// From a BEFORE ROW trigger: the row is skipped.
    pub fn skip_row() -> Self {
        Self(std::ptr::null_mut())
    }
}

// SAFETY: PostgreSQL expects a HeapTuple pointer as the datum, with isnull false.
unsafe impl BoxRet for TriggerResult {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> Datum<'fcx> {
        // SAFETY: as above.
        unsafe { fcinfo.return_raw_datum(self.0.into()) }
    }
}
