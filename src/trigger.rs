//! A trigger call as PostgreSQL hands it over, and the customer's row in it.
//!
//! pgrx's own wrapper forms the row anew for each column that is set; a trigger on every row of a bulk
//! load has no time for that.

use pgrx::callconv::{BoxRet, FcInfo};
use pgrx::datum::Datum;
use pgrx::prelude::*;
use pgrx::{FromDatum, IntoDatum, impl_sql_translatable, pg_sys};
use std::ffi::CStr;

/// One firing of a trigger.
#[derive(Clone, Copy)]
pub struct Trigger<'call>(&'call pg_sys::TriggerData);

impl<'call> Trigger<'call> {
    /// # Safety
    /// `fcinfo` is the call at hand.
    pub unsafe fn from_call(fcinfo: pg_sys::FunctionCallInfo) -> Self {
        // SAFETY: `context` is null or a node; this is CALLED_AS_TRIGGER of trigger.h.
        unsafe {
            let context = (*fcinfo).context;
            if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_TriggerData {
                ereport!(
                    ERROR,
                    PgSqlErrorCode::ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
                    "trigger functions can only be called as triggers"
                );
            }
            Self(&*context.cast::<pg_sys::TriggerData>())
        }
    }

    pub fn data(&self) -> &'call pg_sys::TriggerData {
        self.0
    }

    pub fn table(&self) -> &'call CStr {
        // SAFETY: the relation is open while its trigger runs, and its name ends in NUL.
        unsafe { CStr::from_ptr((*(*self.0.tg_relation).rd_rel).relname.data.as_ptr()) }
    }

    pub fn is_update(&self) -> bool {
        self.0.tg_event & pg_sys::TRIGGER_EVENT_OPMASK == pg_sys::TRIGGER_EVENT_UPDATE
    }

    /// The row that an UPDATE replaces.
    pub fn old_row(&self) -> CustomerRow<'call> {
        CustomerRow::new(self.0, self.0.tg_trigtuple)
    }

    /// The row that is about to be written.
    pub fn new_row(&self) -> CustomerRow<'call> {
        let tuple = if self.is_update() { self.0.tg_newtuple } else { self.0.tg_trigtuple };
        CustomerRow::new(self.0, tuple)
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

/// A column that the rules look at. A table that was adopted may have them in another order, among
/// columns of its owner's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Column {
    CustomerId,
    Email,
    Name,
    Status,
    RegisteredAt,
    UpdatedAt,
    Version,
}

impl Column {
    const ALL: [Self; 7] = [
        Self::CustomerId,
        Self::Email,
        Self::Name,
        Self::Status,
        Self::RegisteredAt,
        Self::UpdatedAt,
        Self::Version,
    ];

    fn c_name(self) -> &'static CStr {
        match self {
            Self::CustomerId => c"customer_id",
            Self::Email => c"email",
            Self::Name => c"name",
            Self::Status => c"status",
            Self::RegisteredAt => c"registered_at",
            Self::UpdatedAt => c"updated_at",
            Self::Version => c"version",
        }
    }

    pub fn name(self) -> &'static str {
        self.c_name().to_str().expect("the names are ASCII")
    }
}

/// A row of customers.customers with the values of the columns that matter here.
pub struct CustomerRow<'call> {
    data: &'call pg_sys::TriggerData,
    tuple: pg_sys::HeapTuple,
    numbers: [i32; 7],
    values: [Option<pg_sys::Datum>; 7],
    written: [bool; 7],
}

impl<'call> CustomerRow<'call> {
    fn new(data: &'call pg_sys::TriggerData, tuple: pg_sys::HeapTuple) -> Self {
        let numbers = Column::ALL.map(|column| {
            // SAFETY: the relation is open while its trigger runs.
            let number = unsafe { pg_sys::SPI_fnumber(Self::desc(data), column.c_name().as_ptr()) };
            assert!(number > 0, "{} has no column {}", "customers.customers", column.name());
            number
        });
        let values = numbers.map(|number| {
            let mut is_null = false;
            // SAFETY: the tuple is a row of that relation, and the number one of its columns'.
            let value =
                unsafe { pg_sys::SPI_getbinval(tuple, Self::desc(data), number, &mut is_null) };
            (!is_null).then_some(value)
        });
        Self { data, tuple, numbers, values, written: [false; 7] }
    }

    fn desc(data: &pg_sys::TriggerData) -> pg_sys::TupleDesc {
        // SAFETY: the relation is open while its trigger runs.
        unsafe { (*data.tg_relation).rd_att }
    }

    pub fn is_null(&self, column: Column) -> bool {
        self.values[column as usize].is_none()
    }

    pub fn text(&self, column: Column) -> Option<&'call str> {
        // SAFETY: the caller names a column of type text; what detoasting allocates lives as long as
        // the row, in the context of the call.
        self.values[column as usize]
            .and_then(|value| unsafe { FromDatum::from_datum(value, false) })
    }

    /// A bigint, or a timestamptz in microseconds since 2000.
    pub fn integer(&self, column: Column) -> Option<i64> {
        self.values[column as usize].map(|value| value.value() as i64)
    }

    pub fn uuid(&self, column: Column) -> Option<pgrx::Uuid> {
        // SAFETY: the caller names a column of type uuid.
        self.values[column as usize]
            .and_then(|value| unsafe { FromDatum::from_datum(value, false) })
    }

    pub fn set_text(&mut self, column: Column, text: &str) {
        if self.text(column) != Some(text) {
            self.set(column, text.into_datum());
        }
    }

    pub fn set_integer(&mut self, column: Column, value: i64) {
        if self.integer(column) != Some(value) {
            self.set(column, value.into_datum());
        }
    }

    fn set(&mut self, column: Column, value: Option<pg_sys::Datum>) {
        self.values[column as usize] = value;
        self.written[column as usize] = true;
    }

    /// The row as it now is: the one that came when nothing was set.
    pub fn into_fired(self) -> Fired {
        let mut numbers = Vec::with_capacity(7);
        let mut values = Vec::with_capacity(7);
        for column in Column::ALL.into_iter().filter(|column| self.written[*column as usize]) {
            numbers.push(self.numbers[column as usize]);
            values.push(self.values[column as usize].unwrap_or(pg_sys::Datum::null()));
        }
        if numbers.is_empty() {
            return Fired(self.tuple);
        }
        let mut nulls = vec![false; numbers.len()];
        // SAFETY: the tuple is a row of the relation; numbers, values and nulls are of one length, and
        // only values that are not NULL are ever set.
        Fired(unsafe {
            pg_sys::heap_modify_tuple_by_cols(
                self.tuple,
                Self::desc(self.data),
                numbers.len() as i32,
                numbers.as_mut_ptr(),
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
            )
        })
    }
}
