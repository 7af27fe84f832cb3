//! SQL statements that are prepared once in each backend, kept, and run with parameters.

use super::relation::has_types;
use super::transaction::with_latest_snapshot;
use super::typed_datum::{SqlType, TypedDatum};
use crate::refusal::Refusal;
use pgrx::pg_sys::BuiltinOid;
use pgrx::{PgTupleDesc, Spi, pg_sys};
use std::ffi::{CStr, CString};
use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// A statement's text, concatenated from literals.
macro_rules! sql {
    ($($part:expr),+ $(,)?) => {
        const {
            match ::std::ffi::CStr::from_bytes_with_nul(concat!($($part),+, "\0").as_bytes()) {
                Ok(sql) => sql,
                Err(_) => panic!("a NUL inside a statement"),
            }
        }
    };
}
pub(crate) use sql;

/// A statement that this backend prepares once. PostgreSQL replans it when an object that it names has
/// changed, so it outlives DROP and CREATE EXTENSION.
pub struct Statement {
    sql: &'static CStr,
    types: &'static [BuiltinOid],
    options: u32,
    plan: AtomicPtr<pg_sys::_SPI_plan>,
}

impl Statement {
    pub const fn new(sql: &'static CStr, types: &'static [BuiltinOid]) -> Self {
        Self { sql, types, options: 0, plan: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Always uses the generic plan, instead of planning for the values of each call.
    pub const fn with_one_plan(mut self) -> Self {
        self.options = pg_sys::CURSOR_OPT_GENERIC_PLAN;
        self
    }

    /// Runs the statement as a command of its own, which sees everything committed before it, and calls
    /// `each` for every row returned. Requires an open connection: see [`connected`].
    pub fn run(&self, params: &[TypedDatum], each: impl FnMut(&Row)) {
        self.execute(params, false, ptr::null_mut());
        Self::pass_rows(each);
    }

    /// The same for a read-only statement: with the active snapshot, and without assigning a transaction id.
    pub fn read(&self, params: &[TypedDatum], each: impl FnMut(&Row)) {
        self.execute(params, true, ptr::null_mut());
        Self::pass_rows(each);
    }

    /// The first column of the single row; None for NULL or no row. Opens its own connection.
    pub fn value<T: for<'row> SqlType<'row> + 'static>(&self, params: &[TypedDatum]) -> Option<T> {
        let mut value = None;
        connected(|_| self.run(params, |row| value = row.get(1)));
        value
    }

    /// The same for a read-only statement.
    pub fn read_value<T: for<'row> SqlType<'row> + 'static>(
        &self,
        params: &[TypedDatum],
    ) -> Option<T> {
        let mut value = None;
        connected(|_| self.read(params, |row| value = row.get(1)));
        value
    }

