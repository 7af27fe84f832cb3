//! Rust's allocator in a backend: a failed allocation ends the session, not the server.
//!
//! Rust's own answer to it is abort(), which makes the postmaster restart every session of the cluster.
//! FATAL leaves through proc_exit(): the transaction is rolled back, the client is told (53200), and no Rust
//! frame is jumped over.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// The system's allocator, with [`ON_FAILURE`].
struct Allocator;

/// What is called when no memory is to be had, a `fn() -> !`; null outside a backend, where Rust's own answer
/// applies: tests and examples link this crate as well.
static ON_FAILURE: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// To be called once, when the library is loaded.
pub fn on_failure(end_session: fn() -> !) {
    ON_FAILURE.store(end_session as *mut (), Ordering::Relaxed);
}

/// What reporting an error may need where nothing else is left. pgrx copies an error before it takes its jump
/// buffer off the stack: where that copy fails for want of memory, the copy of that error fails again, until
/// PostgreSQL ends the cluster. A memory context that grows asks for a megabyte or more at a time.
const RESERVE: usize = 8 * 1024 * 1024;

/// Address space that nobody has written to: it costs no memory. Null while it is given away.
static RESERVED: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());

const RESERVE_LAYOUT: Layout = match Layout::from_size_align(RESERVE, 4096) {
    Ok(layout) => layout,
    Err(_) => panic!("a power of two"),
};

/// To be called before work that may run out of memory. Does without where none is to be had.
pub fn keep_reserve() {
    if RESERVED.load(Ordering::Relaxed).is_null() {
        // SAFETY: the layout is not of size 0.
        RESERVED.store(unsafe { System.alloc(RESERVE_LAYOUT) }, Ordering::Relaxed);
    }
}

/// To be called when an error is about to be reported.
pub fn release_reserve() {
    let reserve = RESERVED.swap(ptr::null_mut(), Ordering::Relaxed);
    if !reserve.is_null() {
        // SAFETY: allocated in keep_reserve() with this layout.
        unsafe { System.dealloc(reserve, RESERVE_LAYOUT) }
    }
}

fn checked(allocated: *mut u8) -> *mut u8 {
    if allocated.is_null() {
        let on_failure = ON_FAILURE.load(Ordering::Relaxed);
        if !on_failure.is_null() {
            release_reserve();
            // SAFETY: the only pointer ever stored is that of a `fn() -> !`.
            let on_failure = unsafe { std::mem::transmute::<*mut (), fn() -> !>(on_failure) };
            on_failure();
        }
    }
    allocated
}

// SAFETY: the system's allocator does the work; what it returns is passed on as it is, or nothing returns.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of GlobalAlloc.
        checked(unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        checked(unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: as above.
        checked(unsafe { System.realloc(block, layout, new_size) })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}
