//! The kernels run on the host, below the code that runs them on a GPU.

mod emulator;
mod kernels;
mod network;

use std::io::{self, Write};

/// Says something even where the harness keeps what a passing test prints.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
