//! What a text is cut into.

/// One piece of a text.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Piece {
    /// Its id in the vocabulary.
    pub id: u32,
    /// Its first byte in the text. 0 for tokens that are added around the text.
    pub start: u32,
    /// The byte after its last one. 0 for tokens that are added around the text.
    pub end: u32,
}

impl Piece {
    pub(crate) fn new(id: u32, start: usize, end: usize) -> Piece {
        Piece {
            id,
            start: start as u32,
            end: end as u32,
        }
    }
}
