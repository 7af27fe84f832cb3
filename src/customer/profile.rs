//! The row type `customers.profile`: a customer as functions return it.

use super::row::CustomerRow;
use super::schema::CUSTOMER_COLUMNS;
use crate::postgres::catalog_cache::CatalogCache;
use crate::postgres::error::OrRaise;
use crate::postgres::relation::has_types;
use crate::postgres::statement::Row;
use crate::refusal::Refusal;
use pgrx::callconv::{BoxRet, FcInfo};
use pgrx::datum::Datum;
use pgrx::{PgTupleDesc, impl_sql_translatable, pg_sys};

/// The columns of `customers.profile`, in its order, for a SELECT or RETURNING list.
macro_rules! profile_columns {
    () => {
        "customer_id, email, name, status, registered_at, updated_at, version"
    };
}
pub(crate) use profile_columns;

/// A composite datum. Rust has no use for its fields, so it travels as PostgreSQL formed it.
pub struct Profile(pg_sys::Datum);

impl_sql_translatable!(Profile, "profile");

impl Profile {
    /// From a row of [`profile_columns`], copied into `context`.
    pub fn from_row(row: &Row, context: pg_sys::MemoryContext) -> Self {
        // SAFETY: the description of a type that exists.
        let r#type = unsafe { (*type_desc()).tdtypeid };
        // SAFETY: the descriptor lives as long as the row.
        if !describes_customers(&unsafe { PgTupleDesc::from_pg_unchecked(row.tuple_desc()) }) {
            Refusal::OtherColumn.raise();
        }
        // SAFETY: heap_copy_tuple_as_datum returns a composite datum of its own, whose header says
        // "record"; the columns are those of customers.profile, as was just seen, so saying that instead is true.
        unsafe {
            let caller = pg_sys::MemoryContextSwitchTo(context);
            let datum = pg_sys::heap_copy_tuple_as_datum(row.tuple(), row.tuple_desc());
            pg_sys::MemoryContextSwitchTo(caller);
            let header = datum.cast_mut_ptr::<pg_sys::HeapTupleHeaderData>();
            (*header).t_choice.t_datum.datum_typeid = r#type;
            (*header).t_choice.t_datum.datum_typmod = -1;
            Self(datum)
        }
    }
}

impl From<&CustomerRow<'_>> for Profile {
    fn from(row: &CustomerRow) -> Self {
        let mut nulls = row.values().map(|value| value.is_none());
        let mut values = row.values().map(|value| value.unwrap_or(pg_sys::Datum::null()));
        // SAFETY: the values are of the types that the descriptor says; heap_form_tuple copies them.
        unsafe {
            let tuple =
                pg_sys::heap_form_tuple(type_desc(), values.as_mut_ptr(), nulls.as_mut_ptr());
            // Fetches what is stored out of line, in another table than the result may be kept in.
            Self(pg_sys::HeapTupleHeaderGetDatum((*tuple).t_data))
        }
    }
}

// SAFETY: the datum is a composite of the declared return type.
unsafe impl BoxRet for Profile {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> Datum<'fcx> {
        // SAFETY: as above.
        unsafe { fcinfo.return_raw_datum(self.0) }
    }
}

/// Whether rows so described are customers, column for column.
fn describes_customers(desc: &PgTupleDesc) -> bool {
    has_types(desc, CUSTOMER_COLUMNS.iter().map(|column| column.r#type))
}

/// PostgreSQL's own description of the type, to be used at once. Refuses a type that was altered; DROP and CREATE EXTENSION give it
/// another OID.
fn type_desc() -> pg_sys::TupleDesc {
    thread_local! {
        // The type cache forgets its description when it hears of the changes that this does.
        static KNOWN: CatalogCache<(), Option<pg_sys::TupleDesc>> = const { CatalogCache::new() };
    }
    // SAFETY: a look-up in the type catalogue by name and schema, which is what this cache is keyed by; the
    // entry for a type that exists, whose description is null where it is no row.
    let look_up = || unsafe {
        let schema = pg_sys::get_namespace_oid(c"customers".as_ptr(), true);
        let oid = pg_sys::GetSysCacheOid(
            pg_sys::SysCacheIdentifier::TYPENAMENSP as _,
            pg_sys::Anum_pg_type_oid as _,
            c"profile".as_ptr().into(),
            schema.into(),
            pg_sys::Datum::null(),
            pg_sys::Datum::null(),
        );
        let entry = |oid| pg_sys::lookup_type_cache(oid, pg_sys::TYPECACHE_TUPDESC as _);
        let desc = (oid != pg_sys::InvalidOid).then(|| (*entry(oid)).tupDesc);
        desc.filter(|desc| !desc.is_null())
            .filter(|desc| describes_customers(&PgTupleDesc::from_pg_unchecked(*desc)))
    };
    KNOWN.with(|known| known.get_of_any((), look_up)).ok_or(Refusal::OtherType).or_raise()
}
