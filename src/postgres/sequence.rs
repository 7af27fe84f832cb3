//! A sequence's value, read and advanced without a privilege check: whoever may write customers need not have
//! a right to the sequences of the feed.

use super::ffi;
use super::relation::{NamedRelation, OpenRelation};
use pgrx::pg_sys;

/// An open relation that is a sequence, and so has one page with one row.
pub struct Sequence(OpenRelation);

impl Sequence {
    /// None if the relation of this name is none: its owner may have replaced it.
    pub fn open(relation: &NamedRelation, lock: u32) -> Option<Self> {
        let relation = relation.open(lock);
        relation.is_sequence().then_some(Self(relation))
    }

    pub fn oid(&self) -> pg_sys::Oid {
        self.0.oid()
    }

    /// The last value drawn by any transaction. A sequence that was restarted counts as drawn up to its next value.
    /// Follows read_seq_tuple of sequence.c.
    pub fn last_value(&self) -> i64 {
        // SAFETY: the relation is a sequence; `page_of` locks the page, so nobody changes it while it is copied.
        let state = unsafe {
            ffi::with_error_boundary(|| {
                let (buffer, state) = page_of(self.0.as_ptr(), pg_sys::BUFFER_LOCK_SHARE);
                let state = state.read();
                ffi::UnlockReleaseBuffer(buffer);
                state
            })
        };
        drawn(&state)
    }

    /// Advances it to a value, unless it is there or beyond. Unlike setval() it assigns no transaction id, so that
    /// a transaction which only reads stays one. Follows do_setval of sequence.c; logs the page as a whole.
    pub fn advance(&self, value: i64) {
        // SAFETY: the relation is a sequence. The page is locked exclusively, changed and logged in one critical
        // section, in which nothing raises; log_newpage_buffer logs a page of the standard layout.
        unsafe {
            ffi::with_error_boundary(|| {
                let (buffer, state) = page_of(self.0.as_ptr(), pg_sys::BUFFER_LOCK_EXCLUSIVE);
                if drawn(&*state) < value {
                    pg_sys::CritSectionCount += 1;
                    (*state).last_value = value;
                    (*state).is_called = true;
                    (*state).log_cnt = 0;
                    ffi::MarkBufferDirty(buffer);
                    ffi::log_newpage_buffer(buffer, true);
                    pg_sys::CritSectionCount -= 1;
                }
                ffi::UnlockReleaseBuffer(buffer);
            });
        }
    }
}

fn drawn(state: &pg_sys::FormData_pg_sequence_data) -> i64 {
    if state.is_called { state.last_value } else { state.last_value - 1 }
}

/// The only row of a sequence, which has one page, under a lock on its buffer.
///
/// # Safety
/// `relation` is an open sequence. To be called inside an error boundary; the caller releases the buffer.
unsafe fn page_of(
    relation: pg_sys::Relation,
    lock: u32,
) -> (pg_sys::Buffer, *mut pg_sys::FormData_pg_sequence_data) {
    // SAFETY: the caller guarantees a sequence, whose page has one row.
    unsafe {
        let buffer = ffi::ReadBuffer(relation, 0);
        ffi::LockBuffer(buffer, lock as i32);
        let page = pg_sys::BufferGetPage(buffer);
        let item = (*page.cast::<pg_sys::PageHeaderData>()).pd_linp.as_ptr();
        let row = page.add((*item).lp_off() as usize);
        let header = (*row.cast::<pg_sys::HeapTupleHeaderData>()).t_hoff;
        (buffer, row.add(header.into()).cast())
    }
}
