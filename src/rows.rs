//! The results of set-returning functions: rows go straight into the result, as PL/pgSQL's RETURN QUERY
//! sends them.

use crate::customer::{self, describes_customers};
use crate::errors::{Refusal, without_values};
use crate::queries::BY_ID;
use crate::statement::{Param, Statement, connected};
use pgrx::callconv::{BoxRet, FcInfo};
use pgrx::datum::Datum;
use pgrx::{IntoDatum, PgTupleDesc, Uuid, impl_sql_translatable, pg_sys};

pub enum Rows {
    None,
    /// Those that a reading statement returns, with the caller's snapshot.
    Of(&'static Statement, Vec<Param>),
    /// Those that it returns with a new snapshot.
    Latest(&'static Statement, Vec<Param>),
    /// The customer with this id, by the shortest way.
    Customer(Uuid),
    /// Rows made here: as many values each as the function declares columns.
    AtHand(Vec<Vec<Param>>),
}

impl_sql_translatable!(Rows, "record");

// SAFETY: InitMaterializedSRF raises where the caller cannot take a set, and describes the rows as the
// function declares them; a statement's rows are checked against that by the receiver.
unsafe impl BoxRet for Rows {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> Datum<'fcx> {
        unsafe {
            let call = fcinfo.as_mut_ptr();
            pg_sys::InitMaterializedSRF(call, pg_sys::MAT_SRF_USE_EXPECTED_DESC);
            let result = (*call).resultinfo.cast::<pg_sys::ReturnSetInfo>();
            match self {
                Self::None => {}
                Self::Of(statement, params) => stream(statement, &params, true, result),
                Self::Latest(statement, params) => stream(statement, &params, false, result),
                Self::Customer(customer_id) => {
                    if !describes_customers(&PgTupleDesc::from_pg_unchecked((*result).setDesc)) {
                        Refusal::OtherType.raise();
                    }
                    if !customer::find(customer_id, |row| put(result, row.values())) {
                        stream(&BY_ID, &[customer_id.into_datum()], true, result);
                    }
                }
                Self::AtHand(rows) => rows.into_iter().for_each(|row| put(result, row)),
            }
            fcinfo.return_null()
        }
    }
}

/// # Safety
/// The result is a materialized one.
unsafe fn stream(
    statement: &Statement,
    params: &[Param],
    callers_snapshot: bool,
    result: *mut pg_sys::ReturnSetInfo,
) {
    // SAFETY: the receiver lives in the connection's memory, what it stores in the query's.
    connected(|_| unsafe {
        let dest = pg_sys::CreateTuplestoreDestReceiver();
        pg_sys::SetTuplestoreDestReceiverParams(
            dest,
            (*result).setResult,
            (*(*result).econtext).ecxt_per_query_memory,
            false,
            (*result).setDesc,
            c"the statement returns other columns than its function".as_ptr(),
        );
        without_values(|| statement.execute(params, callers_snapshot, dest));
    })
}

/// # Safety
/// The result has as many columns, of these types.
unsafe fn put(result: *mut pg_sys::ReturnSetInfo, row: impl AsRef<[Param]>) {
    let row = row.as_ref();
    let mut nulls: Vec<bool> = row.iter().map(Option::is_none).collect();
    let mut values: Vec<pg_sys::Datum> =
        row.iter().map(|value| value.unwrap_or(pg_sys::Datum::null())).collect();
    // SAFETY: promised by the caller.
    unsafe {
        pg_sys::tuplestore_putvalues(
            (*result).setResult,
            (*result).setDesc,
            values.as_mut_ptr(),
            nulls.as_mut_ptr(),
        );
    }
}
