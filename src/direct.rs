//! Registering a customer round the executor, which takes longer to get ready than to work: by the same
//! rules, into a table that is as it was made here.

use crate::customer::{COLUMNS, Column, CustomerRow};
use crate::errors::{Refusal, without_values};
use crate::feed::record::record_registration;
use crate::guard;
use crate::inserter::{AsMade, Inserter, TriggerAsMade, may_insert};
use crate::memo::Memo;
use crate::profile::Profile;
use crate::raw;
use crate::rules::status::Status;
use crate::statement::Statement;
use crate::table::{Name, Table};
use crate::witness;
use pgrx::pg_sys;
use pgrx::pg_sys::BuiltinOid::{OIDOID, TEXTOID};
use pgrx::{IntoDatum, Uuid};
use std::ffi::CStr;

const AS_MADE: AsMade =
    AsMade { columns: COLUMNS.len(), optional: &[Column::Name as usize], checks: 1 };

/// None where the table has more to it than it was made with, or this role or transaction may not write to
/// it: an INSERT statement does it then, or says why not.
pub fn register(
    customer_id: Uuid,
    email: Option<&str>,
    name: Option<&str>,
) -> Option<Result<Profile, Refusal>> {
    let customers = Table::open(Name::Customers, pg_sys::RowExclusiveLock);
    let numbers = numbers(&customers).filter(|_| may_insert() && is_granted_to_us(&customers));
    let Some(numbers) = numbers else {
        customers.close();
        return None;
    };
    let mut row = CustomerRow::new([
        customer_id.into_datum(),
        email.into_datum(),
        name.into_datum(),
        Status::Active.as_str().into_datum(),
        raw::GetCurrentTransactionStartTimestamp().into_datum(),
        // The guard's books.
        None,
        None,
    ]);
    if let Err(why) = guard::admit(&mut row) {
        return Some(Err(why));
    }
    without_values(|| insert(customers, numbers, &row));
    Some(Ok(Profile::from(&row)))
}

/// The numbers of the table's columns; None where it has more to it than it was made with.
fn numbers(customers: &Table) -> Option<[i32; COLUMNS.len()]> {
    type Key = (pg_sys::Oid, [TriggerAsMade; 2]);
    thread_local! {
        static NUMBERS: Memo<Key, Option<[i32; COLUMNS.len()]>> = const { Memo::new() };
    }
    let triggers = triggers();
    let find_out = || {
        let is_as_made = AS_MADE.holds_for(customers, &triggers) && checks_status(customers);
        is_as_made.then(|| customers.columns(COLUMNS.map(|column| column.spec())))
    };
    NUMBERS.with(|numbers| numbers.get((customers.oid(), triggers), find_out))
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

fn insert(customers: Table, numbers: [i32; COLUMNS.len()], row: &CustomerRow) {
    let mut inserter = Inserter::new(customers);
    inserter.insert(|slot| {
        for (number, value) in numbers.into_iter().zip(row.values()) {
            slot.set(number, value);
        }
    });
    record_registration(row);
    inserter.close();
    // SAFETY: a plain call: what comes next in the transaction sees the customer.
    unsafe { pg_sys::CommandCounterIncrement() }
}

fn is_granted_to_us(customers: &Table) -> bool {
    // SAFETY: a look-up of an open table.
    let answer = unsafe {
        pg_sys::pg_class_aclcheck(customers.oid(), raw::GetUserId(), pg_sys::ACL_INSERT.into())
    };
    answer == pg_sys::AclResult::ACLCHECK_OK
}

/// Whether the table's one CHECK is that of the status, which the guard has seen to. PostgreSQL parses its
/// text anew for every statement, which would be a quarter of all the work. It must be the text that is in
/// force: the caller's snapshot may be older, and show one that was replaced since.
fn checks_status(customers: &Table) -> bool {
    static IS_OURS: Statement = Statement::new(
        c"SELECT pg_get_constraintdef(oid)
                 = 'CHECK ((status = ANY (ARRAY[''ACTIVE''::text, ''SUSPENDED''::text, ''CLOSED''::text])))'
            FROM pg_constraint
           WHERE conrelid = $1 AND contype = 'c' AND conbin::text = $2",
        &[OIDOID, TEXTOID],
    );
    // SAFETY: the table is open and has one CHECK; its text ends in NUL.
    let in_force = unsafe {
        let constraints = &*(*(*customers.relation()).rd_att).constr;
        CStr::from_ptr((*constraints.check).ccbin)
    };
    let params = [customers.oid().into_datum(), in_force.to_str().ok().into_datum()];
    IS_OURS.read_value(&params) == Some(true)
}
