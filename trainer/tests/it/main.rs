//! The trainer from outside: gradients of a whole model, and whole runs on a small one.

mod common;
mod gradients;
mod reference;
mod resume;
mod runs;
