//! A walk's folder: what walks made in it stands in a file, so that nothing else is ever written over.

use crate::error::Error;
use crate::outputs;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

/// The file that names what walks made in a folder.
pub(super) const MARKER: &str = ".berth-quickstart";

/// Its first line, for people; each of the others is a name.
const MARKED: &str =
    "Made by berth quickstart, which writes over these and over nothing else here:";

/// Notes what a walk is going to make in a folder, which may be there from an earlier one.
///
/// # Errors
/// Where something lies in its way that no walk made. Then nothing was written.
pub(super) fn claim(folder: &Path, makes: [String; 5]) -> Result<(), Error> {
    let mut made = made(folder)?;
    for name in makes {
        let path = folder.join(&name);
        if made.insert(name) && path.symlink_metadata().is_ok() {
            return Err(not_ours(&path, "is there already"));
        }
    }
    berth_trainer::tidy(folder)?;
    fs::create_dir_all(folder).map_err(|source| Error::file(folder, source))?;
    let names = made.iter().map(|name| format!("{name}\n"));
    let text = format!("{MARKED}\n{}", names.collect::<String>());
    berth_checkpoint::save::write_file(folder.join(MARKER), text.as_bytes())?;
    Ok(())
}

/// The names of what walks made in a folder: none in a new or an empty one.
///
/// # Errors
/// Where others made the folder, or it can't be read.
fn made(folder: &Path) -> Result<BTreeSet<String>, Error> {
    let marker = folder.join(MARKER);
    match fs::read_to_string(&marker) {
        Ok(text) => return Ok(text.lines().skip(1).map(str::to_owned).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(Error::file(marker, source)),
    }
    match outputs::is_used(folder)? {
        false => Ok(BTreeSet::new()),
        true => Err(not_ours(folder, "not empty")),
    }
}

fn not_ours(path: &Path, what: &str) -> Error {
    Error::Path {
        path: path.to_owned(),
        what: format!(
            "{what}, and not made by quickstart; name another --output_dir, or remove it"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Road;
    use crate::args::QuickstartArgs;
    use berth_task::Task;
    use std::fs;
    use std::path::Path;

    fn lay(folder: &Path, task: Task, tiny: bool) -> Result<(), String> {
        let road = Road::lay(&QuickstartArgs {
            task,
            output_dir: folder.to_owned(),
            tiny,
            threads: None,
        });
        road.map(drop).map_err(|error| error.to_string())
    }

    /// Writes a file in a folder that is made for it.
    fn put(folder: &Path, name: &str, content: &str) {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    const SENTENCES: Task = Task::TextClassification;
    const TAGS: Task = Task::TokenClassification;

    #[test]
    fn what_others_made_stays_as_it_is() {
        for (name, content) in [
            ("tiny/config.json", "{}"),
            ("data/sentiment/train.tsv", "sentence\tlabel\n"),
            ("notes.txt", "mine"),
            (".berth.hidden", "mine"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let folder = &dir.path().join("own");
            put(folder, name, content);
            let refused = lay(folder, SENTENCES, true).unwrap_err();
            assert_eq!(
                refused,
                format!(
                    "{}: not empty, and not made by quickstart; name another --output_dir, or remove it",
                    folder.display()
                )
            );
            assert_eq!(fs::read_dir(folder).unwrap().count(), 1, "{name}");
            assert_eq!(fs::read_to_string(folder.join(name)).unwrap(), content);
        }
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "file", "mine");
        assert!(lay(&dir.path().join("file"), SENTENCES, true).is_err());
    }

    #[test]
    fn a_walk_goes_on_in_what_walks_made() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["new", "empty", "killed"] {
            let folder = &dir.path().join(name);
            match name {
                "empty" => fs::create_dir(folder).unwrap(),
                "killed" => put(folder, ".berth.a1b2c3.partial", "Made"),
                _ => {}
            }
            lay(folder, SENTENCES, true).unwrap();
            assert!(folder.join("data/sentiment/train.tsv").is_file(), "{name}");
            assert!(!folder.join(".berth.a1b2c3.partial").exists());
            // As an interrupted walk leaves it, with files that others put beside it.
            put(folder, "tiny/checkpoint-1/config.json", "{}");
            put(folder, "tiny.base/config.json", "{}");
            put(folder, "bits", "mine");
            put(folder, "parts-of-speech/config.json", "mine");
            lay(folder, SENTENCES, true).unwrap();
            lay(folder, SENTENCES, false).unwrap();
            lay(folder, TAGS, true).unwrap();
            let refused = lay(folder, TAGS, false).unwrap_err();
            assert!(
                refused.contains("parts-of-speech: is there already"),
                "{refused}"
            );
            assert!(
                refused.contains("another --output_dir, or remove it"),
                "{refused}"
            );
            let own = folder.join("parts-of-speech/config.json");
            assert_eq!(fs::read_to_string(own).unwrap(), "mine");
            lay(folder, SENTENCES, true).unwrap();
        }
    }
}
