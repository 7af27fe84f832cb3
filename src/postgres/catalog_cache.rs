//! Catalogue caches: facts derived from the system catalogues, valid until PostgreSQL reports by an
//! invalidation callback that a relation or schema may have changed. PostgreSQL processes invalidations
//! within any call that takes a lock or looks into the catalogues, so an entry can become invalid in the
//! middle of a function.

use pgrx::prelude::*;
use std::cell::Cell;

thread_local! {
    /// Incremented for each invalidation of a relation or a schema.
    static GENERATION: Cell<u64> = const { Cell::new(1) };
}

/// Equal to an earlier result only if no definition may have changed in between.
pub fn generation() -> u64 {
    GENERATION.get()
}

/// The last value, with its key and the generation it was computed in. One entry: a cache that is used with
/// two keys in turn computes every time.
pub struct CatalogCache<K, V>(Cell<Option<(u64, K, V)>>);

impl<K: Copy + PartialEq, V: Copy> CatalogCache<K, V> {
    pub const fn new() -> Self {
        Self(Cell::new(None))
    }

    /// The cached value for `key`, or that of `look_up`, which is then cached.
    pub fn get(&self, key: K, look_up: impl FnOnce() -> V) -> V {
        match self.0.get() {
            Some((generation, of, known)) if generation == GENERATION.get() && of == key => known,
            _ => {
                // Read before the look-up: an invalidation during it makes its result obsolete.
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
