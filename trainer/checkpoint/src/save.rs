//! Writing: a checkpoint's folder appears under its name whole, or not at all.
//!
//! Files are written into a hidden folder beside the destination, each flushed to the disk, and the
//! folder is renamed at the end. When anything fails on the way, a full disk above all, the hidden
//! folder is removed and the destination is as it was.
//!
//! Where the destination is there already, the hidden folder lies inside of it: it may be where
//! another file system is mounted, and the folder above it need not be one that can be written to.
//! Then the files are moved up one by one, each atomically, and config.json, without which no folder
//! is a checkpoint, is taken away first and comes last. [`Existing::Merge`] keeps what else lies there,
//! such as the `checkpoint-<step>` folders of a training run; a destination is replaced only when
//! asked.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use berth_bundle::atomic::{PREFIX, PREFIX_OF_NAME, SUFFIX, Staged, sync_folder, unnamed};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde::Serialize;
use serde_json::json;
use tempfile::{NamedTempFile, TempDir};

use crate::config::{CONFIG_FILE, Config};
use crate::error::SaveError;
use crate::training_args::{TRAINING_ARGS_FILE, TrainingArgs};
use crate::vocabulary::{
    SPECIAL_TOKENS_FILE, TOKENIZER_CONFIG_FILE, TOKENIZER_FILE, TokenizerFiles, VOCAB_FILE,
};
use crate::weights::WEIGHTS_FILE;

pub use berth_bundle::atomic::{folder_of, place};

/// What the name of a hidden folder begins with, into which a folder is moved aside.
const REPLACED: &str = ".replaced.";

/// What happens to a destination that is there already and not empty.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Existing {
    /// An error; the destination stays as it is.
    Refuse,
    /// The new folder takes its place.
    Replace,
    /// The new files come into it, over those of the same names.
    Merge,
}

/// A tensor to be written.
#[derive(Copy, Clone, Debug)]
pub struct TensorRef<'a> {
    /// Its name in the file.
    pub name: &'a str,
    /// Sizes, the slowest first.
    pub shape: &'a [usize],
    /// As many numbers as the shape says.
    pub data: &'a [f32],
}

/// A tensor to be written whose numbers do not lie together in memory.
pub struct TensorParts<'a> {
    /// Its name in the file.
    pub name: &'a str,
    /// Sizes, the slowest first.
    pub shape: &'a [usize],
    /// Its numbers, one part after the other: as many as the shape says.
    pub parts: Box<dyn Iterator<Item = &'a [f32]> + 'a>,
}

impl<'a> From<TensorRef<'a>> for TensorParts<'a> {
    fn from(TensorRef { name, shape, data }: TensorRef<'a>) -> Self {
        let parts = Box::new(std::iter::once(data));
        TensorParts { name, shape, parts }
    }
}

/// A folder being written. Dropped without [`Folder::commit`], it leaves nothing behind.
#[derive(Debug)]
pub struct Folder {
    target: PathBuf,
    parent: PathBuf,
    staging: TempDir,
    /// Whether that lies in the destination.
    is_inside: bool,
}

impl Folder {
    /// Begins a folder that will stand at `target`. Folders above it are made where they are
    /// missing.
    ///
    /// # Errors
    /// When nothing can be written there.
    pub fn create(target: impl AsRef<Path>) -> Result<Self, SaveError> {
        let target = std::path::absolute(&target).unwrap_or_else(|_| target.as_ref().to_owned());
        let io = |source| SaveError::io(&target, source);
        let nameless = || io(io::ErrorKind::InvalidInput.into());
        let parent = target.parent().ok_or_else(nameless)?.to_owned();
        let is_inside = target.is_dir();
        let (above, prefix) = if is_inside {
            (&target, PREFIX.to_owned())
        } else {
            let name = target.file_name().ok_or_else(nameless)?;
            fs::create_dir_all(&parent).map_err(io)?;
            (&parent, format!(".{}.", name.to_string_lossy()))
        };
        let staging = tempfile::Builder::new()
            .prefix(&prefix)
            .suffix(SUFFIX)
            .tempdir_in(above)
            .map_err(|source| io(unnamed(source)))?;
        Ok(Folder {
            target,
            parent,
            staging,
            is_inside,
        })
    }

