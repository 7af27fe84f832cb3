//! Relations: found by name, opened, described, and accessed with their owner's rights.

use super::catalog_cache::{self, CatalogCache};
use super::error::OrRaise;
use super::ffi;
use crate::refusal::Refusal;
use pgrx::pg_sys::{BuiltinOid, InvalidOid, Oid};
use pgrx::{PgTupleDesc, pg_sys};
use std::ffi::{CStr, c_char, c_void};
use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A relation of a schema, sought by name. Its OID is remembered until its definition may have changed: after
/// DROP and CREATE, or a rename, the name is another relation's.
pub struct NamedRelation {
    schema: &'static CStr,
    name: &'static CStr,
    oid: AtomicU32,
    /// The generation in which the OID was looked up: of this relation, or of any where there was none.
    found_in: AtomicU64,
    /// The generation of any relation in which the relation was found to be neither a parent nor a child.
    alone_in: AtomicU64,
}

impl NamedRelation {
    pub const fn new(schema: &'static CStr, name: &'static CStr) -> Self {
        Self {
            schema,
            name,
            oid: AtomicU32::new(0),
            found_in: AtomicU64::new(0),
            alone_in: AtomicU64::new(0),
        }
    }

    /// Its OID; None if there is no such relation or schema.
    pub fn find(&self) -> Option<Oid> {
        let known = Oid::from(self.oid.load(Ordering::Relaxed));
        if known != InvalidOid
            && self.found_in.load(Ordering::Relaxed) == catalog_cache::generation()
        {
            return Some(known);
        }
        // What is not there is looked for again each time: that is rare, and cheap.
        // SAFETY: look-ups by name; no relation is in a schema that is not there.
        let oid = unsafe {
            let find = || {
                let schema = pg_sys::get_namespace_oid(self.schema.as_ptr(), true);
                pg_sys::get_relname_relid(self.name.as_ptr(), schema)
            };
            // Watched before it is looked up for good, so that no change of it is missed.
            let found = find();
            if found != InvalidOid {
                catalog_cache::watch(found);
            }
            self.found_in.store(catalog_cache::generation(), Ordering::Relaxed);
            find()
        };
        self.oid.store(oid.to_u32(), Ordering::Relaxed);
        (oid != InvalidOid).then_some(oid)
    }

    /// Its OID; refuses if there is none.
    pub fn oid(&self) -> Oid {
        self.find().ok_or(Refusal::NotAttached).or_raise()
    }

    /// Opens the relation that has the name once the lock is held: while this waited, the one that had it
    /// before may have been renamed or dropped. The lock is kept to the end of the transaction, like a
    /// statement's. Follows RangeVarGetRelidExtended of namespace.c.
    pub fn open(&self, lock: u32) -> OpenRelation {
        let lock = lock as pg_sys::LOCKMODE;
        loop {
            let oid = self.oid();
            // SAFETY: a lock may be taken on any OID, even one that no relation has any more. Once the name
            // is found to belong to this OID under the lock, the relation cannot be dropped or renamed, so
            // opening it succeeds.
            unsafe {
                pg_sys::LockRelationOid(oid, lock);
                if self.find() == Some(oid) {
                    let none = pg_sys::NoLock as pg_sys::LOCKMODE;
                    return OpenRelation(ffi::with_error_boundary(|| {
                        ffi::relation_open(oid, none)
                    }));
                }
                pg_sys::UnlockRelationOid(oid, lock);
            }
        }
    }

    /// Refuses a plain table that is a parent, a child or a partition: a statement on another table can then write
    /// its rows, past its statement triggers, or read others' rows as its own. Looked up when the definition of any
    /// relation may have changed.
    pub fn refuse_inheritance(&self) {
        let generation = catalog_cache::any_generation();
        if self.alone_in.load(Ordering::Relaxed) == generation {
            return;
        }
        let relation = self.open(pg_sys::AccessShareLock);
        // SAFETY: the relation is open.
        if relation.is_plain_table() && unsafe { inherits(relation.as_ptr()) } {
            Refusal::Inherits { table: self.name() }.raise();
        }
        self.alone_in.store(generation, Ordering::Relaxed);
    }

