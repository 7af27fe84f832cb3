//! Statements: planned once in each backend, kept, run with parameters.

use super::jsonb::Jsonb;
use super::relation::has_types;
use super::text::Text;
use crate::refusal::Refusal;
use pgrx::pg_sys::BuiltinOid;
use pgrx::{FromDatum, PgTupleDesc, Spi, Uuid, pg_sys};
use std::ffi::{CStr, CString};
use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// The text of a statement, put together from literals.
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

/// A parameter's value, or NULL.
pub type Param = Option<pg_sys::Datum>;

/// A statement whose plan this backend keeps. PostgreSQL plans it anew when what it names has changed,
/// so the plan outlives DROP and CREATE EXTENSION.
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

    /// One plan for all parameters, where PostgreSQL would take the trouble to plan for each.
    pub const fn with_one_plan(mut self) -> Self {
        self.options = pg_sys::CURSOR_OPT_GENERIC_PLAN;
        self
    }

    /// Runs in a command of its own, which sees what has been committed by now, and passes each row that it
    /// returns to `each`. Wants a connection that is open: see [`connected`].
    pub fn run(&self, params: &[Param], each: impl FnMut(&Row)) {
        self.execute(params, false, ptr::null_mut());
        Self::pass_rows(each);
    }

    /// The same for a statement that only reads: with the active snapshot, and without a transaction id.
    pub fn read(&self, params: &[Param], each: impl FnMut(&Row)) {
        self.execute(params, true, ptr::null_mut());
        Self::pass_rows(each);
    }

    /// The first column of the one row that it returns; None for NULL or no row. In a connection of its own.
    pub fn value<T: for<'row> ColumnType<'row> + 'static>(&self, params: &[Param]) -> Option<T> {
        let mut value = None;
        connected(|_| self.run(params, |row| value = row.get(1)));
        value
    }

    /// The same for a statement that only reads.
    pub fn read_value<T: for<'row> ColumnType<'row> + 'static>(
        &self,
        params: &[Param],
    ) -> Option<T> {
        let mut value = None;
        connected(|_| self.read(params, |row| value = row.get(1)));
        value
    }

    /// Runs a SELECT in a command of its own, and passes its rows to `each` while it goes on: no more than a few
    /// are in memory at a time.
    pub fn stream(&self, params: &[Param], mut each: impl FnMut(&Row)) {
        const ROWS: i64 = 50;
        let mut values: Vec<_> =
            params.iter().map(|param| param.unwrap_or(pg_sys::Datum::null())).collect();
        let nulls: Vec<_> =
            params.iter().map(|param| if param.is_some() { b' ' } else { b'n' } as i8).collect();
        assert_eq!(params.len(), self.types.len(), "parameters of {:?}", self.sql);
        // SAFETY: the plan was made for exactly these types. A cursor without a name gets one of its own; it is
        // closed here, or with the transaction.
        unsafe {
            let cursor = pg_sys::SPI_cursor_open(
                ptr::null(),
                self.plan(),
                values.as_mut_ptr(),
                nulls.as_ptr(),
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
        // SAFETY: after a statement that returned rows, SPI_tuptable is theirs until SPI_finish; the
        // first `numvals` entries are set.
        unsafe {
            let Some(table) = pg_sys::SPI_tuptable.as_ref() else { return };
            for i in 0..table.numvals as usize {
                each(&Row { tuple: *table.vals.add(i), desc: table.tupdesc, rows: PhantomData });
            }
        }
    }

    /// Runs with rows going to `dest`, and says how many there were.
    pub fn execute(
        &self,
        params: &[Param],
        read_only: bool,
        dest: *mut pg_sys::DestReceiver,
    ) -> u64 {
        assert_eq!(params.len(), self.types.len(), "parameters of {:?}", self.sql);
        // SAFETY: the plan was made for exactly these types. The count of rows is 0, "all": a limit on a
        // statement that writes would skip its AFTER STATEMENT triggers.
        unsafe {
            let options = pg_sys::SPIExecuteOptions {
                params: param_list(params, self.types),
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
        // SAFETY: the text and the types are valid; a plan that is kept lives as long as the backend.
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
}

/// Parameters as SPI takes them: NULL where there are none, which Citus does not expect to be an empty list.
///
/// # Safety
/// The values are of these types.
unsafe fn param_list(params: &[Param], types: &[BuiltinOid]) -> pg_sys::ParamListInfo {
    if params.is_empty() {
        return ptr::null_mut();
    }
    // SAFETY: makeParamList allocates room for that many entries behind its header.
    unsafe {
        let list = pg_sys::makeParamList(params.len() as i32);
        let entries = (*list).params.as_mut_slice(params.len());
        for ((entry, param), oid) in entries.iter_mut().zip(params).zip(types) {
            entry.value = param.unwrap_or(pg_sys::Datum::null());
            entry.isnull = param.is_none();
            entry.pflags = pg_sys::PARAM_FLAG_CONST as u16;
            entry.ptype = oid.value();
        }
        list
    }
}

/// Opens a connection to SPI for the span of `work`, which is told the memory context it came from:
/// what is to outlive the connection is copied there.
pub fn connected<T>(work: impl FnOnce(pg_sys::MemoryContext) -> T) -> T {
    // SAFETY: a variable of this backend that is always set.
    let caller = unsafe { pg_sys::CurrentMemoryContext };
    Spi::connect(|_| work(caller))
}

/// Runs commands that no plan is kept for.
pub fn run_script(commands: &str) {
    let commands = CString::new(commands).expect("our own texts hold no NUL");
    connected(|_| {
        // SAFETY: PostgreSQL copies what it keeps of the text.
        let code = unsafe { pg_sys::SPI_execute(commands.as_ptr(), false, 0) };
        assert!(code > 0, "SPI_execute returned {code}");
    });
}

/// What a column can be read as.
pub trait ColumnType<'row>: Sized {
    const TYPE: BuiltinOid;
    /// # Safety
    /// The datum is of this type, not NULL, and lives as long as the row.
    unsafe fn from_column(datum: pg_sys::Datum) -> Self;
}

macro_rules! column_types {
    ($($type:ty = $oid:ident),+) => {$(
        impl ColumnType<'_> for $type {
            const TYPE: BuiltinOid = BuiltinOid::$oid;
            unsafe fn from_column(datum: pg_sys::Datum) -> Self {
                // SAFETY: promised by the caller.
                unsafe { <$type>::from_datum(datum, false) }.expect("not NULL")
            }
        }
    )+};
}
column_types!(bool = BOOLOID, i32 = INT4OID, i64 = INT8OID, Uuid = UUIDOID, pg_sys::Oid = OIDOID);

impl<'row> ColumnType<'row> for Text<'row> {
    const TYPE: BuiltinOid = BuiltinOid::TEXTOID;
    unsafe fn from_column(datum: pg_sys::Datum) -> Self {
        // SAFETY: promised by the caller.
        unsafe { Self::new(datum) }
    }
}

impl<'row> ColumnType<'row> for Jsonb<'row> {
    const TYPE: BuiltinOid = BuiltinOid::JSONBOID;
    unsafe fn from_column(datum: pg_sys::Datum) -> Self {
        // SAFETY: promised by the caller.
        unsafe { Self::new(datum) }
    }
}

