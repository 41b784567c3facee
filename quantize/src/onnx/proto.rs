//! An ONNX file as it was read: nodes, constant tensors, names; borrowed from the file's bytes.
//!
//! Only what an inference graph needs is kept. Graphs inside nodes (loops, branches) are not looked
//! into, so a file can be nested as deep as it likes. What is kept is counted, and there is a bound
//! to it ([`MAX_PARTS`]): an item costs more in memory than its two bytes in a hostile file. Numbers
//! are decoded when a tensor is asked for, and only as many as lie in the file.

use std::collections::BTreeMap;

use berth_checkpoint::on_one_line;
use half::{bf16, f16};
use thiserror::Error;

use super::wire::{Fields, Value, WireError, packed_ints};

/// The most nodes, names, tensors and settings that are read. A BERT with 24 layers has some 30,000.
pub const MAX_PARTS: usize = 1 << 20;
/// The most dimensions of a tensor.
const MAX_DIMS: usize = 16;

/// A model, as far as it is needed.
#[derive(Debug, Default)]
pub struct Model<'a> {
    /// What the file says about itself.
    pub about: Vec<(&'a str, &'a str)>,
    /// In an order in which they can be computed.
    pub nodes: Vec<Node<'a>>,
    /// Constant tensors by name.
    pub constants: BTreeMap<&'a str, Tensor<'a>>,
    /// Names of the inputs, constants excepted.
    pub inputs: Vec<&'a str>,
    /// Names of the outputs.
    pub outputs: Vec<&'a str>,
    /// The version of ONNX's own operators, where the file tells it.
    pub opset: Option<i64>,
    /// The length of the file.
    pub bytes: usize,
    parts: usize,
}

/// An operator with its inputs and outputs.
#[derive(Debug, Default)]
pub struct Node<'a> {
    /// Its name; may be empty.
    pub name: &'a str,
    /// What it computes.
    pub op: &'a str,
    /// Whose operator it is; empty for ONNX's own.
    pub domain: &'a str,
    /// Names of values; empty where an optional one is left out.
    pub inputs: Vec<&'a str>,
    /// Names of values.
    pub outputs: Vec<&'a str>,
    /// Its settings.
    pub attributes: Vec<(&'a str, Attribute<'a>)>,
}

/// A setting.
#[derive(Debug)]
pub enum Attribute<'a> {
    /// A number.
    Int(i64),
    /// A number.
    Float(f32),
    /// Numbers.
    Ints(Vec<i64>),
    /// A constant.
    Tensor(Tensor<'a>),
    /// Anything else: graphs, lists of texts.
    Other,
}

/// A constant tensor.
#[derive(Clone, Debug, Default)]
pub struct Tensor<'a> {
    /// Its name.
    pub name: &'a str,
    /// Sizes, the slowest first.
    pub dims: Vec<usize>,
    /// The code of its type of numbers.
    pub kind: i64,
    /// Where its numbers lie, if not here: file, offset, length.
    pub external: Option<External<'a>>,
    raw: Option<&'a [u8]>,
    floats: Vec<&'a [u8]>,
    ints: Vec<&'a [u8]>,
    wide: Vec<&'a [u8]>,
}

/// Numbers in another file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct External<'a> {
    /// The file's name.
    pub location: &'a str,
    /// Where in it they begin.
    pub offset: usize,
    /// How many bytes they are; to the end of the file where it is not said.
    pub length: Option<usize>,
}

/// Why bytes are no ONNX model that can be read.
#[derive(Debug, Error)]
pub enum ProtoError {
    /// Not protocol buffers, or cut.
    #[error("no ONNX model, or damaged: {0}")]
    Wire(#[from] WireError),
    /// There is no graph.
    #[error("no ONNX model: there is no graph in it")]
    NoGraph,
    /// More than is read.
    #[error("it has more than {MAX_PARTS} nodes, names and tensors")]
    TooMany,
    /// A value comes from nowhere, or from a later node.
    #[error("node `{node}` ({op}) takes `{value}`, which no earlier node, input or constant gives")]
    Unknown {
        /// The node.
        node: String,
        /// Its operator.
        op: String,
        /// The value's name.
        value: String,
    },
    /// Two values of one name.
    #[error("two values are called `{0}`")]
    Twice(String),
    /// A tensor whose numbers are not as many as its shape says.
    #[error(
        "tensor `{name}`: shape {dims:?} asks for {expected} bytes or numbers, and {found} are there"
    )]
    Length {
        /// The tensor.
        name: String,
        /// Its shape.
        dims: Vec<usize>,
        /// How much it asks for.
        expected: usize,
        /// How much is there.
        found: usize,
    },
    /// The same numbers for many tensors.
    #[error("its layers share their weights; a BERT's layers have weights of their own")]
    Shared,
    /// A shape that can't be.
    #[error("tensor `{0}` has a shape that no tensor has")]
    Shape(String),
    /// A type of numbers that is not read.
    #[error("tensor `{name}` holds numbers of type {kind}, which are not read here")]
    Kind {
        /// The tensor.
        name: String,
        /// The type's code.
        kind: i64,
    },
    /// Numbers in a file that is not beside the model.
    #[error(
        "tensor `{name}`: its numbers are said to lie in {location:?}, at {offset}, where they are not; \
             keep that file beside the model"
    )]
    External {
        /// The tensor.
        name: String,
        /// The file.
        location: String,
        /// Where in it.
        offset: usize,
    },
}

