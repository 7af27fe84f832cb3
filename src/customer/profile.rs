//! The row type `customers.profile`: a customer as functions return it.

use super::row::{COUNT, CustomerRow};
use super::schema::CUSTOMER_COLUMNS;
use crate::postgres::catalog_cache::CatalogCache;
use crate::postgres::error::OrRaise;
use crate::postgres::relation::has_types;
use crate::postgres::statement::Row;
use crate::postgres::typed_datum::TypedDatum;
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

/// A composite datum, kept in PostgreSQL's form: Rust does not read its fields.
pub struct Profile(pg_sys::Datum);

impl_sql_translatable!(Profile, "profile");

impl Profile {
    /// From a row of [`profile_columns`], copied to `context`.
    pub fn from_row(row: &Row, context: pg_sys::MemoryContext) -> Self {
        // SAFETY: type_desc() returns a live descriptor, from which the OID is copied at once.
        let r#type = unsafe { (*type_desc()).tdtypeid };
        // SAFETY: the descriptor lives as long as the row.
        if !describes_customers(&unsafe { PgTupleDesc::from_pg_unchecked(row.tuple_desc()) }) {
            Refusal::OtherColumn.raise();
        }
        // SAFETY: heap_copy_tuple_as_datum returns a new composite datum whose header names the type
        // "record". Its columns have the types of customers.profile, as was just verified, so the header
        // may name that type.
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
        let row = row.values();
        let mut nulls = row.map(TypedDatum::is_null);
        let mut values = std::array::from_fn::<_, COUNT, _>(|i| {
            let value = row[i].of_type(CUSTOMER_COLUMNS[i].r#type.value());
            value.unwrap_or(pg_sys::Datum::null())
        });
        // SAFETY: type_desc() has verified that the descriptor's columns have the types of CUSTOMER_COLUMNS, as the
        // values have; heap_form_tuple copies them.
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

/// Whether the rows of a descriptor have the column types of a customer.
fn describes_customers(desc: &PgTupleDesc) -> bool {
    has_types(desc, CUSTOMER_COLUMNS.iter().map(|column| column.r#type))
}

/// The descriptor of the type in PostgreSQL's type cache; to be used at once. Refuses if the type was
/// altered. DROP and CREATE EXTENSION give the type another OID.
fn type_desc() -> pg_sys::TupleDesc {
    thread_local! {
        // Invalidated by the same changes upon which the type cache frees its descriptor.
        static KNOWN: CatalogCache<(), Option<pg_sys::TupleDesc>> = const { CatalogCache::new() };
    }
    // SAFETY: TYPENAMENSP is keyed by name and schema, in this order. lookup_type_cache is called for an
    // existing type only, and its tupDesc is null if the type is not composite.
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
