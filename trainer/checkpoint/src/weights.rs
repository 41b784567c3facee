//! Tensors in safetensors files: eight bytes of header length, a JSON header with each tensor's
//! type, shape and place, and then the numbers, without gaps.
//!
//! The header is read and checked when a file is opened, against the file's length above all: a
//! download that was cut is noticed before anything is computed. Numbers are read when a tensor is
//! asked for, by plain reads and not through a memory map, because they are copied to `f32` anyway,
//! and a file that shrinks meanwhile gives an error instead of a signal.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use half::{bf16, f16};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::error::CheckpointError;
use crate::{digest, json, names};

/// The weights' name in a checkpoint.
pub const WEIGHTS_FILE: &str = "model.safetensors";
/// Where large weights are split over several files, this one says which tensor is where.
const INDEX_FILE: &str = "model.safetensors.index.json";
/// Older weights, in a format that can run code when it is read.
const PICKLE_FILE: &str = "pytorch_model.bin";

/// The longest header that is read. Those of the largest BERTs have some 50 KB.
const MAX_HEADER: u64 = 16 << 20;
/// What Git puts in place of a large file until it is asked for it.
const LFS_POINTER: &[u8] = b"version ";

/// A tensor's numbers, row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Sizes, the slowest first: `[outputs, inputs]` for a dense layer.
    pub shape: Vec<usize>,
    /// As many numbers as the shape says.
    pub data: Vec<f32>,
}

/// A matrix in whole steps of eight bits: what stands in row `r` is `values * scale[r]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Steps {
    /// `[rows][columns]`.
    pub values: Vec<i8>,
    /// `[rows]`: what one step of each row is worth.
    pub scale: Vec<f32>,
}

/// The open weights files of a checkpoint, tensors found by canonical name.
#[derive(Debug)]
pub(crate) struct Weights {
    files: Vec<WeightsFile>,
    entries: BTreeMap<String, Entry>,
    memory: Option<Memory>,
}

/// Tensors that were read from a file of another format, under canonical names.
#[derive(Debug)]
pub(crate) struct Memory {
    /// The file.
    pub path: PathBuf,
    /// Its tensors.
    pub tensors: BTreeMap<String, Tensor>,
    /// Those of them that stand in steps in the file.
    pub steps: BTreeMap<String, Steps>,
    /// What the weights are known by.
    pub sha256: [u8; 32],
}

#[derive(Debug)]
struct WeightsFile {
    path: PathBuf,
    file: Mutex<File>,
}

/// A safetensors file of any tensors, under the names that it gives them: one tensor at a time is in memory.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    file: File,
    entries: BTreeMap<String, Entry>,
}

/// Where a tensor's numbers lie.
#[derive(Debug)]
struct Entry {
    file: usize,
    offset: u64,
    bytes: u64,
    format: Format,
    shape: Vec<usize>,
}

/// How numbers are stored, little endian.
#[derive(Copy, Clone, Debug)]
enum Format {
    F32,
    F16,
    Bf16,
    /// In a way that is not read; no model made here has such numbers.
    Other(Dtype),
    /// Nowhere: it is zero throughout.
    Zeros,
}

impl Weights {
    /// Opens the weights of a folder and checks their headers.
    ///
    /// # Errors
    /// When the folder has no weights, a file or the index of several cannot be read, is damaged or
    /// truncated, or a tensor is there twice.
    pub fn open(dir: &Path) -> Result<Self, CheckpointError> {
        let mut weights = Weights {
            files: Vec::new(),
            entries: BTreeMap::new(),
            memory: None,
        };
        for path in files(dir)? {
            weights.add(path)?;
        }
        Ok(weights)
    }

    /// Takes tensors that are in memory already.
    pub fn of_memory(memory: Memory) -> Self {
        Weights {
            files: Vec::new(),
            entries: BTreeMap::new(),
            memory: Some(memory),
        }
    }

    fn add(&mut self, path: PathBuf) -> Result<(), CheckpointError> {
        let mut file = File::open(&path).map_err(|source| CheckpointError::io(&path, source))?;
        let (start, header) = read_header(&mut file, &path)?;
        for (name, info) in header.tensors() {
            let Some(name) = names::canonical(&name) else {
                continue;
            };
            let entry = Entry::new(self.files.len(), start, info);
            if self.entries.insert(name.clone(), entry).is_some() {
                return Err(CheckpointError::Twice { path, name });
            }
        }
        self.files.push(WeightsFile {
            path,
            file: Mutex::new(file),
        });
        Ok(())
    }

    /// Adds a tensor that is zero, if there is none of that name.
    pub fn add_zeros(&mut self, name: &str, shape: Vec<usize>) {
        self.entries.entry(name.to_owned()).or_insert(Entry {
            file: 0,
            offset: 0,
            bytes: 0,
            format: Format::Zeros,
            shape,
        });
    }