/// One row that a statement returned.
pub struct Row<'rows> {
    tuple: pg_sys::HeapTuple,
    desc: pg_sys::TupleDesc,
    rows: PhantomData<&'rows ()>,
}

impl<'rows> Row<'rows> {
    /// The value in column `ordinal`, counted from 1; None for NULL. Refuses a column whose owner has given it
    /// another type than it was made with.
    pub fn get<T: ColumnType<'rows>>(&self, ordinal: i32) -> Option<T> {
        let mut is_null = false;
        // SAFETY: tuple and descriptor belong together and outlive this; SPI_getbinval checks the ordinal. The
        // column is of the type that T says.
        unsafe {
            let desc = PgTupleDesc::from_pg_unchecked(self.desc);
            let column = desc.get(ordinal as usize - 1);
            if column.is_none_or(|column| column.atttypid != T::TYPE.value()) {
                Refusal::OtherColumn.raise();
            }
            let datum = pg_sys::SPI_getbinval(self.tuple, self.desc, ordinal, &mut is_null);
            (!is_null).then(|| T::from_column(datum))
        }
    }

    /// The values of all columns, faster than one by one. Refuses where they are not of these types.
    pub fn values<const N: usize>(&self, types: [BuiltinOid; N]) -> [Param; N] {
        let mut values = [pg_sys::Datum::null(); N];
        let mut nulls = [true; N];
        // SAFETY: tuple and descriptor belong together, and there is room for as many values as it says.
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
        std::array::from_fn(|i| (!nulls[i]).then_some(values[i]))
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
    use pgrx::IntoDatum;
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
        // SAFETY: no value is of another type than it should be.
        unsafe {
            assert!(param_list(&[], &[]).is_null());
            assert_eq!((*param_list(&[None], &[BuiltinOid::BOOLOID])).numParams, 1);
        }
    }

    #[pg_test]
    fn a_statement_without_rows_gives_none() {
        static EMPTY: Statement = Statement::new(c"SELECT 1 WHERE $1", &[BuiltinOid::BOOLOID]);
        connected(|_| EMPTY.run(&[false.into_datum()], |_| panic!("there is no row")));
    }
}
