//! What a person sees of a fetch, on stderr: notes, and a bar for each file.

use std::cell::RefCell;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::show::keep_ticking;

/// Where a fetch says what it does.
pub trait Progress {
    /// A sentence for the user.
    fn say(&self, line: &str);
    /// A file, or another piece of work, begins with `at` of `total` bytes already there; the total
    /// is not always known.
    fn begin(&self, what: &str, at: u64, total: Option<u64>);
    /// More bytes have come.
    fn advance(&self, bytes: u64);
    /// The piece of work has ended, well or not.
    fn end(&self);
}

/// Bars with bytes, speed and time left; one line a file where stderr is no terminal.
#[derive(Debug, Default)]
pub struct Bars(RefCell<Option<ProgressBar>>);

impl Progress for Bars {
    fn say(&self, line: &str) {
        match &*self.0.borrow() {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }

    fn begin(&self, what: &str, at: u64, total: Option<u64>) {
        let target = ProgressDrawTarget::stderr();
        if target.is_hidden() {
            eprintln!("fetching {what}");
        }
        let template = match total {
            Some(_) => "{msg:>24} {bar:28} {bytes}/{total_bytes}  {bytes_per_sec}, {eta} left",
            None => "{msg:>24} {spinner} {elapsed}",
        };
        let style = ProgressStyle::with_template(template);
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(total, target)
            .with_style(style)
            .with_message(what.to_owned())
            .with_position(at);
        // What is there already says nothing about the speed.
        bar.reset_eta();
        if total.is_none() {
            keep_ticking(&bar, 200);
        }
        self.0.replace(Some(bar));
    }

    fn advance(&self, bytes: u64) {
        if let Some(bar) = &*self.0.borrow() {
            bar.inc(bytes);
        }
    }

    fn end(&self) {
        if let Some(bar) = self.0.take() {
            bar.finish_and_clear();
        }
    }
}