    /// Writes a file by a function, buffered, and flushes it to the disk.
    ///
    /// # Errors
    /// When the function or the system fails, or `name` is no plain file name.
    pub fn file(
        &mut self,
        name: &str,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), SaveError> {
        let plain = Path::new(name).file_name().is_some_and(|last| last == name);
        if !plain {
            return Err(SaveError::Name {
                dir: self.target.clone(),
                name: name.to_owned(),
            });
        }
        let write_all = || {
            let file = File::create(self.staging.path().join(name))?;
            let mut buffered = BufWriter::with_capacity(1 << 18, file);
            write(&mut buffered)?;
            buffered
                .into_inner()
                .map_err(io::IntoInnerError::into_error)?
                .sync_all()
        };
        write_all().map_err(|source| SaveError::io(&self.target.join(name), source))
    }

    /// Writes a file of bytes.
    ///
    /// # Errors
    /// As [`Folder::file`].
    pub fn bytes(&mut self, name: &str, bytes: &[u8]) -> Result<(), SaveError> {
        self.file(name, |out| out.write_all(bytes))
    }

    /// Writes a value as indented JSON.
    ///
    /// # Errors
    /// As [`Folder::file`].
    pub fn json(&mut self, name: &str, value: &impl Serialize) -> Result<(), SaveError> {
        self.file(name, |out| write_indented(out, value))
    }

    /// Copies a file from elsewhere; a link is followed.
    ///
    /// # Errors
    /// As [`Folder::file`], and when the file cannot be read.
    pub fn copy(&mut self, name: &str, from: &Path) -> Result<(), SaveError> {
        let mut source = File::open(from).map_err(|source| SaveError::io(from, source))?;
        self.file(name, |out| io::copy(&mut source, out).map(drop))
    }

    /// Writes tensors as a safetensors file, in the order of their names.
    ///
    /// # Errors
    /// As [`Folder::file`], and when a tensor has more or fewer numbers than its shape.
    pub fn tensors(&mut self, name: &str, tensors: &[TensorRef]) -> Result<(), SaveError> {
        for tensor in tensors {
            if count(tensor.shape) != Some(tensor.data.len()) {
                return Err(wrong_length(tensor.name, tensor.shape, tensor.data.len()));
            }
        }
        let parts = tensors.iter().map(|&tensor| tensor.into()).collect();
        self.tensors_in_parts(name, parts)
    }

    /// Writes tensors whose numbers come in parts, as [`Folder::tensors`] does.
    ///
    /// # Errors
    /// As [`Folder::tensors`].
    pub fn tensors_in_parts(
        &mut self,
        name: &str,
        mut tensors: Vec<TensorParts>,
    ) -> Result<(), SaveError> {
        tensors.sort_by_key(|tensor| tensor.name);
        let header = header(&tensors)?;
        let mut wrong = None;
        self.file(name, |out| {
            out.write_all(&(header.len() as u64).to_le_bytes())?;
            out.write_all(&header)?;
            for tensor in tensors {
                let written = write_parts(out, tensor.parts)?;
                if count(tensor.shape) != Some(written) {
                    wrong = Some(wrong_length(tensor.name, tensor.shape, written));
                }
            }
            Ok(())
        })?;
        wrong.map_or(Ok(()), Err)
    }

    /// Writes config.json and model.safetensors. The tensors have canonical names, and the file those of the model's
    /// family; what the family lacks is left out.
    ///
    /// # Errors
    /// As [`Folder::tensors`].
    pub fn model(&mut self, config: &Config, tensors: &[TensorRef]) -> Result<(), SaveError> {
        let config = Config {
            dtype: Some("float32".to_owned()),
            ..config.clone()
        };
        self.json(CONFIG_FILE, &config.to_json())?;
        let mut renamed = Vec::new();
        for &tensor in tensors {
            if let Some(name) = config.family.tensor(tensor.name) {
                renamed.push((name, tensor));
            }
        }
        let tensors: Vec<TensorRef> = renamed
            .iter()
            .map(|(name, tensor)| TensorRef { name, ..*tensor })
            .collect();
        self.tensors(WEIGHTS_FILE, &tensors)
    }

