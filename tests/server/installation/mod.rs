//! Installing, adopting, upgrading, watching, dumping, packaging, the variants of benchmarks, and the examples of the documentation.

mod adopting;
mod attaching;
mod benchmarks;
mod citus;
mod clients;
mod customer_api;
mod documentation;
mod dumping;
mod installing;
mod loading;
mod metrics;
mod operations;
mod packaging;
mod postgraphile;
mod prometheus;
mod upgrading;
mod verifying;
