//! A graph being written: nodes, tensors, inputs and outputs, to the bytes of an ONNX file.
//!
//! Field numbers and type codes are those of `onnx.proto` (ONNX, Apache-2.0), version 17 of the
//! operators, version 8 of the file format.

use super::wire::Message;

/// The version of ONNX's operators that is written.
const OPSET: i64 = 17;
/// The version of the file format that goes with it.
const IR_VERSION: i64 = 8;

/// Type codes of numbers.
pub(super) const FLOAT: i64 = 1;
pub(super) const UINT8: i64 = 2;
pub(super) const INT8: i64 = 3;
pub(super) const INT64: i64 = 7;

/// A setting of a node.
#[derive(Copy, Clone, Debug)]
pub(super) enum Set<'a> {
    Int(i64),
    Float(f32),
    Ints(&'a [i64]),
}

/// A dimension of an input or output.
#[derive(Copy, Clone, Debug)]
pub(super) enum Dim {
    /// A number that each call chooses.
    Named(&'static str),
    /// A fixed size.
    Size(usize),
}

/// Nodes and tensors so far.
#[derive(Default, Debug)]
pub(super) struct Graph {
    body: Message,
    constants: Vec<String>,
}

impl Graph {
    /// Adds a node with one output, which has the node's name; returns that name.
    pub fn node(&mut self, name: &str, op: &str, inputs: &[&str], sets: &[(&str, Set)]) -> String {
        self.body.message(1, |node| {
            inputs.iter().for_each(|input| node.bytes(1, input));
            node.bytes(2, name);
            node.bytes(3, name);
            node.bytes(4, op);
            sets.iter().for_each(|(name, set)| {
                node.message(5, |attribute| write_set(attribute, name, *set))
            });
        });
        name.to_owned()
    }

    /// Adds a tensor of floats. Returns its name, as the following do.
    pub fn floats(&mut self, name: &str, dims: &[usize], data: &[f32]) -> String {
        let numbers = data.iter().flat_map(|number| number.to_le_bytes());
        self.tensor(name, FLOAT, dims, 4 * data.len(), numbers)
    }

    /// Adds a tensor of bytes, `kind` of which is [`UINT8`] or [`INT8`].
    pub fn steps(
        &mut self,
        name: &str,
        kind: i64,
        dims: &[usize],
        data: impl ExactSizeIterator<Item = u8>,
    ) -> String {
        self.tensor(name, kind, dims, data.len(), data)
    }

    /// Adds a list of integers.
    pub fn ints(&mut self, name: &str, data: &[i64]) -> String {
        let numbers = data.iter().flat_map(|number| number.to_le_bytes());
        self.tensor(name, INT64, &[data.len()], 8 * data.len(), numbers)
    }

    /// Adds a single integer, without dimensions.
    pub fn index(&mut self, name: &str, value: i64) -> String {
        self.tensor(name, INT64, &[], 8, value.to_le_bytes().into_iter())
    }

    /// A single float, without dimensions: added when it is asked for the first time.
    pub fn scalar(&mut self, name: &str, value: f32) -> String {
        match self.is_new(name) {
            true => self.floats(name, &[], &[value]),
            false => name.to_owned(),
        }
    }

    /// A list of integers: added when it is asked for the first time.
    pub fn ints_once(&mut self, name: &str, data: &[i64]) -> String {
        match self.is_new(name) {
            true => self.ints(name, data),
            false => name.to_owned(),
        }
    }

    /// A single byte, without dimensions: added when it is asked for the first time.
    pub fn byte_once(&mut self, name: &str, value: u8) -> String {
        match self.is_new(name) {
            true => self.steps(name, UINT8, &[], [value].into_iter()),
            false => name.to_owned(),
        }
    }

    fn is_new(&mut self, name: &str) -> bool {
        let known = self.constants.iter().any(|known| known == name);
        if !known {
            self.constants.push(name.to_owned());
        }
        !known
    }

    fn tensor(
        &mut self,
        name: &str,
        kind: i64,
        dims: &[usize],
        len: usize,
        data: impl Iterator<Item = u8>,
    ) -> String {
        let mut head = Message::default();
        dims.iter().for_each(|&dim| head.int(1, dim as i64));
        head.int(2, kind);
        head.bytes(8, name);
        head.begin(9, len);
        self.body.begin(5, head.0.len() + len);
        self.body.0.extend(head.0);
        self.body.0.extend(data);
        name.to_owned()
    }

    /// Declares an input of integers.
    pub fn input(&mut self, name: &str, dims: &[Dim]) {
        self.body
            .message(11, |value| write_value(value, name, INT64, dims));
    }

    /// Declares an output of floats.
    pub fn output(&mut self, name: &str, dims: &[Dim]) {
        self.body
            .message(12, |value| write_value(value, name, FLOAT, dims));
    }

    /// Says what a value between input and output is: integers of these dimensions.
    #[cfg(all(test, feature = "tract"))]
    pub fn info(&mut self, name: &str, dims: &[Dim]) {
        self.body
            .message(13, |value| write_value(value, name, INT64, dims));
    }

    /// The whole file, with what it says about itself.
    pub fn finish(mut self, name: &str, about: &[(&str, &str)]) -> Vec<u8> {
        self.body.bytes(2, name);
        let mut model = Message::default();
        model.int(1, IR_VERSION);
        model.bytes(2, "berth");
        model.bytes(3, env!("CARGO_PKG_VERSION"));
        model.message(8, |opset| {
            opset.bytes(1, "");
            opset.int(2, OPSET);
        });
        for (key, value) in about {
            model.message(14, |entry| {
                entry.bytes(1, key);
                entry.bytes(2, value);
            });
        }
        model.bytes(7, self.body.0);
        model.0
    }
}

fn write_set(attribute: &mut Message, name: &str, set: Set) {
    attribute.bytes(1, name);
    // The last field tells which of the others counts.
    match set {
        Set::Float(value) => {
            attribute.float(2, value);
            attribute.int(20, 1);
        }
        Set::Int(value) => {
            attribute.int(3, value);
            attribute.int(20, 2);
        }
        Set::Ints(values) => {
            values.iter().for_each(|&value| attribute.int(8, value));
            attribute.int(20, 7);
        }
    }
}

fn write_value(value: &mut Message, name: &str, kind: i64, dims: &[Dim]) {
    value.bytes(1, name);
    value.message(2, |kinds| {
        kinds.message(1, |tensor| {
            tensor.int(1, kind);
            tensor.message(2, |shape| {
                dims.iter().for_each(|dim| {
                    shape.message(1, |field| match dim {
                        Dim::Size(size) => field.int(1, *size as i64),
                        Dim::Named(name) => field.bytes(2, name),
                    });
                });
            });
        });
    });
}
