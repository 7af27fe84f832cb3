//! What writers and notification workers share in memory: a slot for each worker, which says whose database it
//! serves, how far it has sent, and how to wake it.

use pgrx::prelude::*;
use pgrx::{AssertPGRXSharedMemory, PgAtomic, pg_shmem_init};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicPtr, AtomicU32, Ordering};

/// So many databases can have a worker in one cluster.
pub const SLOTS: usize = 64;

static ALL: PgAtomic<AssertPGRXSharedMemory<[Slot; SLOTS]>> =
    // SAFETY: no other extension takes a name that begins with ours.
    unsafe { PgAtomic::new(c"customer_db notification workers") };

/// Whether this server was started with the library, so that there is such memory.
static RESERVED: AtomicBool = AtomicBool::new(false);

/// One worker's. It outlives the worker, so that the next one goes on where that stopped.
pub struct Slot {
    /// The database's OID; 0 where none has been served.
    database: AtomicU32,
    /// The worker's latch; null while no worker runs.
    latch: AtomicPtr<pg_sys::Latch>,
    /// The sequence whose positions `sent` is one of.
    sequence: AtomicU32,
    /// Up to here notifications have been sent.
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

    /// Up to where notifications have been sent for this sequence; None where it is another's.
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

    /// From now on writers leave their notifications to the worker at work.
    pub fn open(&self) {
        // SAFETY: the latch in this process's place of the shared array of processes.
        self.latch.store(unsafe { pg_sys::MyLatch }, Ordering::Release);
    }

    /// From now on they send them themselves.
    pub fn close(&self) {
        self.latch.store(ptr::null_mut(), Ordering::Release);
    }
}

/// Asks for the shared memory, while the server starts.
pub fn reserve() {
    pg_shmem_init!(
        ALL = unsafe {
            // SAFETY: atomics may be shared, and the latch that one points to is in shared memory itself.
            AssertPGRXSharedMemory::new([const { Slot::new() }; SLOTS])
        }
    );
    RESERVED.store(true, Ordering::Relaxed);
}

/// Whether a worker sends the notifications of this sequence's events: not before it has noticed that the
/// tables were made anew.
pub fn has_worker(sequence: pg_sys::Oid) -> bool {
    my_slots().any(|slot| slot.latch().is_some() && slot.sent(sequence).is_some())
}

/// Has it look into the feed. Cannot fail: it is called when a commit has gone too far for that.
pub fn wake_worker() {
    if let Some(latch) = my_slots().find_map(Slot::latch) {
        // SAFETY: latches of the array of processes stay where they are as long as the server runs. Should
        // the worker be gone, whoever has its place is woken once in vain.
        unsafe { pg_sys::SetLatch(latch) }
    }
}

/// The slots that served this database last.
fn my_slots() -> impl Iterator<Item = &'static Slot> {
    let slots = if RESERVED.load(Ordering::Relaxed) { &ALL.get()[..] } else { &[] };
    slots.iter().filter(|slot| slot.database.load(Ordering::Acquire) == my_database())
}

fn my_database() -> u32 {
    // SAFETY: a variable of this backend that never changes.
    unsafe { pg_sys::MyDatabaseId }.to_u32()
}
