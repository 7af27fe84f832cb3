//! Who may do what, and with whose rights it is done.

mod callers_rights;
mod duties;
mod owners_rights;
mod quoting;
mod shadowing;
mod strangers;
