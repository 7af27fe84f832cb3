//! Promises that only real servers and clients can test. One behaviour per file.

mod kit;

mod attacks;
mod customers;
mod feed;
mod installation;
mod privacy;
mod rights;