/// The most characters of a name that an error tells.
const TOLD: usize = 120;

/// A name out of a file as an error tells it: on one line, and cut where it is very long.
pub(super) fn told(name: &str) -> String {
    on_one_line(name, TOLD)
}

/// A float, or a text, or whatever else a field should be.
fn text(number: u32, value: Value<'_>) -> Result<&str, ProtoError> {
    let Value::Bytes(bytes) = value else {
        return Err(WireError::Type(number).into());
    };
    Ok(std::str::from_utf8(bytes).map_err(|_| WireError::Text)?)
}

fn bytes(number: u32, value: Value<'_>) -> Result<&[u8], ProtoError> {
    match value {
        Value::Bytes(bytes) => Ok(bytes),
        _ => Err(WireError::Type(number).into()),
    }
}

fn int(number: u32, value: Value) -> Result<i64, ProtoError> {
    match value {
        Value::Int(int) => Ok(int as i64),
        _ => Err(WireError::Type(number).into()),
    }
}

impl<'a> Model<'a> {
    /// Reads a model.
    ///
    /// # Errors
    /// When the bytes are none, or its values don't hang together.
    pub fn read(file: &'a [u8]) -> Result<Self, ProtoError> {
        let mut model = Model {
            bytes: file.len(),
            ..Model::default()
        };
        let mut graph = None;
        for field in Fields::of(file) {
            match field? {
                (7, value) => graph = Some(bytes(7, value)?),
                (8, value) => model.read_opset(bytes(8, value)?)?,
                (14, value) => model.add_about(bytes(14, value)?)?,
                _ => (),
            }
        }
        model.read_graph(graph.ok_or(ProtoError::NoGraph)?)?;
        model.check()?;
        Ok(model)
    }

    fn count(&mut self, parts: usize) -> Result<(), ProtoError> {
        self.parts += parts;
        match self.parts > MAX_PARTS {
            true => Err(ProtoError::TooMany),
            false => Ok(()),
        }
    }

    /// One of the operator sets; only that of ONNX itself is kept.
    fn read_opset(&mut self, message: &'a [u8]) -> Result<(), ProtoError> {
        self.count(1)?;
        let (mut domain, mut version) = ("", None);
        for field in Fields::of(message) {
            match field? {
                (1, value) => domain = text(1, value)?,
                (2, value) => version = Some(int(2, value)?),
                _ => (),
            }
        }
        if ["", "ai.onnx"].contains(&domain) {
            self.opset = version;
        }
        Ok(())
    }

    fn add_about(&mut self, message: &'a [u8]) -> Result<(), ProtoError> {
        self.count(1)?;
        let mut entry = ("", "");
        for field in Fields::of(message) {
            match field? {
                (1, value) => entry.0 = text(1, value)?,
                (2, value) => entry.1 = text(2, value)?,
                _ => (),
            }
        }
        self.about.push(entry);
        Ok(())
    }

    fn read_graph(&mut self, message: &'a [u8]) -> Result<(), ProtoError> {
        for field in Fields::of(message) {
            match field? {
                (1, value) => {
                    let node = Node::read(bytes(1, value)?)?;
                    self.count(1 + node.inputs.len() + node.outputs.len() + node.attributes.len())?;
                    self.nodes.push(node);
                }
                (5, value) => {
                    self.count(1)?;
                    let tensor = Tensor::read(bytes(5, value)?)?;
                    let name = tensor.name;
                    if self.constants.insert(name, tensor).is_some() {
                        return Err(ProtoError::Twice(told(name)));
                    }
                }
                (11, value) => {
                    self.count(1)?;
                    self.inputs.push(first_text(bytes(11, value)?)?);
                }
                (12, value) => {
                    self.count(1)?;
                    self.outputs.push(first_text(bytes(12, value)?)?);
                }
                _ => (),
            }
        }
        // Old files list their constants among the inputs.
        let constants = &self.constants;
        self.inputs.retain(|name| !constants.contains_key(name));
        Ok(())
    }