    /// Canonical names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let memory = self.memory.iter().flat_map(|memory| memory.tensors.keys());
        self.entries.keys().chain(memory).map(String::as_str)
    }

    /// A matrix's steps, where the file has them.
    pub fn steps(&self, name: &str) -> Option<&Steps> {
        self.memory.as_ref()?.steps.get(name)
    }

    /// A tensor's shape, if it is there.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        match &self.memory {
            Some(memory) => memory.tensors.get(name).map(|tensor| &*tensor.shape),
            None => self.entries.get(name).map(|entry| &*entry.shape),
        }
    }

    /// Holds the type of a tensor's numbers against those that are read.
    ///
    /// # Errors
    /// When it is not one of them. A tensor that is missing has no type to be wrong.
    pub fn check_type(&self, name: &str) -> Result<(), CheckpointError> {
        match self.entries.get(name) {
            Some(entry) => entry.check_type(self.path_of(name), name),
            None => Ok(()),
        }
    }

    /// The file that holds a tensor; the first for one that is missing.
    pub fn path_of(&self, name: &str) -> &Path {
        if let Some(memory) = &self.memory {
            return &memory.path;
        }
        let file = self.entries.get(name).map_or(0, |entry| entry.file);
        &self.files[file].path
    }

    /// Reads a tensor.
    ///
    /// # Errors
    /// When there is no such tensor, its numbers are of a type that is not read, or the file cannot be
    /// read any more.
    pub fn tensor(&self, name: &str) -> Result<Tensor, CheckpointError> {
        let path = self.path_of(name);
        let in_memory = self
            .memory
            .as_ref()
            .and_then(|memory| memory.tensors.get(name));
        if let Some(tensor) = in_memory {
            return Ok(tensor.clone());
        }
        let Some(entry) = self.entries.get(name) else {
            let name = name.to_owned();
            return Err(CheckpointError::MissingTensor {
                path: path.to_owned(),
                name,
            });
        };
        let file = self.files[entry.file].file.lock();
        let mut file = file.unwrap_or_else(PoisonError::into_inner);
        let data = entry.read(&mut file, path, name)?;
        Ok(Tensor {
            shape: entry.shape.clone(),
            data,
        })
    }

    /// The SHA-256 of the weights file; of several, one after the other.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn sha256(&self) -> Result<[u8; 32], CheckpointError> {
        if let Some(memory) = &self.memory {
            return Ok(memory.sha256);
        }
        let mut hasher = Sha256::new();
        for WeightsFile { path, .. } in &self.files {
            digest::feed(&mut hasher, path).map_err(|source| CheckpointError::io(path, source))?;
        }
        Ok(hasher.finalize().into())
    }
}

impl TensorFile {
    /// Opens a file and checks its header.
    ///
    /// # Errors
    /// When it cannot be read, is no safetensors file, has another length than its header says, or
    /// numbers of a type that is not read.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, CheckpointError> {
        let path = path.into();
        let mut file = File::open(&path).map_err(|source| CheckpointError::io(&path, source))?;
        let (start, header) = read_header(&mut file, &path)?;
        let entries = header.tensors().into_iter().map(|(name, info)| {
            let entry = Entry::new(0, start, info);
            entry.check_type(&path, &name)?;
            Ok((name, entry))
        });
        let entries = entries.collect::<Result<_, CheckpointError>>()?;
        Ok(TensorFile {
            path,
            file,
            entries,
        })
    }

    /// Reads a tensor.
    ///
    /// # Errors
    /// When it is not there or cannot be read.
    pub fn tensor(&mut self, name: &str) -> Result<Tensor, CheckpointError> {
        let Some(entry) = self.entries.get(name) else {
            return Err(CheckpointError::MissingTensor {
                path: self.path.clone(),
                name: name.to_owned(),
            });
        };
        let data = entry.read(&mut self.file, &self.path, name)?;
        Ok(Tensor {
            shape: entry.shape.clone(),
            data,
        })
    }
}

impl Entry {
    /// `start` is where the numbers of all tensors begin in the file.
    fn new(file: usize, start: u64, info: &TensorInfo) -> Self {
        let format = match info.dtype {
            Dtype::F32 => Format::F32,
            Dtype::F16 => Format::F16,
            Dtype::BF16 => Format::Bf16,
            other => Format::Other(other),
        };
        // The header was checked: offsets ascend, stay in the file and fit the shape.
        let (from, to) = (info.data_offsets.0 as u64, info.data_offsets.1 as u64);
        let shape = info.shape.clone();
        Entry {
            file,
            offset: start + from,
            bytes: to - from,
            format,
            shape,
        }
    }

    fn check_type(&self, path: &Path, name: &str) -> Result<(), CheckpointError> {
        match self.format {
            Format::Other(found) => Err(CheckpointError::Type {
                path: path.to_owned(),
                name: name.to_owned(),
                found: found.to_string(),
            }),
            _ => Ok(()),
        }
    }

