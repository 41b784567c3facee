//! The format from outside: a hand-made bundle, written, read, damaged and lied about.

mod calibration;
mod decisions;
mod damage;
mod example;
mod golden;
mod lies;
mod mixed;
mod selftest;
mod writing;
