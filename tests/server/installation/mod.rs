//! Installing, adopting, dumping, and what the documentation says of it.

mod attaching;
mod citus;
mod documentation;
mod dumping;
mod installing;
mod loading;