    /// Writes the four tokenizer files, with `max_length` as `model_max_length`.
    ///
    /// # Errors
    /// As [`Folder::file`].
    pub fn tokenizer(
        &mut self,
        files: &TokenizerFiles,
        max_length: usize,
    ) -> Result<(), SaveError> {
        let mut config = files.config.clone();
        config.insert("model_max_length".to_owned(), json!(max_length));
        self.json(TOKENIZER_FILE, &files.tokenizer)?;
        self.json(TOKENIZER_CONFIG_FILE, &config)?;
        self.json(SPECIAL_TOKENS_FILE, &files.special_tokens)?;
        self.bytes(VOCAB_FILE, &files.vocab)
    }

    /// Writes training_args.json.
    ///
    /// # Errors
    /// As [`Folder::file`].
    pub fn training_args(&mut self, args: &TrainingArgs) -> Result<(), SaveError> {
        self.json(TRAINING_ARGS_FILE, args)
    }

    /// Gives the folder its name; returns it as an absolute path.
    ///
    /// # Errors
    /// [`SaveError::Exists`] for a destination that is not empty and that `existing` refuses, else
    /// what the system said. Then the destination is as it was, or, after a failed
    /// [`Existing::Merge`], no checkpoint.
    pub fn commit(self, existing: Existing) -> Result<PathBuf, SaveError> {
        let finish = || {
            sync_folder(self.staging.path())?;
            let is_free = self.is_free()?;
            match existing {
                _ if is_free && !self.is_inside => {
                    fs::rename(self.staging.path(), &self.target)?;
                    sync_folder(&self.parent)?;
                }
                Existing::Refuse if !is_free => return Ok(false),
                Existing::Replace if !is_free => self.replace()?,
                _ => self.merge()?,
            }
            Ok(true)
        };
        match finish() {
            Ok(true) => Ok(self.target),
            Ok(false) => Err(SaveError::Exists(self.target)),
            Err(source) => Err(SaveError::io(&self.target, source)),
        }
    }