    fn name(&self) -> &'static str {
        self.name.to_str().expect("names are ASCII")
    }

    /// Does work with the rights of the relation's owner, and no more: the session cannot be given another role
    /// meanwhile.
    ///
    /// Where the session is a superuser's and the owner is none, nothing that the owner has put in the way may
    /// outlast the work either: see [`as_restricted_owner`](Self::as_restricted_owner).
    pub fn as_owner<T>(&self, work: impl FnOnce() -> T) -> T {
        // SAFETY: look-ups of roles that exist.
        let is_endangered = unsafe {
            let session = pg_sys::superuser_arg(ffi::GetOuterUserId())
                || pg_sys::superuser_arg(ffi::GetSessionUserId());
            session && !pg_sys::superuser_arg(owner_of(self.oid()))
        };
        if is_endangered {
            self.as_restricted_owner(work)
        } else {
            self.as_owner_within(pg_sys::SECURITY_LOCAL_USERID_CHANGE, work)
        }
    }

    /// The same, where nothing that the owner has put in the way may outlast the work: no deferred trigger, no
    /// cursor, no temporary object, no setting.
    pub fn as_restricted_owner<T>(&self, work: impl FnOnce() -> T) -> T {
        let bounds = pg_sys::SECURITY_LOCAL_USERID_CHANGE | pg_sys::SECURITY_RESTRICTED_OPERATION;
        // SAFETY: a level that is ended here, or with the transaction.
        let settings = unsafe { pg_sys::NewGUCNestLevel() };
        let done = self.as_owner_within(bounds, work);
        // SAFETY: begun above.
        unsafe { pg_sys::AtEOXact_GUC(false, settings) };
        done
    }

    fn as_owner_within<T>(&self, bounds: u32, work: impl FnOnce() -> T) -> T {
        let owner = owner_of(self.oid());
        let (mut user, mut context) = (InvalidOid, 0);
        // SAFETY: user and context are restored after the work; if it raises, the abort of the transaction
        // or savepoint restores them.
        unsafe {
            ffi::GetUserIdAndSecContext(&mut user, &mut context);
            ffi::SetUserIdAndSecContext(owner, context | bounds as i32);
            let done = work();
            ffi::SetUserIdAndSecContext(user, context);
            done
        }
    }
}

fn owner_of(relation: Oid) -> Oid {
    thread_local! {
        static OWNER: CatalogCache<Oid, Option<Oid>> = const { CatalogCache::new() };
    }
    // SAFETY: RELOID is keyed by one OID; the entry is null or a row of pg_class, and is read before it is
    // released.
    let look_up = || unsafe {
        let key = pg_sys::Datum::from(relation);
        let entry = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::RELOID as i32, key);
        (!entry.is_null()).then(|| {
            let class = pg_sys::GETSTRUCT(entry).cast::<pg_sys::FormData_pg_class>();
            let owner = (*class).relowner;
            pg_sys::ReleaseSysCache(entry);
            owner
        })
    };
    OWNER.with(|owner| owner.get(relation, look_up)).ok_or(Refusal::NotAttached).or_raise()
}

/// An open relation on which a lock is held.
pub struct OpenRelation(pg_sys::Relation);

impl Drop for OpenRelation {
    fn drop(&mut self) {
        // After an error, PostgreSQL's resource owner closes it.
        if !std::thread::panicking() {
            // SAFETY: the relation is open and dropped once. NoLock keeps the lock to the end of the transaction.
            unsafe { pg_sys::relation_close(self.0, pg_sys::NoLock as pg_sys::LOCKMODE) }
        }
    }
}

impl OpenRelation {
    pub fn as_ptr(&self) -> pg_sys::Relation {
        self.0
    }

    fn class(&self) -> &pg_sys::FormData_pg_class {
        // SAFETY: the relcache entry of an open relation has rd_rel, which lives as long as the relation is open.
        unsafe { &*(*self.0).rd_rel }
    }

    pub fn oid(&self) -> Oid {
        // SAFETY: the relcache entry lives as long as the relation is open.
        unsafe { (*self.0).rd_id }
    }

    pub fn is_plain_table(&self) -> bool {
        self.class().relkind == pg_sys::RELKIND_RELATION as c_char
    }

    pub fn is_sequence(&self) -> bool {
        self.class().relkind == pg_sys::RELKIND_SEQUENCE as c_char
    }

    pub fn class_and_triggers(&self) -> (&pg_sys::FormData_pg_class, &[pg_sys::Trigger]) {
        // SAFETY: trigdesc is null or valid while the relation is open, with numtriggers entries.
        let triggers = unsafe {
            (*self.0).trigdesc.as_ref().map_or(&[][..], |desc| {
                std::slice::from_raw_parts(desc.triggers, desc.numtriggers as usize)
            })
        };
        (self.class(), triggers)
    }

