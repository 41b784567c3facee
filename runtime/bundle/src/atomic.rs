//! A file that appears whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use tempfile::Builder;

/// Has `content` write to a new file beside `path`, and gives it that name when all of it has
/// reached the disk. After an error the new file is gone, and an old one of that name untouched.
pub(crate) fn write(
    path: &Path,
    content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    // A link stays one, and what is no file stays what it is.
    let path = match fs::metadata(path) {
        Ok(there) if !there.is_file() => return Err(io::Error::other("is no regular file")),
        Ok(_) => &fs::canonicalize(path)?,
        Err(_) => path,
    };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut builder = Builder::new();
    builder.prefix(".berth-").suffix(".partial");
    #[cfg(unix)]
    {
        // As any new file, less what the umask takes away; the default is for its owner's eyes only.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(folder)?;
    let mut buffered = BufWriter::new(file.as_file_mut());
    content(&mut buffered)?;
    buffered.flush()?;
    drop(buffered);
    file.as_file().sync_all()?;
    file.persist(path)?;
    sync_folder(folder)
}

/// Makes the new name itself durable.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Elsewhere a folder can't be opened as a file, and the rename is left to the system.
#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;
    use std::vec::Vec;

    fn names(folder: &Path) -> Vec<String> {
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name();
        let entries = fs::read_dir(folder).unwrap();
        entries
            .map(|entry| name(entry).into_string().unwrap())
            .collect()
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
