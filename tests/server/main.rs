//! Promises that only real servers and real clients can hold the project to. One behaviour a file.

mod kit;

mod documentation;
mod registering;