    /// Whether it has a BEFORE trigger that fires before the one of this name.
    pub fn has_trigger_before(&self, name: &CStr) -> bool {
        let (_, triggers) = self.class_and_triggers();
        triggers.iter().any(|trigger| {
            // SAFETY: tgname is a text that ends in NUL, and lives as long as the relation is open.
            let is_before = unsafe { CStr::from_ptr(trigger.tgname) } < name;
            is_before
                && !trigger.tgisinternal
                && trigger.tgtype as u32 & pg_sys::TRIGGER_TYPE_BEFORE != 0
        })
    }

    pub fn tuple_desc(&self) -> PgTupleDesc<'_> {
        // SAFETY: rd_att lives as long as the relation is open.
        unsafe { PgTupleDesc::from_pg_unchecked((*self.0).rd_att) }
    }

    pub fn constraints(&self) -> Option<&pg_sys::TupleConstr> {
        // SAFETY: as above.
        unsafe { (*(*self.0).rd_att).constr.as_ref() }
    }

    /// The expressions of its CHECKs, as pg_get_expr() shows them.
    pub fn checks(&self) -> Vec<String> {
        let Some(constraints) = self.constraints() else { return Vec::new() };
        // SAFETY: `check` has num_check entries, each with an expression of the open table.
        unsafe {
            let checks = entries(constraints.check, constraints.num_check);
            checks.iter().map(|check| deparse(self.0, check.ccbin)).collect()
        }
    }

    /// Whether a role holds a privilege, ACL_… of acl.h, on the relation.
    pub fn is_granted(&self, role: Oid, privilege: u32) -> bool {
        let privilege = privilege as pg_sys::AclMode;
        // SAFETY: the relation is open, so its row in pg_class exists.
        let answer = unsafe { pg_sys::pg_class_aclcheck(self.oid(), role, privilege) };
        answer == pg_sys::AclResult::ACLCHECK_OK
    }

    /// The numbers, from 1, of columns by name; usually they are the table's first columns in this order.
    /// Refuses if one is missing or of another type.
    pub fn column_numbers<const N: usize>(&self, columns: &[Column; N]) -> [i32; N] {
        // SAFETY: `self` keeps the relation open.
        unsafe { column_numbers(self.0, columns) }
    }
}

