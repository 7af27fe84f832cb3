//! What the current operation is permitted to do, and its reason. A function declares its operation before
//! it writes; the triggers ask before they refuse, and record the reason.

use pgrx::Uuid;
use pgrx::pg_sys::CommandId;
use std::cell::RefCell;
use std::collections::HashSet;

/// How customers are recorded whom no change has recorded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Republished {
    /// As registered, with the version they have.
    Registered,
    /// As updated in every field, with a new version.
    Updated,
}

/// An UPDATE that changes nothing, and is recorded all the same.
#[derive(Clone)]
pub struct Republishing {
    pub how: Republished,
    pub customers: HashSet<Uuid>,
    /// The UPDATE, known with its first row. What its triggers write is recorded as what it is.
    pub command: Option<CommandId>,
}

#[derive(Clone, Default)]
pub struct Operation {
    /// Whether old events may be deleted.
    pub prunes: bool,
    /// Whether events may be moved to other positions.
    pub begins_epoch: bool,
    /// The customer whose row and events may be redacted.
    pub erases: Option<Uuid>,
    pub republishes: Option<Republishing>,
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

/// How a command records a customer that it does not change; None if it does not.
pub fn republishes(customer_id: Option<Uuid>, command: CommandId) -> Option<Republished> {
    OPERATION.with_borrow_mut(|operation| {
        let republishing = operation.republishes.as_mut()?;
        let is_its = republishing.customers.contains(&customer_id?)
            && *republishing.command.get_or_insert(command) == command;
        is_its.then_some(republishing.how)
    })
}

pub fn reason() -> Option<(Uuid, String)> {
    OPERATION.with_borrow(|operation| operation.reason.clone())
}
