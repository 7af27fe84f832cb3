//! What the current operation is permitted to do, and its reason. A function declares its operation before
//! it writes; the triggers ask before they refuse, and record the reason.

use pgrx::Uuid;
use std::cell::RefCell;

/// How customers are recorded whom no change has recorded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Republished {
    /// As registered, with the version they have.
    Registered,
    /// As updated in every field, with a new version.
    Updated,
}

#[derive(Clone, Default)]
pub struct Operation {
    /// Whether old events may be deleted.
    pub prunes: bool,
    /// Whether events may be moved to other positions.
    pub begins_epoch: bool,
    /// The customer whose row and events may be redacted.
    pub erases: Option<Uuid>,
    /// Whether an UPDATE that changes nothing is recorded, and how.
    pub republishes: Option<Republished>,
    /// The customer whose events get the reason, and the reason.
    pub reason: Option<(Uuid, String)>,
}

thread_local! {
    static OPERATION: RefCell<Operation> = RefCell::default();
}

/// Runs `work` as an operation, which ends with it, also if it raises. Operations nest: a trigger added to
/// the tables may call a function that begins one.
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

pub fn begins_epoch() -> bool {
    OPERATION.with_borrow(|operation| operation.begins_epoch)
}

pub fn erases_anybody() -> bool {
    OPERATION.with_borrow(|operation| operation.erases.is_some())
}

pub fn erases(customer_id: Uuid) -> bool {
    OPERATION.with_borrow(|operation| operation.erases == Some(customer_id))
}

pub fn republishes() -> Option<Republished> {
    OPERATION.with_borrow(|operation| operation.republishes)
}

pub fn reason() -> Option<(Uuid, String)> {
    OPERATION.with_borrow(|operation| operation.reason.clone())
}
