//! Installing, packages, adopting, dumping, and the examples of the documentation.

mod attaching;
mod citus;
mod documentation;
mod dumping;
mod installing;
mod loading;
mod packaging;
