//! Shared memory of writers and notification workers: one slot for each worker, with its database, the
//! position up to which it has sent, and its latch.

use pgrx::prelude::*;
use pgrx::{AssertPGRXSharedMemory, PgAtomic, pg_shmem_init};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicPtr, AtomicU32, Ordering};

/// The most databases of a cluster that can have a worker.
pub const SLOTS: usize = 64;

static ALL: PgAtomic<AssertPGRXSharedMemory<[Slot; SLOTS]>> =
    // SAFETY: the name begins with this extension's, so no other extension uses it.
    unsafe { PgAtomic::new(c"customer_db notification workers") };

/// Whether the library was preloaded, so that the shared memory exists.
static RESERVED: AtomicBool = AtomicBool::new(false);

/// The slot of one worker. It outlives the worker, so that the next one continues at its position.
pub struct Slot {
    /// The database's OID; 0 before the first.
    database: AtomicU32,
    /// The worker's latch; null while no worker runs.
    latch: AtomicPtr<pg_sys::Latch>,
    /// The sequence that `sent` was drawn from.
    sequence: AtomicU32,
    /// The position up to which notifications have been sent.
    sent: AtomicI64,
}

impl Slot {
    const fn new() -> Self {
        Self {
            database: AtomicU32::new(0),
            latch: AtomicPtr::new(ptr::null_mut()),
            sequence: AtomicU32::new(0),
            sent: AtomicI64::new(0),
        }
    }

    pub fn of_worker(number: usize) -> &'static Self {
        &ALL.get()[number]
    }

    /// The position up to which notifications have been sent; None if the slot is of another sequence.
    pub fn sent(&self, sequence: pg_sys::Oid) -> Option<i64> {
        (self.database.load(Ordering::Acquire) == my_database()
            && self.sequence.load(Ordering::Acquire) == sequence.to_u32())
        .then(|| self.sent.load(Ordering::Acquire))
    }

    pub fn set_sent(&self, sequence: pg_sys::Oid, position: i64) {
        self.database.store(my_database(), Ordering::Release);
        self.sequence.store(sequence.to_u32(), Ordering::Release);
        self.sent.store(position, Ordering::Release);
    }

    fn latch(&self) -> Option<*mut pg_sys::Latch> {
        Some(self.latch.load(Ordering::Acquire)).filter(|latch| !latch.is_null())
    }

    /// From now on writers leave their notifications to this worker.
    pub fn open(&self) {
        // SAFETY: MyLatch points into the shared array of processes.
        self.latch.store(unsafe { pg_sys::MyLatch }, Ordering::Release);
    }

    /// From now on writers send their notifications themselves.
    pub fn close(&self) {
        self.latch.store(ptr::null_mut(), Ordering::Release);
    }
}

/// Requests the shared memory, when the server starts.
pub fn reserve() {
    pg_shmem_init!(
        ALL = unsafe {
            // SAFETY: the slots consist of atomics, and the latches they point to are in shared memory.
            AssertPGRXSharedMemory::new([const { Slot::new() }; SLOTS])
        }
    );
    RESERVED.store(true, Ordering::Relaxed);
}

/// Whether a worker sends the notifications of this sequence's events. False until it has noticed that the
/// tables were created anew.
pub fn has_worker(sequence: pg_sys::Oid) -> bool {
    sent_by_worker(sequence).is_some()
}

/// The position up to which the worker that runs has sent; None if none does.
pub fn sent_by_worker(sequence: pg_sys::Oid) -> Option<i64> {
    my_slots().filter(|slot| slot.latch().is_some()).find_map(|slot| slot.sent(sequence))
}

/// Wakes the worker. Must not fail: called when a commit cannot be undone any more.
pub fn wake_worker() {
    if let Some(latch) = my_slots().find_map(Slot::latch) {
        // SAFETY: the latches in the array of processes stay in place as long as the server runs. If the
        // worker has ended, the process that reuses its entry is woken once for nothing.
        unsafe { pg_sys::SetLatch(latch) }
    }
}

/// The slots that last served this database.
fn my_slots() -> impl Iterator<Item = &'static Slot> {
    let slots = if RESERVED.load(Ordering::Relaxed) { &ALL.get()[..] } else { &[] };
    slots.iter().filter(|slot| slot.database.load(Ordering::Acquire) == my_database())
}

fn my_database() -> u32 {
    // SAFETY: set once, when the backend starts.
    unsafe { pg_sys::MyDatabaseId }.to_u32()
}