    /// Each value comes from one place, before it is used: so no walk back from a value goes round.
    fn check(&self) -> Result<(), ProtoError> {
        let given = self.inputs.iter().chain(self.constants.keys()).copied();
        let mut known: std::collections::HashSet<&str> = given.collect();
        for node in &self.nodes {
            if let Some(value) = node
                .inputs
                .iter()
                .find(|name| !name.is_empty() && !known.contains(*name))
            {
                return Err(ProtoError::Unknown {
                    node: told(node.name),
                    op: told(node.op),
                    value: told(value),
                });
            }
            for output in node.outputs.iter().filter(|name| !name.is_empty()) {
                if !known.insert(*output) {
                    return Err(ProtoError::Twice(told(output)));
                }
            }
        }
        Ok(())
    }

    /// The places of the outputs that answer: a start and an end, or one.
    pub fn answers(&self) -> Vec<usize> {
        let at = |name: &str| self.outputs.iter().position(|output| *output == name);
        if let (Some(start), Some(end)) = (at("start_logits"), at("end_logits")) {
            return vec![start, end];
        }
        let named = at("logits").or(at("last_hidden_state"));
        let first = (!self.outputs.is_empty()).then_some(0);
        named.or(first).into_iter().collect()
    }

    /// Every tensor whose numbers lie in another file.
    pub fn externals(&self) -> impl Iterator<Item = &External<'a>> {
        self.constants
            .values()
            .filter_map(|tensor| tensor.external.as_ref())
    }
}

fn first_text(message: &[u8]) -> Result<&str, ProtoError> {
    for field in Fields::of(message) {
        if let (1, value) = field? {
            return text(1, value);
        }
    }
    Ok("")
}

impl<'a> Node<'a> {
    fn read(message: &'a [u8]) -> Result<Self, ProtoError> {
        let mut node = Node::default();
        for field in Fields::of(message) {
            match field? {
                (1, value) => node.inputs.push(text(1, value)?),
                (2, value) => node.outputs.push(text(2, value)?),
                (3, value) => node.name = text(3, value)?,
                (4, value) => node.op = text(4, value)?,
                (5, value) => node.attributes.push(Attribute::read(bytes(5, value)?)?),
                (7, value) => node.domain = text(7, value)?,
                _ => (),
            }
        }
        if node.domain == "ai.onnx" {
            node.domain = "";
        }
        Ok(node)
    }

    /// An integer setting.
    pub fn int(&self, name: &str) -> Option<i64> {
        match self.attribute(name)? {
            Attribute::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// A float setting.
    pub fn float(&self, name: &str) -> Option<f32> {
        match self.attribute(name)? {
            Attribute::Float(value) => Some(*value),
            _ => None,
        }
    }

    /// A list of integers.
    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        match self.attribute(name)? {
            Attribute::Ints(values) => Some(values),
            _ => None,
        }
    }

    /// Any setting.
    pub fn attribute(&self, name: &str) -> Option<&Attribute<'a>> {
        let mut named = self.attributes.iter().filter(|(own, _)| *own == name);
        named.next().map(|(_, attribute)| attribute)
    }

    /// The value that stands at this place among the inputs, if one does.
    pub fn input(&self, place: usize) -> Option<&'a str> {
        self.inputs
            .get(place)
            .copied()
            .filter(|name| !name.is_empty())
    }
}

impl<'a> Attribute<'a> {
    fn read(message: &'a [u8]) -> Result<(&'a str, Self), ProtoError> {
        let (mut name, mut kind) = ("", 0);
        let (mut f, mut i, mut t, mut ints) = (0.0, 0, None, Vec::new());
        for field in Fields::of(message) {
            match field? {
                (1, value) => name = text(1, value)?,
                (2, Value::Four(bytes)) => f = f32::from_le_bytes(bytes),
                (3, value) => i = int(3, value)?,
                (5, value) => t = Some(bytes(5, value)?),
                (8, Value::Int(value)) => ints.push(value as i64),
                (8, value) => {
                    for int in packed_ints(bytes(8, value)?) {
                        ints.push(int? as i64);
                    }
                }
                (20, value) => kind = int(20, value)?,
                _ => (),
            }
        }
        let attribute = match (kind, t) {
            (1, _) => Attribute::Float(f),
            (2, _) => Attribute::Int(i),
            (4, Some(tensor)) => Attribute::Tensor(Tensor::read(tensor)?),
            (7, _) => Attribute::Ints(ints),
            _ => Attribute::Other,
        };
        Ok((name, attribute))
    }
}