    /// Whether nothing stands at the destination but the hidden folder.
    fn is_free(&self) -> io::Result<bool> {
        if !self.target.is_dir() {
            return Ok(!self.target.exists());
        }
        let own = self.staging.path().file_name();
        for entry in fs::read_dir(&self.target)? {
            if Some(entry?.file_name().as_os_str()) != own {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Moves the old folder and the new one aside, into the destination's neighbourhood, and removes the old one at
    /// the end.
    fn replace(&self) -> io::Result<()> {
        let aside = tempfile::Builder::new()
            .prefix(REPLACED)
            .suffix(SUFFIX)
            .tempdir_in(&self.parent)?;
        let [old, new] = ["old", "new"].map(|name| aside.path().join(name));
        fs::rename(self.staging.path(), &new)?;
        fs::rename(&self.target, &old)?;
        if let Err(error) = fs::rename(&new, &self.target) {
            fs::rename(&old, &self.target)?;
            return Err(error);
        }
        sync_folder(&self.parent)?;
        aside.close()
    }

    fn merge(&self) -> io::Result<()> {
        let config = self.staging.path().join(CONFIG_FILE);
        let whole = config.exists();
        if whole {
            remove_if_there(&self.target.join(CONFIG_FILE))?;
            sync_folder(&self.target)?;
        }
        for entry in fs::read_dir(self.staging.path())? {
            let entry = entry?;
            if entry.file_name() != CONFIG_FILE {
                fs::rename(entry.path(), self.target.join(entry.file_name()))?;
            }
        }
        sync_folder(&self.target)?;
        if whole {
            fs::rename(config, self.target.join(CONFIG_FILE))?;
            sync_folder(&self.target)?;
        }
        Ok(())
    }
}

/// Writes one file, whole or not at all; a file of that name is replaced.
///
/// # Errors
/// What the system said; the file is as it was.
pub fn write_file(path: impl AsRef<Path>, bytes: &[u8]) -> Result<(), SaveError> {
    let path = path.as_ref();
    let staged = Staged::write_untidied(path, |file| file.write_all(bytes));
    let written = staged.and_then(Staged::commit);
    written.map_err(|source| SaveError::io(path, source))
}

/// Writes a value as indented JSON, as [`write_file`] does.
///
/// # Errors
/// As [`write_file`], and for a value that JSON has no form for.
pub fn write_json(path: impl AsRef<Path>, value: &impl Serialize) -> Result<(), SaveError> {
    let path = path.as_ref();
    let mut text = Vec::new();
    write_indented(&mut text, value).map_err(|source| SaveError::io(path, source))?;
    write_file(path, &text)
}

/// That files can be made in a folder: a hidden one is, and removed.
///
/// # Errors
/// What the system said, in its own words.
pub fn try_in(dir: &Path) -> io::Result<()> {
    let mut file = tempfile::Builder::new();
    file.prefix(PREFIX).suffix(SUFFIX);
    let tried = file.tempfile_in(dir).and_then(NamedTempFile::close);
    tried.map_err(unnamed)
}

/// Whether a name in an output folder is that of something half-written, which a killed program has left there.
pub fn is_leftover(name: &str) -> bool {
    let begun = name.strip_suffix(SUFFIX);
    let own = [PREFIX, PREFIX_OF_NAME, ".checkpoint-", REPLACED];
    begun.is_some_and(|begun| own.iter().any(|prefix| begun.starts_with(prefix)))
}

/// Whether a folder holds anything but what [a killed program has left](is_leftover). One that is not there does not.
///
/// # Errors
/// When it can't be read, or is a link that leads nowhere, behind which no folder is made.
pub fn is_used(dir: impl AsRef<Path>) -> io::Result<bool> {
    let dir = dir.as_ref();
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && dir.is_symlink() => {
            let nowhere = "a link that leads nowhere; remove it, or name another --output_dir";
            return Err(io::Error::new(error.kind(), nowhere));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        entries => entries?,
    };
    for entry in entries {
        if !is_leftover(&entry?.file_name().to_string_lossy()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A folder that other programs leave alone, if they ask, until this is dropped or its program ends, however it ends.
/// Nothing of it is seen in the folder.
#[derive(Debug)]
pub struct Held(Option<File>);

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(folder) = &self.0 {
            // A program that is being started may have it open for a moment more.
            let _ = folder.unlock();
        }
    }
}

/// Holds a folder; none where it is held already. One that is not there, or that the system has no way to hold, is
/// everybody's.
pub fn hold(dir: impl AsRef<Path>) -> Option<Held> {
    let dir = dir.as_ref();
    let Some(Ok(folder)) = dir.is_dir().then(|| File::open(dir)) else {
        return Some(Held(None));
    };
    match folder.try_lock() {
        Ok(()) => Some(Held(Some(folder))),
        Err(TryLockError::WouldBlock) => None,
        Err(TryLockError::Error(_)) => Some(Held(None)),
    }
}

fn write_indented(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    out.write_all(b"\n")
}

/// Numbers of a tensor of this shape, if they can be counted.
fn count(shape: &[usize]) -> Option<usize> {
    shape
        .iter()
        .try_fold(1_usize, |n, size| n.checked_mul(*size))
}

fn wrong_length(name: &str, shape: &[usize], len: usize) -> SaveError {
    SaveError::Tensor {
        name: name.to_owned(),
        shape: shape.to_vec(),
        len,
    }
}

/// Writes numbers, little endian; returns how many.
fn write_parts<'a>(
    out: &mut dyn Write,
    parts: impl Iterator<Item = &'a [f32]>,
) -> io::Result<usize> {
    let mut written = 0;
    let mut bytes = Vec::new();
    for part in parts.flat_map(|part| part.chunks(1 << 14)) {
        bytes.clear();
        bytes.extend(part.iter().flat_map(|number| number.to_le_bytes()));
        out.write_all(&bytes)?;
        written += part.len();
    }
    Ok(written)
}

/// The header of a safetensors file, padded with spaces so that the numbers are aligned.
fn header(tensors: &[TensorParts]) -> Result<Vec<u8>, SaveError> {
    let mut infos = Vec::with_capacity(tensors.len());
    let mut end = 0_usize;
    for TensorParts { name, shape, .. } in tensors {
        let start = end;
        let bytes = count(shape).and_then(|count| count.checked_mul(size_of::<f32>()));
        let next = bytes.and_then(|bytes| end.checked_add(bytes));
        end = next.ok_or_else(|| wrong_length(name, shape, 0))?;
        let (shape, data_offsets) = (shape.to_vec(), (start, end));
        infos.push((
            (*name).to_owned(),
            TensorInfo {
                dtype: Dtype::F32,
                shape,
                data_offsets,
            },
        ));
    }
    let format = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let invalid = |what: String| SaveError::io(Path::new(WEIGHTS_FILE), io::Error::other(what));
    let metadata = Metadata::new(Some(format), infos).map_err(|e| invalid(e.to_string()))?;
    let mut header = serde_json::to_vec(&metadata).map_err(|e| invalid(e.to_string()))?;
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok(header)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names in a folder, hidden ones too, sorted.
    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn folder(target: &Path, files: &[(&str, &str)]) -> Folder {
        let mut folder = Folder::create(target).unwrap();
        for (name, text) in files {
            folder.bytes(name, text.as_bytes()).unwrap();
        }
        folder
    }

    #[test]
    fn a_folder_appears_whole_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("new").join("deep");
        let folder = folder(&target, &[("a", "1"), (CONFIG_FILE, "{}")]);
        assert!(!target.exists());
        assert_eq!(folder.commit(Existing::Refuse).unwrap(), target);
        assert_eq!(names(&target), ["a", CONFIG_FILE]);
        assert_eq!(names(target.parent().unwrap()), ["deep"]);
    }

    #[test]
    fn a_folder_given_up_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("model");
        drop(folder(&target, &[("a", "1")]));
        let mut folder = folder(&target, &[("a", "1")]);
        let full = folder
            .file("b", |_| Err(io::ErrorKind::StorageFull.into()))
            .unwrap_err();
        assert!(
            full.to_string()
                .starts_with(&target.join("b").display().to_string()),
            "{full}"
        );
        drop(folder);
        assert!(names(dir.path()).is_empty());
    }

    #[test]
    fn an_existing_folder_is_refused_replaced_or_merged_into() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("model");
        let new = [("a", "new"), (CONFIG_FILE, "new")];
        fs::create_dir(&target).unwrap();
        folder(&target, &[("a", "old"), ("b", "old"), (CONFIG_FILE, "old")])
            .commit(Existing::Refuse)
            .unwrap();
        let text = |name: &str| fs::read_to_string(target.join(name)).unwrap();

        let error = folder(&target, &new).commit(Existing::Refuse).unwrap_err();
        assert!(matches!(error, SaveError::Exists(_)), "{error}");
        assert_eq!(text("a"), "old");

        folder(&target, &new).commit(Existing::Merge).unwrap();
        assert_eq!(names(&target), ["a", "b", CONFIG_FILE]);
        assert_eq!(
            [text("a"), text("b"), text(CONFIG_FILE)],
            ["new", "old", "new"]
        );

        folder(&target, &[("c", "3")])
            .commit(Existing::Replace)
            .unwrap();
        assert_eq!(names(&target), ["c"]);
        assert_eq!(names(dir.path()), ["model"]);
    }