/// A default as CREATE TABLE stores it.
#[derive(Clone, Copy)]
pub enum DefaultValue {
    /// A call of one of PostgreSQL's functions, F_… of fmgroids.h, without arguments.
    Call {
        function: u32,
        returns: BuiltinOid,
    },
    Text(&'static str),
}

impl DefaultValue {
    fn node(self) -> *mut c_void {
        // SAFETY: the nodes are allocated here; the text is copied with its length.
        unsafe {
            match self {
                Self::Call { function, returns } => pg_sys::makeFuncExpr(
                    function.into(),
                    returns.value(),
                    ptr::null_mut(),
                    InvalidOid,
                    InvalidOid,
                    pg_sys::CoercionForm::COERCE_EXPLICIT_CALL,
                )
                .cast(),
                Self::Text(text) => pg_sys::makeConst(
                    pg_sys::TEXTOID,
                    -1,
                    pg_sys::DEFAULT_COLLATION_OID,
                    -1,
                    pg_sys::cstring_to_text_with_len(text.as_ptr().cast(), text.len() as i32)
                        .into(),
                    false,
                    false,
                )
                .cast(),
            }
        }
    }
}

/// Whether these columns of a table have these defaults. Compares expressions, not their texts: which function a name in a
/// text means depends on the search_path. False if the table is gone.
pub fn has_defaults(table: Oid, defaults: &[(&str, DefaultValue)]) -> bool {
    let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
    // SAFETY: null for an OID that is no relation's.
    let relation = unsafe { pg_sys::try_relation_open(table, lock) };
    if relation.is_null() {
        return false;
    }
    let table = OpenRelation(relation);
    let Some(constraints) = table.constraints() else { return false };
    // SAFETY: `defval` has num_defval entries, each with a column's number and the text of an expression.
    let stored = unsafe { entries(constraints.defval, constraints.num_defval) };
    let desc = table.tuple_desc();
    defaults.iter().all(|(column, default)| {
        let of_column = |stored: &&pg_sys::AttrDefault| {
            desc.get(stored.adnum as usize - 1).is_some_and(|named| named.name() == *column)
        };
        stored.iter().find(of_column).is_some_and(|stored| {
            // SAFETY: both are expressions; adbin is the text of one, which ends in NUL.
            unsafe { pg_sys::equal(pg_sys::stringToNode(stored.adbin), default.node()) }
        })
    })
}

/// # Safety
/// There are `count` entries at `first`, which live for `'a`; it may be null if there are none.
unsafe fn entries<'a, T>(first: *const T, count: u16) -> &'a [T] {
    if first.is_null() {
        return &[];
    }
    // SAFETY: promised by the caller.
    unsafe { std::slice::from_raw_parts(first, count.into()) }
}

/// # Safety
/// The relation is open, and this is the text of an expression on its columns as the catalogue stores it.
unsafe fn deparse(relation: pg_sys::Relation, expression: *const c_char) -> String {
    // SAFETY: promised by the caller; relname is a NameData, which ends in NUL; the result is a text that ends in NUL.
    unsafe {
        let name = (*(*relation).rd_rel).relname.data.as_ptr();
        let context = pg_sys::deparse_context_for(name, (*relation).rd_id);
        let expression = pg_sys::stringToNode(expression).cast();
        let text = pg_sys::deparse_expression(expression, context, false, false);
        CStr::from_ptr(text).to_string_lossy().into_owned()
    }
}

/// Whether a table is a parent, a child or a partition.
///
/// # Safety
/// The relation is open.
pub unsafe fn inherits(relation: pg_sys::Relation) -> bool {
    thread_local! {
        static INHERITS: CatalogCache<Oid, bool> = const { CatalogCache::new() };
    }
    // SAFETY: promised by the caller; look-ups in pg_inherits. relhassubclass stays true after the last child
    // has gone; a partitioned table has partitions.
    unsafe {
        let (oid, class) = ((*relation).rd_id, &*(*relation).rd_rel);
        let look_up = || {
            let none = pg_sys::NoLock as pg_sys::LOCKMODE;
            pg_sys::has_superclass(oid)
                || class.relhassubclass
                    && class.relkind == pg_sys::RELKIND_RELATION as c_char
                    && !pg_sys::find_inheritance_children(oid, none).is_null()
        };
        INHERITS.with(|known| known.get_of_any(oid, look_up))
    }
}

/// A column as this code expects it.
#[derive(Clone, Copy)]
pub struct Column {
    pub name: &'static CStr,
    pub r#type: BuiltinOid,
    pub nullable: bool,
}

impl Column {
    pub const fn required(name: &'static CStr, r#type: BuiltinOid) -> Self {
        Self { name, r#type, nullable: false }
    }

    pub const fn optional(name: &'static CStr, r#type: BuiltinOid) -> Self {
        Self { name, r#type, nullable: true }
    }

    /// The SQL name of its type.
    pub fn type_name(&self) -> String {
        // SAFETY: format_type_be returns a palloc'ed text that ends in NUL, and is copied here.
        let name = unsafe { CStr::from_ptr(pg_sys::format_type_be(self.r#type.value())) };
        name.to_string_lossy().into_owned()
    }

    /// Its number, from 1; the index `usual` is tried first. None if no column of the name has this type.
    fn number(&self, desc: &PgTupleDesc, usual: usize) -> Option<i32> {
        let named = |index: usize| {
            desc.get(index).filter(|column| {
                // SAFETY: attname is a NameData, which ends in NUL.
                (unsafe { CStr::from_ptr(column.attname.data.as_ptr()) }) == self.name
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

/// See [`OpenRelation::column_numbers`].
pub unsafe fn column_numbers<const N: usize>(
    relation: pg_sys::Relation,
    columns: &[Column; N],
) -> [i32; N] {
    // SAFETY: the caller keeps the relation open, so descriptor and name live; relname is a NameData, which
    // ends in NUL.
    let (desc, name) = unsafe {
        (
            PgTupleDesc::from_pg_unchecked((*relation).rd_att),
            CStr::from_ptr((*(*relation).rd_rel).relname.data.as_ptr()),
        )
    };
    std::array::from_fn(|usual| {
        columns[usual].number(&desc, usual).unwrap_or_else(|| {
            let column = &columns[usual];
            let lacks = format!("{} {}", column.name.to_string_lossy(), column.type_name());
            Refusal::OtherTable { table: name.to_string_lossy().into_owned(), lacks }.raise()
        })
    })
}

/// The type of a column by its index.
///
/// # Safety
/// The descriptor lives, and has a column with this index.
pub unsafe fn column_type(desc: pg_sys::TupleDesc, index: usize) -> Oid {
    // SAFETY: promised by the caller.
    unsafe { PgTupleDesc::from_pg_unchecked(desc).get(index).expect("a column").atttypid }
}

/// Whether the rows of a descriptor have exactly these column types.
pub fn has_types(desc: &PgTupleDesc, types: impl ExactSizeIterator<Item = BuiltinOid>) -> bool {
    desc.len() == types.len()
        && types.enumerate().all(|(index, wanted)| {
            desc.get(index).is_some_and(|column| column.atttypid == wanted.value())
        })
}
