//! The kernels run on the host, below the code that runs them on a GPU; or, with the feature `cuda` and
//! `BERTH_TEST_DEVICE=cuda:0`, on that GPU.

mod attention;
mod device;
mod emulator;
mod network;
mod rows;

use std::io::{self, Write};
use std::sync::Arc;

use super::machine::{Machine, Operand};
use emulator::Emulator;

/// What the tests run on.
enum Tested {
    Host(Arc<Emulator>),
    #[cfg(feature = "cuda")]
    Gpu(Arc<dyn Machine>),
}

impl Tested {
    /// For heads of `head` columns; none, and a line that says so, where the host has no C++ compiler.
    ///
    /// # Panics
    /// If `BERTH_TEST_DEVICE` names what can't be had.
    fn new(head: usize, operand: Operand) -> Option<Self> {
        let _ = operand;
        let Some(name) = std::env::var_os("BERTH_TEST_DEVICE") else {
            return Emulator::new(head).map(Self::Host);
        };
        let name = name.into_string().expect("a device's name");
        #[cfg(feature = "cuda")]
        {
            let device = name.parse().unwrap();
            let gpu = super::driver::Gpu::open(device, head, operand);
            Some(Self::Gpu(Arc::new(gpu.unwrap())))
        }
        #[cfg(not(feature = "cuda"))]
        panic!("BERTH_TEST_DEVICE is {name}, and the tests are built without the feature cuda");
    }

    fn machine(&self) -> Arc<dyn Machine> {
        match self {
            Self::Host(emulator) => emulator.clone(),
            #[cfg(feature = "cuda")]
            Self::Gpu(gpu) => gpu.clone(),
        }
    }

    /// On the host, lets the threads of a block take their turns in the other order.
    fn reverse(&self) {
        match self {
            Self::Host(emulator) => emulator.reverse(),
            #[cfg(feature = "cuda")]
            Self::Gpu(_) => {}
        }
    }
}

/// Says something even where the harness keeps what a passing test prints.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