/// Type codes of numbers.
mod kind {
    pub const FLOAT: i64 = 1;
    pub const UINT8: i64 = 2;
    pub const INT8: i64 = 3;
    pub const INT32: i64 = 6;
    pub const INT64: i64 = 7;
    pub const BOOL: i64 = 9;
    pub const FLOAT16: i64 = 10;
    pub const DOUBLE: i64 = 11;
    pub const BFLOAT16: i64 = 16;
}

impl<'a> Tensor<'a> {
    fn read(message: &'a [u8]) -> Result<Self, ProtoError> {
        let mut tensor = Tensor::default();
        let (mut external, mut elsewhere) = (External::default(), false);
        for field in Fields::of(message) {
            match field? {
                (1, Value::Int(dim)) => tensor.add_dim(dim)?,
                (1, value) => {
                    for dim in packed_ints(bytes(1, value)?) {
                        tensor.add_dim(dim?)?;
                    }
                }
                (2, value) => tensor.kind = int(2, value)?,
                // Numbers of these fields may stand one by one; every writer packs them.
                (4, Value::Bytes(packed)) => tensor.floats.push(packed),
                (5, Value::Bytes(packed)) => tensor.ints.push(packed),
                (7, Value::Bytes(packed)) => tensor.ints.push(packed),
                (10, Value::Bytes(packed)) => tensor.wide.push(packed),
                (4 | 5 | 7 | 10, _) => return Err(WireError::Type(4).into()),
                (8, value) => tensor.name = text(8, value)?,
                (9, value) => tensor.raw = Some(bytes(9, value)?),
                (13, value) => external.add(bytes(13, value)?)?,
                (14, value) => elsewhere = int(14, value)? == 1,
                _ => (),
            }
        }
        tensor.external = elsewhere.then_some(external);
        Ok(tensor)
    }

    fn add_dim(&mut self, dim: u64) -> Result<(), ProtoError> {
        match usize::try_from(dim)
            .ok()
            .filter(|_| self.dims.len() < MAX_DIMS)
        {
            Some(dim) => self.dims.push(dim),
            None => return Err(ProtoError::Shape(told(self.name))),
        }
        Ok(())
    }

    /// How many numbers the shape asks for.
    ///
    /// # Errors
    /// When they would be more than a machine can count.
    pub fn count(&self) -> Result<usize, ProtoError> {
        let count = self
            .dims
            .iter()
            .try_fold(1usize, |count, &dim| count.checked_mul(dim));
        count.ok_or_else(|| ProtoError::Shape(told(self.name)))
    }

    /// Whether its numbers are floats.
    pub fn is_float(&self) -> bool {
        [kind::FLOAT, kind::FLOAT16, kind::BFLOAT16, kind::DOUBLE].contains(&self.kind)
    }

    /// Whether its numbers are bytes with or without a sign.
    pub fn is_byte(&self) -> bool {
        [kind::INT8, kind::UINT8].contains(&self.kind)
    }

    /// The numbers of a tensor of floats. `files` has the other files by name.
    ///
    /// # Errors
    /// When they are no floats, or not as many as the shape says.
    pub fn floats(&self, files: &Files) -> Result<Vec<f32>, ProtoError> {
        let count = self.count()?;
        if self.kind == kind::FLOAT && !self.floats.is_empty() {
            let all = self.floats.concat();
            return self.exactly(f32s(&all), count);
        }
        if self.kind == kind::DOUBLE && !self.wide.is_empty() {
            let all = self.wide.concat();
            return self.exactly(f64s(&all), count);
        }
        if [kind::FLOAT16, kind::BFLOAT16].contains(&self.kind) && !self.ints.is_empty() {
            let bits = self.typed_ints(count)?.into_iter().map(|bits| bits as u16);
            return Ok(bits.map(|bits| self.short(bits)).collect());
        }
        let width = match self.kind {
            kind::FLOAT => 4,
            kind::FLOAT16 | kind::BFLOAT16 => 2,
            kind::DOUBLE => 8,
            kind => return Err(self.wrong_kind(kind)),
        };
        let bytes = self.bytes(files, count, width)?;
        Ok(match self.kind {
            kind::FLOAT => f32s(bytes),
            kind::DOUBLE => f64s(bytes),
            _ => bytes
                .as_chunks()
                .0
                .iter()
                .map(|pair| self.short(u16::from_le_bytes(*pair)))
                .collect(),
        })
    }

