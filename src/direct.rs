//! Registering a customer round the executor, which takes longer to get ready than to work: by the same
//! rules, into a table that is as it was made here.

use crate::customer::{COLUMNS, Column, CustomerRow};
use crate::errors::{Refusal, without_values};
use crate::feed::record::record_registration;
use crate::guard;
use crate::inserter::{AsMade, Inserter, TriggerAsMade};
use crate::profile::Profile;
use crate::rules::status::Status;
use crate::statement::Statement;
use crate::table::Table;
use crate::witness;
use pgrx::pg_sys;
use pgrx::pg_sys::BuiltinOid::TEXTOID;
use pgrx::{IntoDatum, Uuid};
use std::cell::RefCell;
use std::ffi::{CStr, CString};

const AS_MADE: AsMade =
    AsMade { columns: COLUMNS.len(), optional: &[Column::Name as usize], checks: 1 };

/// None where the table has more to it than it was made with, or this role or transaction may not write to
/// it: an INSERT statement does it then, or says why not.
pub fn register(
    customer_id: Uuid,
    email: Option<&str>,
    name: Option<&str>,
) -> Option<Result<Profile, Refusal>> {
    let customers = Table::open(c"customers", pg_sys::RowExclusiveLock);
    if !(AS_MADE.holds_for(&customers, &triggers())
        && may_insert(&customers)
        && checks_status(&customers))
    {
        customers.close();
        return None;
    }
    let mut row = CustomerRow::new([
        customer_id.into_datum(),
        email.into_datum(),
        name.into_datum(),
        Status::Active.as_str().into_datum(),
        guard::now().into_datum(),
        // The guard's books.
        None,
        None,
    ]);
    if let Err(why) = guard::admit(&mut row) {
        return Some(Err(why));
    }
    without_values(|| insert(customers, &row));
    Some(Ok(Profile::from(&row)))
}

/// Those whose work is done here. A session knows them once they have fired in it, so its first registration
/// goes by SQL.
fn triggers() -> [TriggerAsMade; 2] {
    use pg_sys::{TRIGGER_TYPE_BEFORE, TRIGGER_TYPE_INSERT, TRIGGER_TYPE_ROW, TRIGGER_TYPE_UPDATE};
    const GUARD: u32 =
        TRIGGER_TYPE_ROW | TRIGGER_TYPE_BEFORE | TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE;
    let [guard, recorder] = witness::functions();
    [
        TriggerAsMade { function: guard, r#type: GUARD },
        TriggerAsMade { function: recorder, r#type: TRIGGER_TYPE_INSERT },
    ]
}

fn insert(customers: Table, row: &CustomerRow) {
    let numbers = customers.columns(COLUMNS.map(|column| column.spec()));
    let mut inserter = Inserter::new(customers);
    inserter.insert(|slot| {
        for (number, value) in numbers.iter().zip(row.values()) {
            slot.set(*number, value);
        }
    });
    record_registration(row);
    inserter.close();
    // SAFETY: a plain call: what comes next in the transaction sees the customer.
    unsafe { pg_sys::CommandCounterIncrement() }
}

fn may_insert(customers: &Table) -> bool {
    // SAFETY: the table is open.
    unsafe {
        let oid = (*customers.relation()).rd_id;
        let answer = pg_sys::pg_class_aclcheck(oid, pg_sys::GetUserId(), pg_sys::ACL_INSERT.into());
        answer == pg_sys::AclResult::ACLCHECK_OK
    }
}

/// Whether the table's one CHECK is that of the status, which the guard has seen to. PostgreSQL parses its
/// text anew for every statement, which would be a quarter of all the work; a text that has been looked at
/// once is known.
fn checks_status(customers: &Table) -> bool {
    thread_local! {
        static KNOWN: RefCell<Option<(CString, bool)>> = const { RefCell::new(None) };
    }
    // SAFETY: the table is open and has one CHECK; its text ends in NUL.
    let text = unsafe {
        let constraints = &*(*(*customers.relation()).rd_att).constr;
        CStr::from_ptr((*constraints.check).ccbin)
    };
    KNOWN.with_borrow_mut(|known| match known {
        Some((seen, is_ours)) if seen.as_c_str() == text => *is_ours,
        _ => known.insert((text.to_owned(), is_our_check(text))).1,
    })
}

fn is_our_check(text: &CStr) -> bool {
    static IS_OURS: Statement = Statement::new(
        c"SELECT pg_get_constraintdef(oid)
                 = 'CHECK ((status = ANY (ARRAY[''ACTIVE''::text, ''SUSPENDED''::text, ''CLOSED''::text])))'
            FROM pg_constraint
           WHERE conrelid = 'customers.customers'::regclass AND contype = 'c' AND conbin::text = $1",
        &[TEXTOID],
    );
    IS_OURS.read_value(&[text.to_str().ok().into_datum()]) == Some(true)
}