    /// The same for a catalogue look-up whose answer is cached: with the latest snapshot. The active one may be older
    /// than the change that invalidated the cache.
    pub fn catalog_value<T: for<'row> SqlType<'row> + 'static>(
        &self,
        params: &[TypedDatum],
    ) -> Option<T> {
        with_latest_snapshot(|| self.read_value(params))
    }

    /// Runs a SELECT as a command of its own through a cursor, and calls `each` for every row. Holds at
    /// most ROWS rows in memory at a time.
    pub fn stream(&self, params: &[TypedDatum], mut each: impl FnMut(&Row)) {
        const ROWS: i64 = 50;
        // SAFETY: the plan was prepared for the types that param_list() has compared. The cursor's name is generated;
        // the cursor is closed here or at the end of the transaction.
        unsafe {
            let cursor = pg_sys::SPI_cursor_open_with_paramlist(
                ptr::null(),
                self.plan(),
                self.param_list(params),
                false,
            );
            loop {
                pg_sys::SPI_cursor_fetch(cursor, true, ROWS as _);
                if pg_sys::SPI_processed == 0 {
                    break;
                }
                let rows = pg_sys::SPI_tuptable;
                Self::pass_rows(&mut each);
                pg_sys::SPI_freetuptable(rows);
            }
            pg_sys::SPI_cursor_close(cursor);
        }
    }

    fn pass_rows(mut each: impl FnMut(&Row)) {
        // SAFETY: SPI_tuptable is null or the last statement's result, which lives until SPI_finish or
        // SPI_freetuptable; its first `numvals` entries are set.
        unsafe {
            let Some(table) = pg_sys::SPI_tuptable.as_ref() else { return };
            for i in 0..table.numvals as usize {
                each(&Row { tuple: *table.vals.add(i), desc: table.tupdesc, rows: PhantomData });
            }
        }
    }

    /// Runs the statement, sends its rows to `dest` (null: SPI_tuptable), and returns their number.
    pub fn execute(
        &self,
        params: &[TypedDatum],
        read_only: bool,
        dest: *mut pg_sys::DestReceiver,
    ) -> u64 {
        // SAFETY: the plan was prepared for the types that param_list() has compared. `tcount` stays 0, "all rows": a limit on a
        // writing statement would skip its AFTER STATEMENT triggers.
        unsafe {
            let options = pg_sys::SPIExecuteOptions {
                params: self.param_list(params),
                read_only,
                dest,
                ..Default::default()
            };
            let code = pg_sys::SPI_execute_plan_extended(self.plan(), &options);
            assert!(code > 0, "SPI_execute_plan_extended returned {code}");
            pg_sys::SPI_processed
        }
    }

    fn plan(&self) -> pg_sys::SPIPlanPtr {
        let kept = self.plan.load(Ordering::Relaxed);
        if !kept.is_null() {
            return kept;
        }
        let mut types: Vec<pg_sys::Oid> = self.types.iter().map(|oid| oid.value()).collect();
        // SAFETY: the text ends in NUL and `types` has the length passed. SPI_keepplan moves the plan to
        // memory that lives as long as the backend.
        unsafe {
            let plan = pg_sys::SPI_prepare_cursor(
                self.sql.as_ptr(),
                types.len() as i32,
                types.as_mut_ptr(),
                self.options as i32,
            );
            assert!(!plan.is_null(), "SPI_prepare_cursor refused {:?}", self.sql);
            let code = pg_sys::SPI_keepplan(plan);
            assert!(code == 0, "SPI_keepplan returned {code}");
            self.plan.store(plan, Ordering::Relaxed);
            plan
        }
    }

    /// Parameters as SPI takes them. NULL if there are none: Citus crashes on an empty list. Refuses values of
    /// other types than those of the plan.
    fn param_list(&self, params: &[TypedDatum]) -> pg_sys::ParamListInfo {
        assert_eq!(params.len(), self.types.len(), "parameters of {:?}", self.sql);
        if params.is_empty() {
            return ptr::null_mut();
        }
        // SAFETY: makeParamList allocates params.len() entries behind its header.
        let (list, entries) = unsafe {
            let list = pg_sys::makeParamList(params.len() as i32);
            (list, (*list).params.as_mut_slice(params.len()))
        };
        for ((entry, param), oid) in entries.iter_mut().zip(params).zip(self.types) {
            let value = param.of_type(oid.value());
            entry.value = value.unwrap_or(pg_sys::Datum::null());
            entry.isnull = value.is_none();
            entry.pflags = pg_sys::PARAM_FLAG_CONST as u16;
            entry.ptype = oid.value();
        }
        list
    }
}

/// Opens an SPI connection for the duration of `work`, which gets the caller's memory context as its
/// argument: a value that outlives the connection is copied there.
pub fn connected<T>(work: impl FnOnce(pg_sys::MemoryContext) -> T) -> T {
    // SAFETY: PostgreSQL keeps CurrentMemoryContext set to a live context in every backend.
    let caller = unsafe { pg_sys::CurrentMemoryContext };
    Spi::connect(|_| work(caller))
}

/// Runs SQL commands without keeping a plan.
pub fn run_script(commands: &str) {
    let commands = CString::new(commands).expect("our own texts hold no NUL");
    connected(|_| {
        // SAFETY: the text ends in NUL, and lives until SPI_execute returns.
        let code = unsafe { pg_sys::SPI_execute(commands.as_ptr(), false, 0) };
        assert!(code > 0, "SPI_execute returned {code}");
    });
}

