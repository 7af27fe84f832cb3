//! The results of set-returning functions: rows go straight into the result, as PL/pgSQL's RETURN QUERY
//! sends them.

use super::relation::has_types;
use super::statement::{Param, Statement, connected};
use crate::refusal::Refusal;
use pgrx::callconv::{Arg, ArgAbi, BoxRet, FcInfo};
use pgrx::datum::Datum;
use pgrx::{PgTupleDesc, impl_sql_translatable, pg_sys};
use std::marker::PhantomData;

/// The call's place for its result, as an argument that SQL does not see. A function fills it and returns it.
pub struct ResultSet<'call> {
    call: pg_sys::FunctionCallInfo,
    lives: PhantomData<&'call ()>,
}

impl_sql_translatable!(ResultSet<'_>, "record");

// SAFETY: takes no argument of the call.
unsafe impl<'fcx> ArgAbi<'fcx> for ResultSet<'fcx> {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: the call itself, which every virtual argument can have.
        Self { call: unsafe { arg.unbox_unchecked() }, lives: PhantomData }
    }

    fn is_virtual_arg() -> bool {
        true
    }
}

// SAFETY: a materialized set is returned beside the datum, which is NULL.
unsafe impl BoxRet for ResultSet<'_> {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> Datum<'fcx> {
        fcinfo.return_null()
    }
}

impl ResultSet<'_> {
    /// Refuses a caller that cannot take a set.
    fn materialize(&self) -> *mut pg_sys::ReturnSetInfo {
        // SAFETY: this is the call at hand.
        unsafe {
            pg_sys::InitMaterializedSRF(self.call, pg_sys::MAT_SRF_USE_EXPECTED_DESC);
            (*self.call).resultinfo.cast()
        }
    }

    /// The rows that a statement returns, and how many: one that only reads, with the active snapshot. The
    /// receiver refuses rows that are not as the function declares them.
    pub fn fill(self, statement: &Statement, params: &[Param]) -> (Self, u64) {
        let result = self.materialize();
        // SAFETY: the receiver lives in the connection's memory, what it stores in the query's.
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

    /// Rows made here, of columns of these types.
    pub fn fill_with<const N: usize>(
        self,
        types: [pg_sys::BuiltinOid; N],
        rows: impl Iterator<Item = [Param; N]>,
    ) -> Self {
        let result = self.materialize();
        // SAFETY: the result is materialized, and its rows are of these types.
        unsafe {
            if !has_types(&PgTupleDesc::from_pg_unchecked((*result).setDesc), types.into_iter()) {
                Refusal::OtherType.raise();
            }
            for row in rows {
                let mut nulls = row.map(|value| value.is_none());
                let mut values = row.map(|value| value.unwrap_or(pg_sys::Datum::null()));
                pg_sys::tuplestore_putvalues(
                    (*result).setResult,
                    (*result).setDesc,
                    values.as_mut_ptr(),
                    nulls.as_mut_ptr(),
                );
            }
        }
        self
    }
}
