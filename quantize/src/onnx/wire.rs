//! Protocol buffers as they lie on the wire: a field is a key, `number << 3 | type`, and a value.
//!
//! ONNX uses three of the value types: variable-length integers (0), 32 bits (5), and a length with so
//! many bytes (2), which are a text, a message or packed numbers. The format is Google's, described in
//! its "Encoding" page. Messages inside messages are read only where the reader asks for them, so that
//! depth in a file costs nothing.

use thiserror::Error;

/// A field's value.
#[derive(Copy, Clone, Debug, PartialEq)]
pub(super) enum Value<'a> {
    /// A variable-length integer; negative ones as 64-bit two's complement.
    Int(u64),
    /// Four bytes, which are a float where ONNX has them.
    Four([u8; 4]),
    /// Eight bytes.
    Eight([u8; 8]),
    /// A text, a message or packed numbers.
    Bytes(&'a [u8]),
}

/// What is wrong with a message.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Error)]
pub enum WireError {
    /// A value is longer than what is left of its message.
    #[error("it is cut short, or a length in it is wrong")]
    Truncated,
    /// A variable-length integer has more than ten bytes.
    #[error("an integer in it has no end")]
    Endless,
    /// A type of value that ONNX does not use, or field number 0.
    #[error("it holds a field that no ONNX file has")]
    Field,
    /// A known field with a value of another type.
    #[error("field {0} has a value of the wrong type")]
    Type(u32),
    /// A text that is not UTF-8.
    #[error("a name in it is not UTF-8")]
    Text,
}

/// The fields of a message, one after the other.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The fields of these bytes.
    pub fn of(message: &'a [u8]) -> Self {
        Fields { rest: message }
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], WireError> {
        let len = usize::try_from(len).map_err(|_| WireError::Truncated)?;
        let (taken, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn int(&mut self) -> Result<u64, WireError> {
        let mut value = 0;
        for (place, &byte) in self.rest.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * place);
            if byte < 0x80 {
                self.rest = &self.rest[place + 1..];
                return Ok(value);
            }
        }
        match self.rest.len() {
            0..10 => Err(WireError::Truncated),
            _ => Err(WireError::Endless),
        }
    }

    fn field(&mut self) -> Result<(u32, Value<'a>), WireError> {
        let key = self.int()?;
        let number = u32::try_from(key >> 3).map_err(|_| WireError::Field)?;
        if number == 0 {
            return Err(WireError::Field);
        }
        let array = "a slice of that length";
        let value = match key & 7 {
            0 => Value::Int(self.int()?),
            1 => Value::Eight(self.take(8)?.try_into().expect(array)),
            2 => {
                let len = self.int()?;
                Value::Bytes(self.take(len)?)
            }
            5 => Value::Four(self.take(4)?.try_into().expect(array)),
            _ => return Err(WireError::Field),
        };
        Ok((number, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), WireError>;

    /// The next field; nothing more after an error.
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// The integers of a packed field.
pub(super) fn packed_ints(bytes: &[u8]) -> impl Iterator<Item = Result<u64, WireError>> {
    let mut fields = Fields::of(bytes);
    std::iter::from_fn(move || {
        if fields.rest.is_empty() {
            return None;
        }
        let int = fields.int();
        if int.is_err() {
            fields.rest = &[];
        }
        Some(int)
    })
}

/// A message being written.
#[derive(Clone, Default, Debug)]
pub(super) struct Message(pub(super) Vec<u8>);

impl Message {
    fn raw_int(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// An integer field.
    pub fn int(&mut self, number: u32, value: i64) {
        self.raw_int(u64::from(number) << 3);
        self.raw_int(value as u64);
    }

    /// A float field.
    pub fn float(&mut self, number: u32, value: f32) {
        self.raw_int(u64::from(number) << 3 | 5);
        self.0.extend(value.to_le_bytes());
    }

    /// Begins a field of `len` bytes, which have to follow.
    pub fn begin(&mut self, number: u32, len: usize) {
        self.raw_int(u64::from(number) << 3 | 2);
        self.raw_int(len as u64);
    }

    /// A text or other bytes.
    pub fn bytes(&mut self, number: u32, bytes: impl AsRef<[u8]>) {
        self.begin(number, bytes.as_ref().len());
        self.0.extend_from_slice(bytes.as_ref());
    }

    /// A message inside this one.
    pub fn message(&mut self, number: u32, write: impl FnOnce(&mut Message)) {
        let mut inner = Message::default();
        write(&mut inner);
        self.bytes(number, inner.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut message = Message::default();
        message.int(1, -3);
        message.int(20, 300);
        message.float(2, 0.25);
        message.message(7, |inner| inner.bytes(1, "name"));
        let fields: Vec<_> = Fields::of(&message.0).map(Result::unwrap).collect();
        assert_eq!(fields[0], (1, Value::Int(-3i64 as u64)));
        assert_eq!(fields[1], (20, Value::Int(300)));
        assert_eq!(fields[2], (2, Value::Four(0.25f32.to_le_bytes())));
        let (7, Value::Bytes(inner)) = fields[3] else {
            panic!("{fields:?}");
        };
        let mut inner = Fields::of(inner);
        assert_eq!(inner.next(), Some(Ok((1, Value::Bytes(b"name")))));
        assert_eq!(inner.next(), None);
    }

    #[test]
    fn packed_integers_stand_one_behind_the_other() {
        let ints: Vec<_> = packed_ints(&[3, 0x96, 0x01]).collect();
        assert_eq!(ints, [Ok(3), Ok(150)]);
        let ints: Vec<_> = packed_ints(&[3, 0x96]).collect();
        assert_eq!(ints, [Ok(3), Err(WireError::Truncated)]);
    }

    #[test]
    fn what_is_no_message_is_an_error_and_the_end() {
        for (bytes, error) in [
            (&[0x0a, 5, b'a'][..], WireError::Truncated),
            (&[0x08], WireError::Truncated),
            (
                &[
                    0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1,
                ],
                WireError::Endless,
            ),
            (&[0x0b], WireError::Field),
            (&[0x02, 0], WireError::Field),
            (&[0x0d, 1, 2, 3], WireError::Truncated),
        ] {
            let mut fields = Fields::of(bytes);
            assert_eq!(fields.next(), Some(Err(error)), "{bytes:?}");
            assert_eq!(fields.next(), None);
        }
    }
}