/// One row that a statement has returned.
pub struct Row<'rows> {
    tuple: pg_sys::HeapTuple,
    desc: pg_sys::TupleDesc,
    rows: PhantomData<&'rows ()>,
}

impl<'rows> Row<'rows> {
    /// The value in column `ordinal`, counted from 1; None for NULL. Refuses a column whose type was changed.
    #[track_caller]
    pub fn get<T: SqlType<'rows>>(&self, ordinal: i32) -> Option<T> {
        let mut is_null = false;
        // SAFETY: tuple and descriptor are from one SPI_tuptable, which outlives 'rows. SPI_getbinval and SPI_gettypeid
        // check the ordinal.
        let value = unsafe {
            let datum = pg_sys::SPI_getbinval(self.tuple, self.desc, ordinal, &mut is_null);
            let r#type = pg_sys::SPI_gettypeid(self.desc, ordinal);
            TypedDatum::new((!is_null).then_some(datum), r#type)
        };
        value.get()
    }

    /// The values of all columns, in one pass. Refuses if the columns do not have these types.
    pub fn values<const N: usize>(&self, types: [BuiltinOid; N]) -> [TypedDatum<'rows>; N] {
        let mut values = [pg_sys::Datum::null(); N];
        let mut nulls = [true; N];
        // SAFETY: tuple and descriptor are from one SPI_tuptable; the descriptor has N columns, so both
        // arrays have room for what heap_deform_tuple writes.
        unsafe {
            if !has_types(&PgTupleDesc::from_pg_unchecked(self.desc), types.into_iter()) {
                Refusal::OtherColumn.raise();
            }
            pg_sys::heap_deform_tuple(
                self.tuple,
                self.desc,
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
            );
        }
        std::array::from_fn(|i| {
            let value = (!nulls[i]).then_some(values[i]);
            // SAFETY: the types were compared; the tuple outlives 'rows.
            unsafe { TypedDatum::new(value, types[i].value()) }
        })
    }

    pub fn tuple(&self) -> pg_sys::HeapTuple {
        self.tuple
    }

    pub fn tuple_desc(&self) -> pg_sys::TupleDesc {
        self.desc
    }
}

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use super::*;
    use pgrx::prelude::*;

    #[pg_test]
    fn a_kept_plan_follows_what_it_names() {
        static PROBE: Statement = Statement::new(c"SELECT max(n) FROM pg_temp.probe", &[]);
        let probe = || {
            let mut max = None;
            connected(|_| PROBE.run(&[], |row| max = row.get::<i32>(1)));
            max
        };
        Spi::run("CREATE TEMP TABLE probe AS SELECT 1 AS n").unwrap();
        assert_eq!(probe(), Some(1));
        Spi::run("DROP TABLE probe; CREATE TEMP TABLE probe AS SELECT 'x' AS other, 2 AS n")
            .unwrap();
        assert_eq!(probe(), Some(2));
    }

    #[pg_test]
    fn no_parameters_are_no_list_of_parameters() {
        static NONE: Statement = Statement::new(c"SELECT 1", &[]);
        static ONE: Statement = Statement::new(c"SELECT $1", &[BuiltinOid::BOOLOID]);
        assert!(NONE.param_list(&[]).is_null());
        // SAFETY: makeParamList returns a list that lives as long as the current memory context.
        assert_eq!(unsafe { (*ONE.param_list(&[true.into()])).numParams }, 1);
    }

    #[pg_test(error = "a column of the schema customers has another type than it was made with")]
    fn a_parameter_of_another_type_is_refused() {
        static ONE: Statement = Statement::new(c"SELECT $1", &[BuiltinOid::TEXTOID]);
        connected(|_| ONE.run(&[1_i64.into()], |_| {}));
    }

    #[pg_test]
    fn a_statement_without_rows_gives_none() {
        static EMPTY: Statement = Statement::new(c"SELECT 1 WHERE $1", &[BuiltinOid::BOOLOID]);
        connected(|_| EMPTY.run(&[false.into()], |_| panic!("there is no row")));
    }
}
