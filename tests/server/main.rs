//! Promises that only real servers and real clients can hold the project to. One behaviour a file.

mod kit;

mod guarding;
mod patching;
mod reading;
mod refusals;
mod registering;
mod status;
mod updating;
