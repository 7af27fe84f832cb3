//! Catalogue caches: what was found out about the database's definitions, kept until they may have changed.
//! PostgreSQL says when, by invalidation callbacks, in the middle of whatever makes it hear of a change.

use pgrx::prelude::*;
use std::cell::Cell;

thread_local! {
    /// How many times the definition of a relation or a schema may have changed.
    static GENERATION: Cell<u64> = const { Cell::new(1) };
}

/// Differs from an earlier one when a definition may have changed since.
pub fn generation() -> u64 {
    GENERATION.get()
}

/// The last answer, and the key it was for.
pub struct CatalogCache<K, V>(Cell<Option<(u64, K, V)>>);

impl<K: Copy + PartialEq, V: Copy> CatalogCache<K, V> {
    pub const fn new() -> Self {
        Self(Cell::new(None))
    }

    /// What is known for `key`, or what `look_up` says.
    pub fn get(&self, key: K, look_up: impl FnOnce() -> V) -> V {
        match self.0.get() {
            Some((generation, of, known)) if generation == GENERATION.get() && of == key => known,
            _ => {
                // Read before: a change that is noticed during the look-up makes its answer old.
                let generation = GENERATION.get();
                let found = look_up();
                self.0.set(Some((generation, key, found)));
                found
            }
        }
    }
}

/// To be called once, when the library is loaded.
pub fn register_invalidation_callbacks() {
    fn count() {
        GENERATION.set(GENERATION.get() + 1);
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
