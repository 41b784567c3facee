//! A file that appears whole or not at all.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::string::ToString;

use tempfile::{Builder, NamedTempFile};

/// What the name of a hidden file begins with.
pub const PREFIX: &str = ".berth.";

/// The same where the name follows that the file is going to have.
pub const PREFIX_OF_NAME: &str = ".berth-";

/// What the name of a hidden file ends with.
pub const SUFFIX: &str = ".partial";

/// A file that has reached the disk, and has yet to get its name. Dropped before that it is gone, and an old one of that
/// name untouched.
#[derive(Debug)]
pub struct Staged {
    file: NamedTempFile,
    place: PathBuf,
}

impl Staged {
    /// Has `content` write to a new file beside `path`. After an error it is gone. What killed programs have left of
    /// the same file goes first.
    ///
    /// # Errors
    /// As [`place`], and what `content` and the system say.
    pub fn write(
        path: &Path,
        content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<Self> {
        let place = place(path)?;
        let mut prefix = OsString::from(PREFIX_OF_NAME);
        // A name near the longest that there may be leaves no room for it.
        if let Some(name) = place.file_name().filter(|name| name.len() < 200) {
            prefix.push(name);
            prefix.push(".");
            tidy(folder_of(&place), &prefix);
        }
        Staged::write_hidden(place, &prefix, content)
    }

    /// As [`write`](Self::write), and leaves alone what others have half-written of the same file.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_untidied(
        path: &Path,
        content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<Self> {
        Staged::write_hidden(place(path)?, OsStr::new(PREFIX), content)
    }

    fn write_hidden(
        place: PathBuf,
        prefix: &OsStr,
        content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<Self> {
        let mut builder = Builder::new();
        builder.prefix(prefix).suffix(SUFFIX);
        #[cfg(unix)]
        {
            // As any new file, less what the umask takes away; the default is for its owner's eyes only.
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        let mut file = builder.tempfile_in(folder_of(&place)).map_err(unnamed)?;
        // So that others see that somebody writes it. Where nothing can be locked they don't.
        let _ = file.as_file().try_lock();
        let mut buffered = BufWriter::new(file.as_file_mut());
        content(&mut buffered)?;
        buffered.flush()?;
        drop(buffered);
        file.as_file().sync_all()?;
        Ok(Staged { file, place })
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// What the system says.
    pub fn commit(self) -> io::Result<()> {
        self.file.persist(&self.place)?;
        sync_folder(folder_of(&self.place))
    }
}

/// Where a file of this name is written: a link stays one, also where nothing is behind it yet, and what is no file
/// stays what it is.
///
/// # Errors
/// Where no file can be, and what the system says.
pub fn place(path: &Path) -> io::Result<PathBuf> {
    match fs::metadata(path) {
        Ok(there) if !there.is_file() => Err(io::Error::other("is no regular file")),
        Ok(_) => fs::canonicalize(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // The system would not say so of links in a ring.
            let mut path = path.to_path_buf();
            while let Ok(next) = fs::read_link(&path) {
                path.set_file_name(next);
            }
            Ok(path)
        }
        Err(error) => Err(error),
    }
}

/// The folder that a file of this name lies in.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Removes what killed programs have left half-written of the same file.
fn tidy(folder: &Path, prefix: &OsStr) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let rest = name
            .as_encoded_bytes()
            .strip_prefix(prefix.as_encoded_bytes())
            .and_then(|rest| rest.strip_suffix(SUFFIX.as_bytes()));
        // A file whose name goes on behind a dot is another one.
        if rest.is_some_and(|rest| !rest.contains(&b'.')) && !is_being_written(&entry.path()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Whether a program that runs has locked the file.
fn is_being_written(path: &Path) -> bool {
    let locked = File::open(path).map(|file| file.try_lock());
    matches!(locked, Ok(Err(TryLockError::WouldBlock)))
}

/// What the system said of a hidden file, without its name, which nobody gave.
pub fn unnamed(error: io::Error) -> io::Error {
    match error.to_string().split_once(" at path ") {
        Some((said, _)) => io::Error::new(error.kind(), said),
        None => error,
    }
}

/// Makes the names in a folder durable.
///
/// # Errors
/// What the system says.
#[cfg(unix)]
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Nothing: elsewhere than on Unix a folder can't be opened as a file, and its names are left to the system.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;
    use std::vec::Vec;

    fn write(
        path: &Path,
        content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        Staged::write(path, content)?.commit()
    }

    /// Sorted, hidden ones too.
    fn names(folder: &Path) -> Vec<String> {
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name();
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| name(entry).into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn content_replaces_the_old_file_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.berth");
        for text in ["one", "another"] {
            write(&path, |file| file.write_all(text.as_bytes())).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(names(folder.path()), ["a.berth"]);
    }

    #[test]
    fn a_disk_that_is_full_halfway_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.berth");
        let full = |file: &mut dyn Write| {
            file.write_all(&[7; 100_000])?;
            Err(io::ErrorKind::StorageFull.into())
        };
        let error = write(&path, full).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(names(folder.path()).is_empty());

        fs::write(&path, "old").unwrap();
        write(&path, full).unwrap_err();
        assert_eq!(names(folder.path()), ["a.berth"]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    }

    #[test]
    fn of_two_that_write_the_same_file_none_loses_what_it_has() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.berth");
        let first = Staged::write(&path, |file| file.write_all(b"first")).unwrap();
        let second = Staged::write(&path, |file| file.write_all(b"second")).unwrap();
        second.commit().unwrap();
        first.commit().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "first");
        assert_eq!(names(folder.path()), ["a.berth"]);
    }

    #[test]
    fn a_file_has_no_name_before_it_is_given_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.berth");
        fs::write(&path, "old").unwrap();
        let staged = || Staged::write(&path, |file| file.write_all(b"new")).unwrap();
        let kept = staged();
        assert_eq!(names(folder.path()).len(), 2);
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        drop(kept);
        assert_eq!(names(folder.path()), ["a.berth"]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        staged().commit().unwrap();
        assert_eq!(names(folder.path()), ["a.berth"]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    }

    #[test]
    fn what_a_killed_program_left_of_the_file_goes_and_of_others_stays() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for hidden in [
            ".berth-a.berth.x1y2z3.partial",
            ".berth-a.berth.new.x1y2z3.partial",
            ".berth-b.berth.x1y2z3.partial",
            ".berth-a.berth.x1y2z3",
        ] {
            fs::write(at(hidden), "half").unwrap();
        }
        write(&at("a.berth"), |file| file.write_all(b"new")).unwrap();
        let left = [
            ".berth-a.berth.new.x1y2z3.partial",
            ".berth-a.berth.x1y2z3",
            ".berth-b.berth.x1y2z3.partial",
            "a.berth",
        ];
        assert_eq!(names(folder.path()), left);
    }

    #[test]
    fn what_others_are_writing_of_the_file_is_left_alone_where_asked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        let staged = || Staged::write_untidied(&path, |file| file.write_all(b"{}")).unwrap();
        let (first, second) = (staged(), staged());
        for name in names(folder.path()) {
            assert!(name.starts_with(PREFIX) && name.ends_with(SUFFIX), "{name}");
        }
        first.commit().unwrap();
        second.commit().unwrap();
        assert_eq!(names(folder.path()), ["a.json"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_name_of_any_length_that_a_file_may_have_is_written() {
        let folder = tempfile::tempdir().unwrap();
        for len in [199, 200, 255] {
            let name = "a".repeat(len);
            write(&folder.path().join(&name), |_| Ok(())).unwrap();
            assert!(names(folder.path()).contains(&name));
        }
        assert_eq!(names(folder.path()).len(), 3);
    }

    #[test]
    fn an_error_does_not_name_the_hidden_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing/a.berth");
        let error = write(&path, |_| Ok(())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(!error.to_string().contains(SUFFIX), "{error}");
    }

    #[test]
    fn a_target_that_cannot_be_replaced_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.berth");
        fs::create_dir(&path).unwrap();
        write(&path, |file| file.write_all(b"new")).unwrap_err();
        assert_eq!(names(folder.path()), ["a.berth"]);
        write(&folder.path().join("missing/b.berth"), |_| Ok(())).unwrap_err();
        assert_eq!(names(folder.path()), ["a.berth"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_a_link_and_a_device_a_device() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let [file, link, null] =
            ["a.berth", "b.berth", "null"].map(|name| folder.path().join(name));
        fs::write(&file, "old").unwrap();
        symlink(&file, &link).unwrap();
        symlink("/dev/null", &null).unwrap();
        write(&link, |file| file.write_all(b"new")).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        fs::remove_file(&file).unwrap();
        write(&link, |file| file.write_all(b"newer")).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "newer");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        write(&null, |file| file.write_all(b"new")).unwrap_err();
        assert!(fs::symlink_metadata(&null).unwrap().is_symlink());
    }

    #[cfg(unix)]
    #[test]
    fn others_may_read_it_as_any_new_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let mode = |name: &str| {
            let path = folder.path().join(name);
            fs::metadata(path).unwrap().permissions().mode()
        };
        fs::write(folder.path().join("plain"), "").unwrap();
        write(&folder.path().join("bundle"), |_| Ok(())).unwrap();
        assert_eq!(mode("bundle"), mode("plain"));
    }
}