    /// `path` and `name` are what an error tells.
    fn read(&self, file: &mut File, path: &Path, name: &str) -> Result<Vec<f32>, CheckpointError> {
        self.check_type(path, name)?;
        self.numbers(file)
            .map_err(|source| CheckpointError::io(path, source))
    }

    fn numbers(&self, file: &mut File) -> io::Result<Vec<f32>> {
        let mut data = Vec::new();
        let width = match self.format {
            Format::F32 => 4,
            Format::F16 | Format::Bf16 => 2,
            Format::Zeros => {
                data.resize(self.shape.iter().product(), 0.0);
                return Ok(data);
            }
            Format::Other(_) => return Err(io::ErrorKind::Unsupported.into()),
        };
        let count = usize::try_from(self.bytes / width).map_err(|_| io::ErrorKind::OutOfMemory)?;
        data.try_reserve_exact(count)?;
        file.seek(SeekFrom::Start(self.offset))?;
        let mut buffer = vec![0; 1 << 18];
        let mut left = self.bytes;
        while left > 0 {
            let part = &mut buffer[..left.min(1 << 18) as usize];
            file.read_exact(part)?;
            left -= part.len() as u64;
            self.format.decode(part, &mut data);
        }
        Ok(data)
    }
}

impl Format {
    /// Appends the numbers in `bytes`, whose length is a multiple of a number's.
    fn decode(self, bytes: &[u8], data: &mut Vec<f32>) {
        let pairs = bytes.as_chunks::<2>().0.iter();
        match self {
            Format::F32 => {
                data.extend(
                    bytes
                        .as_chunks::<4>()
                        .0
                        .iter()
                        .map(|b| f32::from_le_bytes(*b)),
                );
            }
            Format::F16 => data.extend(pairs.map(|b| f16::from_le_bytes(*b).to_f32())),
            Format::Bf16 => data.extend(pairs.map(|b| bf16::from_le_bytes(*b).to_f32())),
            Format::Other(_) | Format::Zeros => (),
        }
    }
}

/// The weights files of a folder: one, or those that an index names.
fn files(dir: &Path) -> Result<Vec<PathBuf>, CheckpointError> {
    let single = dir.join(WEIGHTS_FILE);
    let index = dir.join(INDEX_FILE);
    if single.exists() {
        Ok(vec![single])
    } else if index.exists() {
        shards(dir, &index)
    } else if dir.join(PICKLE_FILE).exists() {
        Err(CheckpointError::PickleOnly(dir.to_owned()))
    } else {
        Err(CheckpointError::NoFile {
            dir: dir.to_owned(),
            file: WEIGHTS_FILE,
        })
    }
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

fn shards(dir: &Path, index: &Path) -> Result<Vec<PathBuf>, CheckpointError> {
    let Index { weight_map } = json::read(index)?;
    let names: BTreeSet<&String> = weight_map.values().collect();
    let plain = |name: &str| {
        let last = Path::new(name).file_name();
        last.is_some_and(|last| last == name) && !name.contains(char::is_control)
    };
    match names.iter().find(|name| !plain(name)) {
        Some(name) => {
            let what = format!("names {name:?}, which is no file of its folder");
            Err(CheckpointError::field(index, "weight_map", what))
        }
        None if names.is_empty() => Err(CheckpointError::field(index, "weight_map", "is empty")),
        None => Ok(names.into_iter().map(|name| dir.join(name)).collect()),
    }
}

/// Reads and checks a file's header; also where the numbers begin.
fn read_header(file: &mut File, path: &Path) -> Result<(u64, Metadata), CheckpointError> {
    let io = |source| CheckpointError::io(path, source);
    let damaged = |what: String| CheckpointError::Header {
        path: path.to_owned(),
        what,
    };
    let found = file.metadata().map_err(io)?.len();
    let truncated = |expected| CheckpointError::Truncated {
        path: path.to_owned(),
        expected,
        found,
    };
    if found < 8 {
        return Err(truncated(8));
    }
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(io)?;
    if length == LFS_POINTER {
        return Err(damaged(
            "it is Git's pointer to the weights; run `git lfs pull`".into(),
        ));
    }
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER {
        return Err(damaged(format!(
            "a header of {length} bytes, over the {MAX_HEADER} allowed"
        )));
    }
    let start = 8 + length;
    if found < start {
        return Err(truncated(start));
    }
    let mut header = vec![0; length as usize];
    file.read_exact(&mut header).map_err(io)?;
    let header: Metadata =
        serde_json::from_slice(&header).map_err(|error| damaged(error.to_string()))?;
    let expected = start.saturating_add(header.data_len() as u64);
    match found.checked_sub(expected) {
        None => Err(truncated(expected)),
        Some(0) => Ok((start, header)),
        Some(more) => Err(damaged(format!("{more} bytes after the last tensor"))),
    }
}
