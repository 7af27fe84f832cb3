//! Remembering what was found out about the database's definitions, until they may have changed: PostgreSQL
//! says when, in the middle of whatever makes it hear of it.

use pgrx::prelude::*;
use std::cell::Cell;

thread_local! {
    /// How many times the definition of a relation or a schema may have changed.
    static CHANGES: Cell<u64> = const { Cell::new(0) };
}

/// The last answer and what was asked.
pub struct Memo<K, V>(Cell<Option<(u64, K, V)>>);

impl<K: Copy + PartialEq, V: Copy> Memo<K, V> {
    pub const fn new() -> Self {
        Self(Cell::new(None))
    }

    /// What is known for `key`, or what `find_out` says.
    pub fn get(&self, key: K, find_out: impl FnOnce() -> V) -> V {
        let changes = CHANGES.get();
        match self.0.get() {
            Some((at, of, known)) if at == changes && of == key => known,
            _ => {
                let found = find_out();
                self.0.set(Some((changes, key, found)));
                found
            }
        }
    }
}

/// Has PostgreSQL tell of changes.
pub fn watch_definitions() {
    fn count() {
        CHANGES.set(CHANGES.get() + 1);
    }
    #[pg_guard]
    unsafe extern "C-unwind" fn relation_changed(_argument: pg_sys::Datum, _relation: pg_sys::Oid) {
        count();
    }
    #[pg_guard]
    unsafe extern "C-unwind" fn schema_changed(_argument: pg_sys::Datum, _cache: i32, _hash: u32) {
        count();
    }
    let nothing = pg_sys::Datum::null();
    let schemas = pg_sys::SysCacheIdentifier::NAMESPACEOID as i32;
    // SAFETY: the callbacks live as long as the library, which is never unloaded.
    unsafe {
        pg_sys::CacheRegisterRelcacheCallback(Some(relation_changed), nothing);
        pg_sys::CacheRegisterSyscacheCallback(schemas, Some(schema_changed), nothing);
    }
}
