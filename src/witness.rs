//! Whether the rules are in force. Between CREATE EXTENSION and attach(), or with triggers disabled, a
//! statement would write past them; so our triggers testify, and a command that they have not seen is
//! refused.

use crate::errors::Refusal;
use pgrx::pg_sys::{InvalidOid, Oid};
use std::cell::Cell;

/// What has been seen in this session.
#[derive(Clone, Copy)]
struct Seen {
    rows_guarded: u64,
    statements_recorded: u64,
    /// The functions that see to a registration.
    guard: Oid,
    recorder: Oid,
}

thread_local! {
    static SEEN: Cell<Seen> = const {
        Cell::new(Seen {
            rows_guarded: 0,
            statements_recorded: 0,
            guard: InvalidOid,
            recorder: InvalidOid,
        })
    };
}

pub fn guarded(guard: Oid) {
    let seen = SEEN.get();
    SEEN.set(Seen { rows_guarded: seen.rows_guarded + 1, guard, ..seen });
}

/// By the function that records registrations, or by another.
pub fn recorded(recorder: Option<Oid>) {
    let seen = SEEN.get();
    let recorder = recorder.unwrap_or(seen.recorder);
    SEEN.set(Seen { statements_recorded: seen.statements_recorded + 1, recorder, ..seen });
}

/// The trigger functions that see to a registration, guard and recorder, as far as they have been seen.
pub fn functions() -> [Oid; 2] {
    let seen = SEEN.get();
    [seen.guard, seen.recorder]
}

/// Runs a statement that writes customers and says whether it wrote any.
pub fn witnessed(statement: impl FnOnce() -> bool) {
    let before = SEEN.get();
    let wrote = statement();
    let after = SEEN.get();
    if wrote
        && (after.rows_guarded == before.rows_guarded
            || after.statements_recorded == before.statements_recorded)
    {
        Refusal::NotAttached.raise();
    }
}
