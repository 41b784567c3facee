//! Bytes read as decisions: there is always a next one, 0 behind the end.

/// What is left of a script.
pub(crate) struct Script<'s> {
    rest: &'s [u8],
}

impl<'s> Script<'s> {
    pub(crate) fn new(bytes: &'s [u8]) -> Self {
        Script { rest: bytes }
    }

    pub(crate) fn byte(&mut self) -> u8 {
        match self.rest.split_first() {
            Some((&byte, rest)) => {
                self.rest = rest;
                byte
            }
            None => 0,
        }
    }

    /// A number of two bytes.
    pub(crate) fn short(&mut self) -> usize {
        usize::from(self.byte()) | usize::from(self.byte()) << 8
    }

    /// A number of four bytes.
    pub(crate) fn long(&mut self) -> u32 {
        (self.short() | self.short() << 16) as u32
    }

    /// A number below `end`, or 0 where there is none.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.short().checked_rem(end).unwrap_or(0)
    }

    /// All that has not been read.
    pub(crate) fn rest(self) -> &'s [u8] {
        self.rest
    }
}
