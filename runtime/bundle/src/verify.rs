//! Every byte held against its checksum, in pieces of any size.

use core::fmt;
use core::mem;

use crate::checksum::{self, Checksum};
use crate::layout::padding;
use crate::section::{Section, SectionKind};

/// Takes a file from its first byte to its last and finds what differs from what was written.
///
/// It comes from an open [`Bundle`](crate::Bundle), whose header is known to be good, and keeps a
/// few words of state. The bytes may come from the same memory or from a second reading.
///
/// ```no_run
/// # fn read(chunk: &mut [u8]) -> usize { 0 }
/// # fn check(bundle: &berth_bundle::Bundle) -> Result<(), berth_bundle::VerifyError> {
/// let mut verifier = bundle.verifier();
/// let mut chunk = [0; 4096];
/// loop {
///     match read(&mut chunk) {
///         0 => return verifier.finish(),
///         n => verifier.update(&chunk[..n])?,
///     }
/// }
/// # }
/// ```
#[derive(Clone)]
pub struct Verifier<'b> {
    /// The prefix and the header, as they should come.
    head: &'b [u8],
    sections: &'b [Section],
    /// Where in the file the next byte belongs.
    at: u64,
    /// Parts of the file that have come whole: the head, then the sections.
    done: usize,
    /// Bytes still missing of the present part, or of the padding before it.
    missing: u64,
    in_padding: bool,
    checksum: Checksum,
}

impl<'b> Verifier<'b> {
    pub(crate) fn new(head: &'b [u8], sections: &'b [Section]) -> Self {
        Verifier {
            head,
            sections,
            at: 0,
            done: 0,
            missing: head.len() as u64,
            in_padding: false,
            checksum: Checksum::new(),
        }
    }

    /// Takes the next bytes of the file.
    ///
    /// # Errors
    /// As soon as a part has come whole and is not what was written. The verifier is of no use
    /// afterwards.
    pub fn update(&mut self, mut bytes: &[u8]) -> Result<(), VerifyError> {
        while !bytes.is_empty() {
            if self.is_at_end() {
                return Err(VerifyError::Longer);
            }
            let count = (bytes.len() as u64).min(self.missing) as usize;
            let (now, later) = bytes.split_at(count);
            self.take(now)?;
            bytes = later;
        }
        Ok(())
    }

    /// The verdict, when all bytes have come.
    ///
    /// # Errors
    /// When bytes are missing.
    pub fn finish(self) -> Result<(), VerifyError> {
        if self.is_at_end() {
            Ok(())
        } else {
            Err(VerifyError::Cut)
        }
    }

    fn is_at_end(&self) -> bool {
        self.done > self.sections.len()
    }

    /// Takes bytes that lie wholly in the present part or in the padding before it.
    fn take(&mut self, bytes: &[u8]) -> Result<(), VerifyError> {
        if self.in_padding {
            if bytes.iter().any(|&byte| byte != 0) {
                return Err(VerifyError::Padding);
            }
        } else {
            self.checksum.update(bytes);
        }
        self.at += bytes.len() as u64;
        self.missing -= bytes.len() as u64;
        while self.missing == 0 && !self.is_at_end() {
            self.go_on()?;
        }
        Ok(())
    }

    /// At the end of padding, turns to the part behind it; at the end of a part, judges it.
    fn go_on(&mut self) -> Result<(), VerifyError> {
        if self.in_padding {
            self.in_padding = false;
            self.missing = u64::from(self.sections[self.done - 1].len);
            return Ok(());
        }
        let found = mem::replace(&mut self.checksum, Checksum::new()).finish();
        match self.done.checked_sub(1) {
            None if found != checksum::of(self.head) => return Err(VerifyError::Header),
            Some(index) if found != self.sections[index].crc => {
                return Err(VerifyError::Section(self.sections[index].kind));
            }
            _ => (),
        }
        self.done += 1;
        self.in_padding = true;
        self.missing = padding(self.at);
        Ok(())
    }
}

/// The part of a bundle that is not what was written.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum VerifyError {
    /// The prefix or the header differs from the one that was opened.
    Header,
    /// A byte between two parts is not zero.
    Padding,
    /// The checksum of this section differs.
    Section(SectionKind),
    /// The bytes ended too early.
    Cut,
    /// There are bytes behind the end.
    Longer,
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VerifyError::Header => f.write_str("the bundle is damaged in its header"),
            VerifyError::Padding => f.write_str("the bundle is damaged between two sections"),
            VerifyError::Section(kind) => {
                write!(f, "the bundle is damaged in its section \"{kind}\"")
            }
            VerifyError::Cut => f.write_str("the bundle ends before its last section does"),
            VerifyError::Longer => f.write_str("the bundle goes on behind its last section"),
        }
    }
}

impl core::error::Error for VerifyError {}
