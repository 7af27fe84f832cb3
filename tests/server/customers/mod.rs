//! What functions and plain statements do to customers, and what they return.

mod canonical;
mod defaults;
mod double_encoding;
mod fast_path;
mod guarding;
mod import_conflicts;
mod importing;
mod locales;
mod moments;
mod patching;
mod racing;
pub mod reading;
mod registering;
mod row_locks;
mod status;
mod updating;
mod within_a_statement;
