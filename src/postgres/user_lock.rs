//! User locks: heavyweight locks of a kind that no SQL function takes or releases. Held to the end of the
//! transaction, and by a prepared transaction until it is committed or rolled back; `pg_locks` shows them as
//! `userlock`.

use pgrx::pg_sys;

/// The number of bits of a key, which fits into a JSON number.
pub const KEY_BITS: u32 = 53;
/// The number of bits of a key that do not fit into the third field of a lock's tag.
const HIGH_KEY_BITS: u32 = KEY_BITS - 32;

#[derive(Clone, Copy)]
pub enum Mode {
    Share,
    Exclusive,
}

impl Mode {
    fn lock_mode(self) -> pg_sys::LOCKMODE {
        match self {
            Self::Share => pg_sys::ShareLock as pg_sys::LOCKMODE,
            Self::Exclusive => pg_sys::ExclusiveLock as pg_sys::LOCKMODE,
        }
    }
}

/// Locks of one purpose in this database. 11 bits distinguish it from others, those of other extensions too.
#[derive(Clone, Copy)]
pub struct Class(pub u32);

/// A lock that the current transaction holds, until release() or its end.
pub struct UserLock {
    tag: pg_sys::LOCKTAG,
    mode: Mode,
}

impl Class {
    /// Takes the lock with a key of at most [`KEY_BITS`] bits; locks with another `part` do not conflict.
    pub fn lock(self, key: i64, part: u16, mode: Mode) -> UserLock {
        let lock = UserLock { tag: self.tag(key, part), mode };
        lock.acquire(false);
        lock
    }

    /// The same without waiting; None if another transaction holds it.
    pub fn try_lock(self, key: i64, part: u16, mode: Mode) -> Option<UserLock> {
        let lock = UserLock { tag: self.tag(key, part), mode };
        lock.acquire(true).then_some(lock)
    }

    /// The lowest key that any transaction holds.
    pub fn lowest_key(self) -> Option<i64> {
        // SAFETY: GetLockStatusData returns a palloc'ed copy of the lock table, with `nelements` entries.
        let locks = unsafe {
            let data = &*pg_sys::GetLockStatusData();
            std::slice::from_raw_parts(data.locks, data.nelements as usize)
        };
        locks
            .iter()
            .filter(|lock| lock.holdMask != 0 && self.contains(&lock.locktag))
            .map(|lock| key_of(&lock.locktag))
            .min()
    }

    fn tag(self, key: i64, part: u16) -> pg_sys::LOCKTAG {
        pg_sys::LOCKTAG {
            // SAFETY: set once, when the backend starts.
            locktag_field1: unsafe { pg_sys::MyDatabaseId }.to_u32(),
            locktag_field2: self.0 << HIGH_KEY_BITS | (key >> 32) as u32,
            locktag_field3: key as u32,
            locktag_field4: part,
            locktag_type: pg_sys::LockTagType::LOCKTAG_USERLOCK as u8,
            locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
        }
    }

    fn contains(self, tag: &pg_sys::LOCKTAG) -> bool {
        let ours = self.tag(0, 0);
        tag.locktag_type == ours.locktag_type
            && tag.locktag_lockmethodid == ours.locktag_lockmethodid
            && tag.locktag_field1 == ours.locktag_field1
            && tag.locktag_field2 >> HIGH_KEY_BITS == self.0
    }
}

impl UserLock {
    pub fn key(&self) -> i64 {
        key_of(&self.tag)
    }

    /// Takes it for the transaction and not for a savepoint, whose rollback would release it. Returns false
    /// if it is not available and `no_wait` is set.
    fn acquire(&self, no_wait: bool) -> bool {
        // SAFETY: TopTransactionResourceOwner exists in a transaction. If LockAcquire raises, the abort sets
        // CurrentResourceOwner.
        let result = unsafe {
            let owner = pg_sys::CurrentResourceOwner;
            pg_sys::CurrentResourceOwner = pg_sys::TopTransactionResourceOwner;
            let result = pg_sys::LockAcquire(&self.tag, self.mode.lock_mode(), false, no_wait);
            pg_sys::CurrentResourceOwner = owner;
            result
        };
        result != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
    }

    /// Releases it before the transaction ends.
    pub fn release(self) {
        // SAFETY: the lock was taken with TopTransactionResourceOwner, which lives until the transaction's
        // locks are released.
        unsafe {
            let owner = pg_sys::CurrentResourceOwner;
            pg_sys::CurrentResourceOwner = pg_sys::TopTransactionResourceOwner;
            pg_sys::LockRelease(&self.tag, self.mode.lock_mode(), false);
            pg_sys::CurrentResourceOwner = owner;
        }
    }
}

fn key_of(tag: &pg_sys::LOCKTAG) -> i64 {
    let high = tag.locktag_field2 & ((1 << HIGH_KEY_BITS) - 1);
    i64::from(high) << 32 | i64::from(tag.locktag_field3)
}
