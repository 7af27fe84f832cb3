//! Random UUIDs.

use pgrx::{Uuid, pg_sys};
use std::cell::{Cell, RefCell};

/// A random UUID (version 4). PostgreSQL's gen_random_uuid() requests 16 random bytes for each; requesting
/// many at a time costs a fraction per UUID.
pub fn random_uuid() -> Uuid {
    const STOCK: usize = 64;
    thread_local! {
        static RANDOM: RefCell<Vec<[u8; 16]>> = const { RefCell::new(Vec::new()) };
    }
    RANDOM.with_borrow_mut(|stock| {
        if stock.is_empty() {
            stock.resize(STOCK, [0; 16]);
            // SAFETY: `stock` has room for STOCK * 16 bytes.
            let strong = unsafe { pg_sys::pg_strong_random(stock.as_mut_ptr().cast(), STOCK * 16) };
            assert!(strong, "no random numbers to be had");
        }
        let mut bytes = stock.pop().expect("filled above");
        bytes[6] = bytes[6] & 0x0F | 0x40;
        bytes[8] = bytes[8] & 0x3F | 0x80;
        Uuid::from_bytes(bytes)
    })
}

/// A random UUID (version 4) for a key. Its first 48 bits are drawn once per session for 128 keys, so that
/// these lie on the same few index pages instead of one page each. The other 74 random bits make it
/// unguessable, and unlike version 7 it does not disclose when it was drawn.
pub fn random_key() -> Uuid {
    const NEIGHBOURS: u32 = 128;
    thread_local! {
        static NEIGHBOURHOOD: Cell<([u8; 6], u32)> = const { Cell::new(([0; 6], 0)) };
    }
    let mut bytes = *random_uuid().as_bytes();
    let (mut neighbourhood, mut left) = NEIGHBOURHOOD.get();
    if left == 0 {
        neighbourhood.copy_from_slice(&bytes[..6]);
        left = NEIGHBOURS;
    }
    bytes[..6].copy_from_slice(&neighbourhood);
    NEIGHBOURHOOD.set((neighbourhood, left - 1));
    Uuid::from_bytes(bytes)
}

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use super::*;
    use pgrx::prelude::*;
    use std::collections::BTreeSet;

    #[pg_test]
    fn a_random_uuid_is_of_version_4_and_new() {
        for draw in [random_uuid, random_key] {
            let uuids: BTreeSet<_> = (0..1000).map(|_| *draw().as_bytes()).collect();
            assert_eq!(uuids.len(), 1000);
            assert!(uuids.iter().all(|uuid| uuid[6] >> 4 == 4 && uuid[8] >> 6 == 0b10));
        }
    }

    #[pg_test]
    fn the_ids_of_a_session_are_neighbours_and_cannot_be_guessed() {
        let ids: BTreeSet<_> = (0..1280).map(|_| *random_key().as_bytes()).collect();
        let places: BTreeSet<_> = ids.iter().map(|id| &id[..6]).collect();
        let ends: BTreeSet<_> = ids.iter().map(|id| &id[6..]).collect();
        assert_eq!((places.len(), ends.len()), (10, 1280));
    }
}
