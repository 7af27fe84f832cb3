//! What the operation at hand may do, and why it is done. Functions of ours say so before they write; the
//! triggers ask before they refuse, and record the reason.

use pgrx::Uuid;
use std::cell::RefCell;

#[derive(Clone, Default)]
pub struct Operation {
    /// Whether old events may be deleted.
    pub prunes: bool,
    /// The customer who is to be forgotten, here and in the events.
    pub erases: Option<Uuid>,
    /// Whose events get which reason.
    pub reason: Option<(Uuid, String)>,
}

thread_local! {
    static OPERATION: RefCell<Operation> = RefCell::default();
}

/// Does the work of an operation, which ends with it, also where the work is refused. An operation may be begun
/// within another, by a trigger of the owner's.
pub fn during<T>(operation: Operation, work: impl FnOnce() -> T) -> T {
    struct Restore(Operation);
    impl Drop for Restore {
        fn drop(&mut self) {
            OPERATION.set(std::mem::take(&mut self.0));
        }
    }
    let _restore = Restore(OPERATION.replace(operation));
    work()
}

pub fn prunes() -> bool {
    OPERATION.with_borrow(|operation| operation.prunes)
}

pub fn erases_anybody() -> bool {
    OPERATION.with_borrow(|operation| operation.erases.is_some())
}

pub fn erases(customer_id: Uuid) -> bool {
    OPERATION.with_borrow(|operation| operation.erases == Some(customer_id))
}

pub fn reason() -> Option<(Uuid, String)> {
    OPERATION.with_borrow(|operation| operation.reason.clone())
}
