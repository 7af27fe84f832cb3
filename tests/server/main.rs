//! Promises that only real servers and real clients can hold the project to. One behaviour a file.

mod kit;

mod allocating;
mod broken_text;
mod consumer_examples;
mod consuming;
mod crashing;
mod documentation;
mod dumping;
mod duties;
mod erasing;
mod feed;
mod foreign_errors;
mod guarding;
mod importing;
mod installing;
mod lengths;
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
mod threat_model;
mod updating;
mod worker;
