//! The fast path: registering a customer without the executor, under the same rules. Only for a table in
//! the shape it was created with; for any other, the caller runs an INSERT statement.

use crate::customer::enforcement;
use crate::customer::guard;
use crate::customer::profile::Profile;
use crate::customer::row::{COUNT, CustomerRow};
use crate::customer::schema::{CUSTOMER_COLUMNS, CUSTOMERS, has_original_defaults};
use crate::feed::recording::record_registration;
use crate::postgres::catalog_cache::CatalogCache;
use crate::postgres::ffi;
use crate::postgres::heap_insert::{FastPathShape, HeapInsert, InsertTrigger};
use crate::postgres::relation::OpenRelation;
use crate::postgres::text::Text;
use crate::postgres::transaction::may_insert;
use crate::refusal::Refusal;
use crate::rules::status::Status;
use pgrx::Uuid;
use pgrx::pg_sys;
use std::ffi::CStr;

/// The one CHECK is that of the status.
const SHAPE: FastPathShape<COUNT> = FastPathShape { columns: &CUSTOMER_COLUMNS, checks: 1 };

/// None if the table has another shape, or this role or transaction may not insert: the caller's INSERT
/// statement then does the work or raises the error.
pub fn register(
    customer_id: Uuid,
    email: Option<Text>,
    name: Option<Text>,
) -> Option<Result<Profile, Refusal>> {
    let customers = CUSTOMERS.open(pg_sys::RowExclusiveLock);
    let numbers = column_numbers(&customers)
        .filter(|_| may_insert() && customers.is_granted(ffi::GetUserId(), pg_sys::ACL_INSERT))?;
    let status = Status::Active.as_str();
    let mut row = CustomerRow::registering(customer_id, email, name, status);
    if let Err(why) = guard::admit(&mut row) {
        return Some(Err(why));
    }
    // SAFETY: as SPI does before a statement: within one that writes customers, the row is another command's.
    unsafe {
        if enforcement::is_unrecorded(pg_sys::GetCurrentCommandId(false)) {
            pg_sys::CommandCounterIncrement();
        }
    }
    let mut insert = HeapInsert::begin(customers);
    insert.insert(&numbers, || row.values());
    insert.close();
    record_registration(&row);
    // SAFETY: within a transaction, as in every function call. Makes the row visible to the transaction's
    // next command, as the end of a statement would.
    unsafe { pg_sys::CommandCounterIncrement() }
    Some(Ok(Profile::from(&row)))
}

/// The numbers of the table's columns; None if it has another shape.
fn column_numbers(customers: &OpenRelation) -> Option<[i32; COUNT]> {
    thread_local! {
        static NUMBERS: CatalogCache<pg_sys::Oid, Option<[i32; COUNT]>> =
            const { CatalogCache::new() };
    }
    let look_up = || {
        CUSTOMERS.refuse_inheritance();
        let numbers = SHAPE.matches(customers, &triggers()?)?;
        let fits = checks_status(customers) && has_original_defaults(customers.oid());
        fits.then_some(numbers)
    };
    NUMBERS.with(|known| known.get(customers.oid(), look_up))
}

/// The triggers whose work the fast path does itself.
fn triggers() -> Option<[InsertTrigger; 2]> {
    use pg_sys::{TRIGGER_TYPE_BEFORE, TRIGGER_TYPE_INSERT, TRIGGER_TYPE_ROW, TRIGGER_TYPE_UPDATE};
    const GUARD: u32 =
        TRIGGER_TYPE_ROW | TRIGGER_TYPE_BEFORE | TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE;
    Some([
        InsertTrigger { function: trigger_function(c"guard")?, r#type: GUARD },
        InsertTrigger {
            function: trigger_function(c"record_registered")?,
            r#type: TRIGGER_TYPE_INSERT,
        },
    ])
}

/// The OID of a function of schema customers without arguments.
fn trigger_function(name: &CStr) -> Option<pg_sys::Oid> {
    // SAFETY: PROCNAMEARGSNSP is keyed by name, argument types and schema, in this order; the name ends in NUL.
    let function = unsafe {
        pg_sys::GetSysCacheOid(
            pg_sys::SysCacheIdentifier::PROCNAMEARGSNSP as _,
            pg_sys::Anum_pg_proc_oid as _,
            name.as_ptr().into(),
            pg_sys::buildoidvector(std::ptr::null(), 0).into(),
            pg_sys::get_namespace_oid(c"customers".as_ptr(), true).into(),
            pg_sys::Datum::null(),
        )
    };
    (function != pg_sys::InvalidOid).then_some(function)
}

/// Whether the table's only CHECK is that of the status, which the guard enforces. PostgreSQL parses a
/// CHECK's text again for each statement, which would take a quarter of the time.
fn checks_status(customers: &OpenRelation) -> bool {
    const OURS: &str = "(status = ANY (ARRAY['ACTIVE'::text, 'SUSPENDED'::text, 'CLOSED'::text]))";
    customers.checks() == [OURS]
}
