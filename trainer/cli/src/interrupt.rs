//! Ctrl-C as a request: long work looks here between steps and batches, saves and stops; and so does what has something
//! half-written on the disk, which it removes. A second Ctrl-C ends the program at once.

use crate::error::Error;
use crate::show;
use std::fmt::Display;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

static ASKED: AtomicBool = AtomicBool::new(false);

/// Starts listening, if that has not been done. Where no handler can be installed, Ctrl-C ends the program as it always did.
pub fn listen() {
    let _ = ctrlc::set_handler(|| {
        if ASKED.swap(true, SeqCst) {
            std::process::exit(130);
        }
        show::note("\nstopping after this step; once more to stop at once");
    });
}

/// Whether the user has asked to stop.
pub fn asked() -> bool {
    ASKED.load(SeqCst)
}

/// That Ctrl-C has not asked to stop before `file` is written.
///
/// # Errors
/// If it has.
pub fn check(file: &Path) -> Result<(), Error> {
    check_before(format_args!("{} was written", file.display()))
}

/// The same before something else, as the error tells it behind "stopped before".
///
/// # Errors
/// If it has.
pub fn check_before(what: impl Display) -> Result<(), Error> {
    match asked() {
        false => Ok(()),
        true => Err(Error::Interrupted(format!("stopped before {what}"))),
    }
}
