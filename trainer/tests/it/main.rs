//! The trainer from outside: gradients of a whole model, and whole runs on a small one.

mod bases;
mod common;
mod gradients;
mod reference;
mod resume;
mod runs;
