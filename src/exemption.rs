//! What our own functions may do and nobody else may. The triggers ask here before they refuse.

use pgrx::Uuid;
use std::cell::Cell;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Deleting old events.
    Pruning,
    /// Making a customer and its events forget the person.
    Erasing(Uuid),
}

thread_local! {
    static AT_WORK: Cell<Option<Work>> = const { Cell::new(None) };
}

pub fn at_work() -> Option<Work> {
    AT_WORK.get()
}

pub fn is_erasing(customer_id: Uuid) -> bool {
    at_work() == Some(Work::Erasing(customer_id))
}

/// Does the work, and ends the exemption with it, also where the work is refused.
pub fn during<T>(work: Work, act: impl FnOnce() -> T) -> T {
    struct Restore(Option<Work>);
    impl Drop for Restore {
        fn drop(&mut self) {
            AT_WORK.set(self.0);
        }
    }
    let _restore = Restore(AT_WORK.replace(Some(work)));
    act()
}
