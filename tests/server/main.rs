//! Promises that only real servers and real clients can hold the project to. One behaviour a file.

mod kit;

mod attacks;
mod customers;
mod feed;
mod installation;
mod privacy;
mod rights;
