//! Catalogue caches: what was found out about definitions, kept until they may have changed. PostgreSQL says when, by
//! invalidation callbacks.
//!
//! Every CREATE TEMP TABLE of any session invalidates something, so a cache counts the changes of the relations that
//! were looked up here. What was sought and not found, and what depends on other relations, counts every change.

use pgrx::prelude::*;
use std::cell::{Cell, RefCell};

thread_local! {
    /// How many times the definition of a watched relation, or a schema, may have changed.
    static WATCHED_CHANGES: Cell<u64> = const { Cell::new(1) };
    /// How many times the definition of any relation may have changed.
    static CHANGES: Cell<u64> = const { Cell::new(1) };
    /// The relations that were looked up: a few dozen, even where they are dropped and created again and again.
    static WATCHED: RefCell<Vec<pg_sys::Oid>> = const { RefCell::new(Vec::new()) };
}

/// Differs from an earlier one when the definition of a watched relation may have changed since.
pub fn generation() -> u64 {
    WATCHED_CHANGES.get()
}

/// Differs from an earlier one when the definition of any relation may have changed since.
pub fn any_generation() -> u64 {
    CHANGES.get()
}

/// Has the changes of a relation counted by [`generation`].
pub fn watch(relation: pg_sys::Oid) {
    const MOST: usize = 64;
    WATCHED.with_borrow_mut(|watched| {
        if !watched.contains(&relation) {
            if watched.len() == MOST {
                watched.clear();
                WATCHED_CHANGES.set(WATCHED_CHANGES.get() + 1);
            }
            watched.push(relation);
        }
    });
}

/// The last value, with its key and the generation it was computed in. One entry: a cache that is used with
/// two keys in turn computes every time.
pub struct CatalogCache<K, V>(Cell<Option<(u64, K, V)>>);

impl<K: Copy + PartialEq, V: Copy> CatalogCache<K, V> {
    pub const fn new() -> Self {
        Self(Cell::new(None))
    }

    /// What is known for `key`, or what `look_up` finds: about relations that are watched.
    pub fn get(&self, key: K, look_up: impl FnOnce() -> V) -> V {
        self.get_within(generation, key, look_up)
    }

    /// The same for what depends on relations that are not watched.
    pub fn get_of_any(&self, key: K, look_up: impl FnOnce() -> V) -> V {
        self.get_within(any_generation, key, look_up)
    }

    fn get_within(&self, generation: fn() -> u64, key: K, look_up: impl FnOnce() -> V) -> V {
        // Read before the look-up: a change that is noticed meanwhile makes its answer old.
        let now = generation();
        match self.0.get() {
            Some((then, of, known)) if then == now && of == key => known,
            _ => {
                let found = look_up();
                self.0.set(Some((now, key, found)));
                found
            }
        }
    }
}

/// To be called once, when the library is loaded.
pub fn register_invalidation_callbacks() {
    fn count(counter: &'static std::thread::LocalKey<Cell<u64>>) {
        counter.set(counter.get() + 1);
    }
    #[pg_guard]
    unsafe extern "C-unwind" fn relation_changed(_argument: pg_sys::Datum, relation: pg_sys::Oid) {
        count(&CHANGES);
        // InvalidOid stands for all relations. Borrowed only where the session ends for want of memory.
        let counts = relation == pg_sys::InvalidOid
            || WATCHED.with(|all| all.try_borrow().is_ok_and(|all| all.contains(&relation)));
        if counts {
            count(&WATCHED_CHANGES);
        }
    }
    #[pg_guard]
    unsafe extern "C-unwind" fn schema_changed(_argument: pg_sys::Datum, _cache: i32, _hash: u32) {
        count(&CHANGES);
        count(&WATCHED_CHANGES);
    }
    let nothing = pg_sys::Datum::null();
    let schemas = pg_sys::SysCacheIdentifier::NAMESPACEOID as i32;
    // SAFETY: the callbacks live as long as the library, which is never unloaded.
    unsafe {
        pg_sys::CacheRegisterRelcacheCallback(Some(relation_changed), nothing);
        pg_sys::CacheRegisterSyscacheCallback(schemas, Some(schema_changed), nothing);
    }
}
