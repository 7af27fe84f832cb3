//! The SQL functions, by topic. Each checks its arguments, chooses whose rights it works with, and leaves
//! the rules to the triggers.

mod access;
mod attach;
mod canonical;
mod change;
mod fast_path;
mod import;
mod metrics;
mod privacy;
mod queries;
mod record_missing;
mod register;
mod verify;

use crate::customer::enforcement::ensure_rules_fired;
use crate::customer::profile::Profile;
use crate::postgres::statement::{Statement, connected};
use crate::postgres::text::Text;
use crate::postgres::typed_datum::TypedDatum;
use crate::refusal::Refusal;
use crate::rules::{InputLimit, free_text};

/// Runs a statement that writes one customer and returns `profile_columns!`, and refuses if the triggers
/// did not fire. None if it wrote no row.
fn write(statement: &Statement, params: &[TypedDatum]) -> Option<Profile> {
    ensure_rules_fired(|| {
        let written = profile(statement, params);
        let wrote = written.is_some();
        (written, wrote)
    })
}

/// The customer in the row that a statement returns as `profile_columns!`.
fn profile(statement: &Statement, params: &[TypedDatum]) -> Option<Profile> {
    connected(|context| {
        let mut profile = None;
        statement.run(params, |row| profile = Some(Profile::from_row(row, context)));
        profile
    })
}

/// The text of an optional argument.
fn read<'a>(
    argument: &'static str,
    text: Option<Text<'a>>,
    limit: InputLimit,
) -> Result<Option<&'a str>, Refusal> {
    text.map(|text| text.read(argument, limit)).transpose()
}

/// The checked reason of a change; None if none was given.
fn read_reason(reason: Option<Text<'_>>) -> Result<Option<&str>, Refusal> {
    let reason = read("reason", reason, free_text::INPUT_LIMIT)?;
    reason.map(free_text::check).transpose()?;
    Ok(reason)
}
