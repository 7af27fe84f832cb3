//! Rust's allocator in a backend: a failed allocation ends the session, not the server.
//!
//! By default Rust calls abort(), upon which the postmaster ends every session of the cluster. FATAL exits
//! through proc_exit() instead: the transaction is rolled back, the client receives 53200, and no Rust
//! frame is jumped over.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// The system's allocator, which calls [`ON_FAILURE`] when an allocation fails.
struct Allocator;

/// The `fn() -> !` that a failed allocation calls. Null outside a backend (tests and examples link this
/// crate too), where Rust's default applies.
static ON_FAILURE: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// To be called once, when the library is loaded.
pub fn on_failure(end_session: fn() -> !) {
    ON_FAILURE.store(end_session as *mut (), Ordering::Relaxed);
}

/// Memory that is freed before an error is reported, so that the report can allocate. pgrx copies an error
/// before it takes its jump buffer off the stack: if the copy fails for lack of memory, copying that
/// failure fails too, until PostgreSQL PANICs. A memory context grows by a megabyte or more at a time.
const RESERVE: usize = 8 * 1024 * 1024;

/// The reserve; null while it is released. Its pages are never written, so it costs address space and no memory.
static RESERVED: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());

const RESERVE_LAYOUT: Layout = match Layout::from_size_align(RESERVE, 4096) {
    Ok(layout) => layout,
    Err(_) => panic!("a power of two"),
};

/// Allocates the reserve, before work that may run out of memory. Without effect where the allocation fails.
pub fn keep_reserve() {
    if RESERVED.load(Ordering::Relaxed).is_null() {
        // SAFETY: the layout has a size other than 0.
        RESERVED.store(unsafe { System.alloc(RESERVE_LAYOUT) }, Ordering::Relaxed);
    }
}

/// Frees the reserve. To be called before an error is reported.
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
            // SAFETY: on_failure() stores the only pointer other than null, that of a `fn() -> !`.
            let on_failure = unsafe { std::mem::transmute::<*mut (), fn() -> !>(on_failure) };
            on_failure();
        }
    }
    allocated
}

// SAFETY: every call is passed to the system's allocator, which keeps the contract; a result is returned
// unchanged, or on_failure() does not return.
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
