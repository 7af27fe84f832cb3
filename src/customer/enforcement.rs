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
    /// The commands of this transaction, and whether they insert or update, whose rows have been guarded and are
    /// not recorded yet. In ascending order: a statement that runs within another has a higher command id.
    static UNRECORDED: RefCell<Vec<(CommandId, Kind)>> = const { RefCell::new(Vec::new()) };
}

/// Insertions and updates of one command are recorded by two triggers, one after the other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Insert,
    Update,
}

/// To be called for each row that the guard lets pass, with the command that writes it.
pub fn guarded(trigger: &Trigger, command: CommandId, kind: Kind) {
    unsafe extern "C-unwind" fn end(command: *mut c_void) {
        with_unrecorded(|commands| {
            commands.retain(|(earlier, _)| *earlier != command as usize as CommandId);
        });
    }
    let seen = SEEN.get();
    SEEN.set(Seen { rows_guarded: seen.rows_guarded + 1, ..seen });
    let is_known = with_unrecorded(|commands| {
        commands.retain(|(earlier, _)| *earlier <= command);
        let is_known = commands.contains(&(command, kind));
        if !is_known {
            commands.push((command, kind));
        }
        is_known
    });
    if is_known == Some(false) {
        // Where nothing records, nothing is out of order either, once the statement has ended.
        trigger.at_end_of_statement(end, command as usize);
    }
}

/// Not where they are borrowed: a session that ends for want of memory comes here from within.
fn with_unrecorded<T>(work: impl FnOnce(&mut Vec<(CommandId, Kind)>) -> T) -> Option<T> {
    UNRECORDED
        .with(|commands| commands.try_borrow_mut().ok().map(|mut commands| work(&mut commands)))
}

/// To be called when the events of a command's rows have been written.
pub fn recorded(command: CommandId, kind: Kind) {
    let seen = SEEN.get();
    SEEN.set(Seen { statements_recorded: seen.statements_recorded + 1, ..seen });
    with_unrecorded(|commands| commands.retain(|unrecorded| *unrecorded != (command, kind)));
}

/// Whether a row written by this command is not recorded yet.
pub fn is_unrecorded(command: CommandId) -> bool {
    with_unrecorded(|commands| commands.iter().any(|(unrecorded, _)| *unrecorded == command))
        == Some(true)
}

/// To be called when a transaction has ended: the next one numbers its commands from the beginning.
pub fn end_transaction() {
    with_unrecorded(Vec::clear);
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
