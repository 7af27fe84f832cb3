//! What people call, by topic. Each function checks its arguments, says whose rights it works with, and leaves
//! the rules to the triggers.

mod access;
mod attach;
mod canonical;
mod change;
mod fast_path;
mod import;
mod privacy;
mod queries;
mod register;

use crate::customer::enforcement::ensure_rules_fired;
use crate::customer::profile::Profile;
use crate::postgres::statement::{Param, Statement, connected};
use crate::postgres::text::Text;
use crate::refusal::Refusal;
use crate::rules::{InputLimit, free_text};

/// Runs a statement that writes one customer and returns it by `profile_columns!`, under the rules. None where
/// it wrote nobody.
fn write(statement: &Statement, params: &[Param]) -> Option<Profile> {
    ensure_rules_fired(|| {
        let written = profile(statement, params);
        let wrote = written.is_some();
        (written, wrote)
    })
}

/// The customer that a statement returns by `profile_columns!`.
fn profile(statement: &Statement, params: &[Param]) -> Option<Profile> {
    connected(|context| {
        let mut profile = None;
        statement.run(params, |row| profile = Some(Profile::from_row(row, context)));
        profile
    })
}

/// The text of an argument, where one was given.
fn read<'a>(
    argument: &'static str,
    text: Option<Text<'a>>,
    limit: InputLimit,
) -> Result<Option<&'a str>, Refusal> {
    text.map(|text| text.read(argument, limit)).transpose()
}

/// The reason of a change, where one was given.
fn read_reason(reason: Option<Text<'_>>) -> Result<Option<&str>, Refusal> {
    let reason = read("reason", reason, free_text::INPUT_LIMIT)?;
    reason.map(free_text::check).transpose()?;
    Ok(reason)
}
