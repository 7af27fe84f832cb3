//! Whether the rules are in force. Between CREATE EXTENSION and attach(), or with triggers disabled, a
//! statement would write past them; so our triggers testify, and a command that they have not seen is
//! refused.

use crate::errors::Refusal;
use std::cell::Cell;

thread_local! {
    /// How many rows have been guarded, and how many statements recorded, in this session.
    static SEEN: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

pub fn guarded() {
    let (rows, statements) = SEEN.get();
    SEEN.set((rows + 1, statements));
}

pub fn recorded() {
    let (rows, statements) = SEEN.get();
    SEEN.set((rows, statements + 1));
}

/// Runs a statement that writes customers and says whether it wrote any.
pub fn witnessed(statement: impl FnOnce() -> bool) {
    let (rows, statements) = SEEN.get();
    let wrote = statement();
    let seen = SEEN.get();
    if wrote && (seen.0 == rows || seen.1 == statements) {
        Refusal::NotAttached.raise();
    }
}
