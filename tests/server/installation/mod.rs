//! Installing, adopting, upgrading, watching, dumping, packaging, and the examples of the documentation.

mod adopting;
mod attaching;
mod citus;
mod clients;
mod documentation;
mod dumping;
mod installing;
mod loading;
mod metrics;
mod operations;
mod packaging;
mod prometheus;
mod upgrading;
mod verifying;
