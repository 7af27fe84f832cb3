//! Tables of the schema `customers`, opened without the executor where starting it costs more than the
//! work: the benchmarks in `benches/` say what that is worth.

use crate::errors::{OrRefuse, Refusal};
use crate::memo::Memo;
use crate::raw;
use pgrx::pg_sys::BuiltinOid;
use pgrx::{PgTupleDesc, pg_sys};
use std::ffi::CStr;

/// A table of the schema `customers`, open. Closed by hand and not by Drop: after an error PostgreSQL
/// closes it itself.
pub struct Table(pg_sys::Relation);

impl Table {
    pub fn open(name: Name, lock: u32) -> Self {
        // SAFETY: table_open raises where it is no table. The lock is kept to the end of the
        // transaction, like a statement's.
        Self(unsafe { pg_sys::table_open(relation_oid(name), lock as pg_sys::LOCKMODE) })
    }

    pub fn close(self) {
        // SAFETY: opened above.
        unsafe { pg_sys::table_close(self.0, pg_sys::NoLock as pg_sys::LOCKMODE) }
    }

    pub fn relation(&self) -> pg_sys::Relation {
        self.0
    }

    pub fn oid(&self) -> pg_sys::Oid {
        // SAFETY: the table is open.
        unsafe { (*self.0).rd_id }
    }

    /// The numbers of columns, which as a rule are the table's first, in this order.
    pub fn columns<const N: usize>(&self, columns: [ColumnSpec; N]) -> [i32; N] {
        let mut usual = 0..;
        columns.map(|column| {
            // SAFETY: the table is open.
            let number =
                unsafe { column.number((*self.0).rd_att, usual.next().unwrap_or_default()) };
            number.unwrap_or_else(|| {
                // SAFETY: the table is open, and its name ends in NUL.
                let table = unsafe { CStr::from_ptr((*(*self.0).rd_rel).relname.data.as_ptr()) };
                column.refuse_to_miss(table)
            })
        })
    }
}

/// A column as our code expects it: its values are read and written without a look at their type.
#[derive(Clone, Copy)]
pub struct ColumnSpec {
    pub name: &'static CStr,
    pub r#type: BuiltinOid,
}

impl ColumnSpec {
    pub const fn new(name: &'static CStr, r#type: BuiltinOid) -> Self {
        Self { name, r#type }
    }

    /// Its number, from 1, sought first at the index where it usually stands; None where there is none of
    /// this type.
    ///
    /// # Safety
    /// The descriptor is that of an open table.
    pub unsafe fn number(self, desc: pg_sys::TupleDesc, usual: usize) -> Option<i32> {
        // SAFETY: promised by the caller.
        unsafe {
            let desc = PgTupleDesc::from_pg_unchecked(desc);
            let named = |index: usize| {
                desc.get(index).filter(|column| {
                    CStr::from_ptr(column.attname.data.as_ptr()) == self.name
                        && !column.attisdropped
                })
            };
            let index = if named(usual).is_some() {
                usual
            } else {
                (0..desc.len()).find(|index| named(*index).is_some())?
            };
            let column = desc.get(index)?;
            (column.atttypid == self.r#type.value() && column.atttypmod == -1)
                .then_some(index as i32 + 1)
        }
    }

    pub fn refuse_to_miss(self, table: &CStr) -> ! {
        // SAFETY: the name of a built-in type, in memory of its own.
        let r#type = unsafe { CStr::from_ptr(pg_sys::format_type_be(self.r#type.value())) };
        let lacks = format!("{} {}", self.name.to_string_lossy(), r#type.to_string_lossy());
        Refusal::OtherTable { table: table.to_string_lossy().into_owned(), lacks }.raise()
    }
}

/// Whether rows so described have just these types.
pub fn has_types(desc: &PgTupleDesc, types: impl ExactSizeIterator<Item = BuiltinOid>) -> bool {
    desc.len() == types.len()
        && types.enumerate().all(|(index, wanted)| {
            desc.get(index).is_some_and(|column| column.atttypid == wanted.value())
        })
}

/// The relations of the schema `customers` that are sought by name.
#[derive(Clone, Copy)]
pub enum Name {
    Customers,
    Events,
    /// The sequence that draws positions.
    Positions,
    Consumers,
}

impl Name {
    fn as_c_str(self) -> &'static CStr {
        match self {
            Self::Customers => c"customers",
            Self::Events => c"events",
            Self::Positions => c"events_position_seq",
            Self::Consumers => c"consumers",
        }
    }
}

/// The OID of a relation, which after DROP and CREATE is another. Refuses where there is none.
pub fn relation_oid(name: Name) -> pg_sys::Oid {
    find_relation(name).ok_or(Refusal::NotAttached).or_refuse()
}

/// The same; None where there is no such relation or schema.
pub fn find_relation(name: Name) -> Option<pg_sys::Oid> {
    thread_local! {
        static OIDS: [Memo<(), Option<pg_sys::Oid>>; 4] =
            const { [Memo::new(), Memo::new(), Memo::new(), Memo::new()] };
    }
    // SAFETY: look-ups by name; no relation is in a schema that is not there.
    let look_up = || unsafe {
        let schema = pg_sys::get_namespace_oid(c"customers".as_ptr(), true);
        let oid = pg_sys::get_relname_relid(name.as_c_str().as_ptr(), schema);
        (oid != pg_sys::InvalidOid).then_some(oid)
    };
    OIDS.with(|oids| oids[name as usize].get((), look_up))
}

/// Does work in the name of a relation's owner.
pub fn as_owner<T>(relation: pg_sys::Oid, work: impl FnOnce() -> T) -> T {
    as_owner_within(pg_sys::SECURITY_LOCAL_USERID_CHANGE, relation, work)
}

/// The same, where nothing that the owner has put in the way may outlast the work: no deferred trigger, no
/// temporary object.
pub fn as_restricted_owner<T>(relation: pg_sys::Oid, work: impl FnOnce() -> T) -> T {
    let bounds = pg_sys::SECURITY_LOCAL_USERID_CHANGE | pg_sys::SECURITY_RESTRICTED_OPERATION;
    as_owner_within(bounds, relation, work)
}

fn as_owner_within<T>(bounds: u32, relation: pg_sys::Oid, work: impl FnOnce() -> T) -> T {
    let (mut user, mut context) = (pg_sys::InvalidOid, 0);
    // SAFETY: opened and closed here, with the lock that reading takes; should the work raise, the abort
    // restores user and context.
    unsafe {
        let owner = raw::guarded(|| {
            let open = raw::relation_open(relation, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
            let owner = (*(*open).rd_rel).relowner;
            raw::relation_close(open, pg_sys::NoLock as pg_sys::LOCKMODE);
            owner
        });
        raw::GetUserIdAndSecContext(&mut user, &mut context);
        raw::SetUserIdAndSecContext(owner, context | bounds as i32);
        let done = work();
        raw::SetUserIdAndSecContext(user, context);
        done
    }
}
