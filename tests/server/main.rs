//! Promises that only real servers and real clients can hold the project to. One behaviour a file.

mod kit;

mod documentation;
mod dumping;
mod installing;
mod locales;
mod memory;
mod notifying;
mod racing;
mod recording;
mod registering;
