//! The runtime from outside: models, sessions, lines, and the program for the device.

mod bulk;
mod edge;
mod exact;
mod fixtures;
mod lines;
mod long;
mod models;
mod questions;
mod selftest;
mod sessions;
#[path = "../support/mod.rs"]
mod support;
mod tags;
mod threads;
