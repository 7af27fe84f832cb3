//! Erasure and export.

mod erasing;
mod ledger;
