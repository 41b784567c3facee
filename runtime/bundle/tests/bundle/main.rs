//! The format from outside: a hand-made bundle, written, read, damaged and lied about.

mod calibration;
mod damage;
mod decisions;
mod example;
mod golden;
mod lies;
mod mixed;
mod relu;
mod selftest;
mod writing;