    /// It may be where another file system is mounted, and what is above it may not be written to.
    #[test]
    fn a_destination_that_is_there_stays_the_same_folder_and_nothing_lies_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("model");
        fs::create_dir(&target).unwrap();
        #[cfg(unix)]
        let number = || std::os::unix::fs::MetadataExt::ino(&fs::metadata(&target).unwrap());
        #[cfg(unix)]
        let before = number();
        for (existing, file) in [(Existing::Refuse, "a"), (Existing::Merge, "b")] {
            let folder = folder(&target, &[(file, "1"), (CONFIG_FILE, "{}")]);
            assert_eq!(names(dir.path()), ["model"]);
            let hidden = &names(&target)[0];
            assert!(
                hidden.starts_with(".berth.") && hidden.ends_with(".partial"),
                "{hidden}"
            );
            folder.commit(existing).unwrap();
            #[cfg(unix)]
            assert_eq!(number(), before);
        }
        assert_eq!(names(&target), ["a", "b", CONFIG_FILE]);
    }

    #[test]
    fn a_failed_merge_is_no_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("model");
        fs::create_dir_all(target.join("a")).unwrap();
        fs::write(target.join(CONFIG_FILE), "old").unwrap();
        let result = folder(&target, &[("a", "1"), (CONFIG_FILE, "new")]).commit(Existing::Merge);
        assert!(
            matches!(result, Err(SaveError::Io { .. })),
            "a file cannot replace a folder"
        );
        assert_eq!(names(&target), ["a"]);
        assert_eq!(names(dir.path()), ["model"]);
    }

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut folder = Folder::create(dir.path().join("model")).unwrap();
        for name in ["", ".", "..", "a/b", "/a", "../a", "a/"] {
            let error = folder.bytes(name, b"").unwrap_err();
            assert!(matches!(error, SaveError::Name { .. }), "{name:?}: {error}");
        }
        assert!(Folder::create("/").is_err());
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Folder::create(file.join("model")).unwrap_err().to_string();
        assert!(
            error.starts_with(&file.join("model").display().to_string()),
            "{error}"
        );
    }

    #[test]
    fn a_tensor_that_does_not_fill_its_shape_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut folder = Folder::create(dir.path().join("model")).unwrap();
        let short = TensorRef {
            name: "w",
            shape: &[2, 3],
            data: &[0.0; 5],
        };
        let error = folder.tensors("t", &[short]).unwrap_err().to_string();
        assert_eq!(error, "tensor `w`: shape [2, 3] does not hold 5 numbers");
    }

    #[test]
    fn what_a_killed_program_left_does_not_make_a_folder_used() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_used(dir.path().join("none")).unwrap());
        for name in [".berth.a1.partial", ".checkpoint-5.b2.partial"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        for name in [".berth-c3.partial", ".replaced.d4.partial"] {
            fs::write(dir.path().join(name), "half").unwrap();
        }
        assert!(!is_used(dir.path()).unwrap());
        for name in [".berth.e5", "berth.f6.partial", ".other.g7.partial"] {
            let path = dir.path().join(name);
            fs::write(&path, "mine").unwrap();
            assert!(is_used(dir.path()).unwrap(), "{name}");
            fs::remove_file(path).unwrap();
        }
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(is_used(file).is_err());
    }

    #[test]
    fn a_folder_that_files_can_be_made_in_stays_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        try_in(dir.path()).unwrap();
        assert!(names(dir.path()).is_empty());
        let error = try_in(&dir.path().join("none")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(!error.to_string().contains(SUFFIX), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_is_held_by_one_alone() {
        let dir = tempfile::tempdir().unwrap();
        let held = hold(dir.path());
        assert!(held.is_some() && hold(dir.path()).is_none());
        assert!(names(dir.path()).is_empty());
        drop(held);
        assert!(hold(dir.path()).is_some());
        let none = dir.path().join("none");
        let both = [&none, &none].map(hold);
        assert!(both.iter().all(Option::is_some) && !none.exists());
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("all_results.json");
        write_file(&path, b"a longer text").unwrap();
        write_file(&path, b"{}").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"{}");
        assert!(write_file(dir.path().join("none").join("f"), b"").is_err());
        assert!(
            write_file(dir.path(), b"").is_err(),
            "a folder is in the way"
        );
        assert_eq!(names(dir.path()), ["all_results.json"]);
    }

    #[test]
    fn a_value_without_json_leaves_the_file_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("all_results.json");
        write_json(&path, &json!({"eval_loss": 0.5})).unwrap();
        let written = fs::read_to_string(&path).unwrap();
        assert_eq!(written, "{\n  \"eval_loss\": 0.5\n}\n");
        let no_keys = HashMap::from([([1, 2], 3)]);
        let error = write_json(&path, &no_keys).unwrap_err().to_string();
        assert!(error.starts_with(&path.display().to_string()), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), written);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named_and_no_hidden_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("none").join("f");
        let error = write_file(&path, b"").unwrap_err().to_string();
        assert!(error.starts_with(&path.display().to_string()), "{error}");
        assert!(!error.contains(".partial"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_one_where_nothing_is_behind_it_too() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("deep")).unwrap();
        symlink("deep/second", at("first")).unwrap();
        symlink("../file", at("deep/second")).unwrap();
        for text in ["new", "newer"] {
            write_file(at("first"), text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(at("file")).unwrap(), text);
            assert!(at("first").is_symlink() && at("deep/second").is_symlink());
        }
        assert_eq!(names(dir.path()), ["deep", "file", "first"]);

        symlink("ring", at("ring")).unwrap();
        assert!(write_file(at("ring"), b"").is_err());
        assert!(at("ring").is_symlink());
    }

    #[cfg(unix)]
    #[test]
    fn files_have_the_usual_rights() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("model");
        folder(&target, &[("a", "1")])
            .commit(Existing::Refuse)
            .unwrap();
        write_file(target.join("b"), b"1").unwrap();
        let plain = target.join("c");
        fs::write(&plain, "1").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&target.join("a")), mode(&plain));
        assert_eq!(mode(&target.join("b")), mode(&plain));
    }
}