    /// The numbers of a tensor of integers.
    ///
    /// # Errors
    /// When they are no integers, or not as many as the shape says.
    pub fn ints(&self, files: &Files) -> Result<Vec<i64>, ProtoError> {
        let count = self.count()?;
        if !self.ints.is_empty() && !self.is_float() {
            return self.typed_ints(count);
        }
        let width = match self.kind {
            kind::UINT8 | kind::INT8 | kind::BOOL => 1,
            kind::INT32 => 4,
            kind::INT64 => 8,
            kind => return Err(self.wrong_kind(kind)),
        };
        let bytes = self.bytes(files, count, width)?;
        Ok(match self.kind {
            kind::INT8 => bytes.iter().map(|&byte| i64::from(byte as i8)).collect(),
            kind::INT32 => bytes
                .as_chunks()
                .0
                .iter()
                .map(|four| i64::from(i32::from_le_bytes(*four)))
                .collect(),
            kind::INT64 => bytes
                .as_chunks()
                .0
                .iter()
                .map(|eight| i64::from_le_bytes(*eight))
                .collect(),
            _ => bytes.iter().map(|&byte| i64::from(byte)).collect(),
        })
    }

    fn typed_ints(&self, count: usize) -> Result<Vec<i64>, ProtoError> {
        let mut all = Vec::new();
        for packed in &self.ints {
            for int in packed_ints(packed) {
                // Integers of 32 bits that are negative stand with all 64.
                all.push(int? as i64);
            }
        }
        self.exactly(all, count)
    }

    fn short(&self, bits: u16) -> f32 {
        match self.kind {
            kind::FLOAT16 => f16::from_bits(bits).to_f32(),
            _ => bf16::from_bits(bits).to_f32(),
        }
    }

    fn exactly<T>(&self, data: Vec<T>, count: usize) -> Result<Vec<T>, ProtoError> {
        match data.len() == count {
            true => Ok(data),
            false => Err(self.wrong_length(count, data.len())),
        }
    }

    /// The bytes of `count` numbers, here or in another file.
    fn bytes<'f>(
        &'f self,
        files: &'f Files,
        count: usize,
        width: usize,
    ) -> Result<&'f [u8], ProtoError> {
        let expected = count.checked_mul(width);
        let expected = expected.ok_or_else(|| ProtoError::Shape(told(self.name)))?;
        let bytes = match &self.external {
            None => self.raw.unwrap_or_default(),
            Some(external) => external.find(files).ok_or_else(|| ProtoError::External {
                name: told(self.name),
                location: told(external.location),
                offset: external.offset,
            })?,
        };
        match bytes.len() == expected {
            true => Ok(bytes),
            false => Err(self.wrong_length(expected, bytes.len())),
        }
    }

    fn wrong_length(&self, expected: usize, found: usize) -> ProtoError {
        ProtoError::Length {
            name: told(self.name),
            dims: self.dims.clone(),
            expected,
            found,
        }
    }

    fn wrong_kind(&self, kind: i64) -> ProtoError {
        let name = told(self.name);
        ProtoError::Kind { name, kind }
    }
}

/// Files that tensors lie in, by the names that the model has for them.
pub type Files = BTreeMap<String, Vec<u8>>;

impl<'a> External<'a> {
    fn add(&mut self, message: &'a [u8]) -> Result<(), ProtoError> {
        let (mut key, mut found) = ("", "");
        for field in Fields::of(message) {
            match field? {
                (1, value) => key = text(1, value)?,
                (2, value) => found = text(2, value)?,
                _ => (),
            }
        }
        let number = || found.parse().map_err(|_| WireError::Type(13));
        match key {
            "location" => self.location = found,
            "offset" => self.offset = number()?,
            "length" => self.length = Some(number()?),
            _ => (),
        }
        Ok(())
    }

    fn find<'f>(&self, files: &'f Files) -> Option<&'f [u8]> {
        let rest = files.get(self.location)?.get(self.offset..)?;
        match self.length {
            None => Some(rest),
            Some(length) => rest.get(..length),
        }
    }
}

fn f32s(bytes: &[u8]) -> Vec<f32> {
    let numbers = bytes.as_chunks().0.iter();
    numbers.map(|four| f32::from_le_bytes(*four)).collect()
}

fn f64s(bytes: &[u8]) -> Vec<f32> {
    let numbers = bytes.as_chunks().0.iter();
    numbers
        .map(|eight| f64::from_le_bytes(*eight) as f32)
        .collect()
}
