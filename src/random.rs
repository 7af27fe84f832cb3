//! Random identifiers.

use pgrx::{Uuid, pg_sys};
use std::cell::RefCell;

/// A random UUID (version 4). PostgreSQL's gen_random_uuid() asks for each one's 16 bytes; asking for
/// many at a time takes a fraction of that.
pub fn random_uuid() -> Uuid {
    const STOCK: usize = 64;
    thread_local! {
        static RANDOM: RefCell<Vec<[u8; 16]>> = const { RefCell::new(Vec::new()) };
    }
    RANDOM.with_borrow_mut(|stock| {
        if stock.is_empty() {
            stock.resize(STOCK, [0; 16]);
            // SAFETY: room for that many bytes.
            let strong = unsafe { pg_sys::pg_strong_random(stock.as_mut_ptr().cast(), STOCK * 16) };
            assert!(strong, "no random numbers to be had");
        }
        let mut bytes = stock.pop().expect("filled above");
        bytes[6] = bytes[6] & 0x0F | 0x40;
        bytes[8] = bytes[8] & 0x3F | 0x80;
        Uuid::from_bytes(bytes)
    })
}

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    #[pg_test]
    fn a_random_uuid_is_of_version_4_and_new() {
        let uuids: std::collections::BTreeSet<_> =
            (0..1000).map(|_| *super::random_uuid().as_bytes()).collect();
        assert_eq!(uuids.len(), 1000);
        assert!(uuids.iter().all(|uuid| uuid[6] >> 4 == 4 && uuid[8] >> 6 == 0b10));
    }
}
