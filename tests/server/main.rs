//! Promises that only real servers and real clients can hold the project to. One behaviour a file.

mod kit;

mod consumer_examples;
mod documentation;
mod dumping;
mod guarding;
mod importing;
mod installing;
mod locales;
mod memory;
mod notifying;
mod patching;
mod racing;
mod reading;
mod recording;
mod refusals;
mod registering;
mod status;
mod updating;
mod worker;
