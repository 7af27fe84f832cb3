//! Who may do what, and with whose rights functions run.

mod callers_rights;
mod duties;
mod owners_rights;
mod quoting;
mod shadowing;
mod strangers;
