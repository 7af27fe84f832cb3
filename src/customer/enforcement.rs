//! Enforcement: evidence that the rules were applied to every row written, and that events are recorded in order.
//!
//! Between CREATE EXTENSION and attach(), or with triggers disabled, a statement would bypass the rules. So
//! the triggers count their calls, and a function that wrote without being counted refuses. They also keep
//! the commands whose rows are not recorded yet: if another command changed such a row, its change would be
//! recorded before the first.

use crate::postgres::trigger::Trigger;
use crate::refusal::Refusal;
use pgrx::pg_sys::CommandId;
use std::cell::{Cell, RefCell};
use std::ffi::c_void;

/// How often the triggers have fired in this session.
#[derive(Clone, Copy)]
struct Seen {
    rows_guarded: u64,
    statements_recorded: u64,
}

thread_local! {
    static SEEN: Cell<Seen> = const { Cell::new(Seen { rows_guarded: 0, statements_recorded: 0 }) };
    /// The commands of this transaction whose rows were guarded and are not recorded yet, in ascending
    /// order: a statement within another has a higher command id.
    static UNRECORDED: RefCell<Vec<CommandId>> = const { RefCell::new(Vec::new()) };
}

/// To be called for each row that the guard accepts, with the command that writes it.
pub fn guarded(trigger: &Trigger, command: CommandId) {
    unsafe extern "C-unwind" fn end(command: *mut c_void) {
        recorded_command(command as usize as CommandId);
    }
    let seen = SEEN.get();
    SEEN.set(Seen { rows_guarded: seen.rows_guarded + 1, ..seen });
    let is_new = UNRECORDED.with_borrow_mut(|commands| {
        let is_new = commands.last() != Some(&command);
        if is_new {
            commands.retain(|earlier| *earlier < command);
            commands.push(command);
        }
        is_new
    });
    if is_new {
        // For a statement whose rows are never recorded: once it has ended, it cannot be recorded out of order.
        trigger.at_end_of_statement(end, command as usize);
    }
}

/// To be called once the events of a command's rows are written.
pub fn recorded(command: CommandId) {
    let seen = SEEN.get();
    SEEN.set(Seen { statements_recorded: seen.statements_recorded + 1, ..seen });
    recorded_command(command);
}

fn recorded_command(command: CommandId) {
    UNRECORDED.with_borrow_mut(|commands| commands.retain(|earlier| *earlier != command));
}

/// Whether a row written by this command is not recorded yet.
pub fn is_unrecorded(command: CommandId) -> bool {
    UNRECORDED.with_borrow(|commands| commands.binary_search(&command).is_ok())
}

/// To be called when a transaction has ended: the next one numbers its commands from the beginning.
pub fn end_transaction() {
    UNRECORDED.with_borrow_mut(Vec::clear);
}

/// Runs a statement that writes customers and returns whether it wrote any; refuses if it did and the guard or
/// the recording trigger did not fire.
pub fn ensure_rules_fired<T>(statement: impl FnOnce() -> (T, bool)) -> T {
    let before = SEEN.get();
    let (result, wrote) = statement();
    let after = SEEN.get();
    if wrote
        && (after.rows_guarded == before.rows_guarded
            || after.statements_recorded == before.statements_recorded)
    {
        Refusal::NotAttached.raise();
    }
    result
}
