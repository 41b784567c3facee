//! The kernels run on the host, below the code that runs them on a GPU.

mod emulator;
mod kernels;
mod network;
