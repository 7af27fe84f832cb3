//! The results of set-returning functions: rows are written straight into the call's tuplestore, as RETURN
//! QUERY of PL/pgSQL does.

use super::relation::has_types;
use super::statement::{Statement, connected};
use super::typed_datum::TypedDatum;
use crate::refusal::Refusal;
use pgrx::callconv::{Arg, ArgAbi, BoxRet, FcInfo};
use pgrx::datum::Datum;
use pgrx::{PgTupleDesc, impl_sql_translatable, pg_sys};
use std::marker::PhantomData;

/// The call's tuplestore, passed as an argument that SQL does not see. A function fills it and returns it.
pub struct ResultSet<'call> {
    call: pg_sys::FunctionCallInfo,
    lives: PhantomData<&'call ()>,
}

impl_sql_translatable!(ResultSet<'_>, "record");

// SAFETY: a virtual argument, so no argument of the SQL call is consumed; `call` is the call frame, valid
// for 'fcx.
unsafe impl<'fcx> ArgAbi<'fcx> for ResultSet<'fcx> {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: the call itself, which every virtual argument can have.
        Self { call: unsafe { arg.unbox_unchecked() }, lives: PhantomData }
    }

    fn is_virtual_arg() -> bool {
        true
    }
}

// SAFETY: a set-returning function in materialize mode returns its rows through ReturnSetInfo, and a NULL datum.
unsafe impl BoxRet for ResultSet<'_> {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> Datum<'fcx> {
        fcinfo.return_null()
    }
}

impl ResultSet<'_> {
    /// Creates the tuplestore; refuses a caller that cannot take a set.
    fn materialize(&self) -> *mut pg_sys::ReturnSetInfo {
        // SAFETY: `call` is the frame of the current call, whose resultinfo InitMaterializedSRF has
        // verified to be a ReturnSetInfo.
        unsafe {
            pg_sys::InitMaterializedSRF(self.call, pg_sys::MAT_SRF_USE_EXPECTED_DESC);
            (*self.call).resultinfo.cast()
        }
    }

    /// Fills the set with the rows of a read-only statement, run with the active snapshot, and returns
    /// their number. Raises if they do not have the columns that the function declares.
    pub fn fill(self, statement: &Statement, params: &[TypedDatum]) -> (Self, u64) {
        let result = self.materialize();
        // SAFETY: setResult and setDesc were set by materialize(). The receiver is used only within this
        // SPI connection, and stores rows in the query's memory context, which outlives it.
        let count = connected(|_| unsafe {
            let dest = pg_sys::CreateTuplestoreDestReceiver();
            pg_sys::SetTuplestoreDestReceiverParams(
                dest,
                (*result).setResult,
                (*(*result).econtext).ecxt_per_query_memory,
                false,
                (*result).setDesc,
                c"the statement returns other columns than its function".as_ptr(),
            );
            statement.execute(params, true, dest)
        });
        (self, count)
    }

    /// Fills the set with rows built in Rust, whose columns have these types.
    pub fn fill_with<const N: usize>(
        self,
        types: [pg_sys::BuiltinOid; N],
        rows: impl Iterator<Item = [TypedDatum<'static>; N]>,
    ) -> Self {
        let mut writer = self.writer(types);
        rows.for_each(|row| writer.put(row));
        self
    }

    /// For rows built in Rust, whose columns have these types.
    pub fn writer<const N: usize>(&self, types: [pg_sys::BuiltinOid; N]) -> RowWriter<'_, N> {
        let result = self.materialize();
        // SAFETY: setDesc was set by materialize().
        unsafe {
            if !has_types(&PgTupleDesc::from_pg_unchecked((*result).setDesc), types.into_iter()) {
                Refusal::OtherType.raise();
            }
        }
        RowWriter { result, types, lives: PhantomData }
    }
}

/// Adds rows of N columns to a result set.
pub struct RowWriter<'set, const N: usize> {
    result: *mut pg_sys::ReturnSetInfo,
    types: [pg_sys::BuiltinOid; N],
    lives: PhantomData<&'set ()>,
}

impl<const N: usize> RowWriter<'_, N> {
    /// Adds a row, whose values are copied.
    pub fn put(&mut self, row: [TypedDatum; N]) {
        let mut nulls = row.map(TypedDatum::is_null);
        let mut values = std::array::from_fn::<_, N, _>(|i| {
            row[i].of_type(self.types[i].value()).unwrap_or(pg_sys::Datum::null())
        });
        // SAFETY: setResult and setDesc were set by materialize(); the descriptor has exactly N columns of `types`,
        // which the values were compared with, so the row has as many values as tuplestore_putvalues reads.
        unsafe {
            pg_sys::tuplestore_putvalues(
                (*self.result).setResult,
                (*self.result).setDesc,
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
            );
        }
    }
}
