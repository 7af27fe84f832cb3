//! Promises that only real servers and real clients can hold the project to. One behaviour a file.

mod kit;

mod consumer_examples;
mod consuming;
mod crashing;
mod documentation;
mod dumping;
mod duties;
mod erasing;
mod feed;
mod guarding;
mod importing;
mod installing;
mod locales;
mod memory;
mod notifying;
mod patching;
mod pruning;
mod racing;
mod reading;
mod recording;
mod refusals;
mod registering;
mod registering_directly;
mod shadowing;
mod standby;
mod status;
mod storm;
mod tampering;
mod updating;
mod worker;
