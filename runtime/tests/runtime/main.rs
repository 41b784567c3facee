//! The runtime from outside: models, sessions, lines, and the program for the device.

mod edge;
mod fixtures;
mod lines;
mod models;
mod sessions;
#[path = "../support/mod.rs"]
mod support;
mod tags;
