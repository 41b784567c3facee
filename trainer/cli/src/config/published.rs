//! The table `data` of a file of settings: which files a recipe was made for, and where they are found.
//!
//! ```toml
//! [data]
//! home = "https://…"       # where to get them
//! licence = "CC BY 4.0"
//! note = "…"               # how they were made of what is found there
//! [data.sha256]            # of what each file holds, gzip undone
//! "train.tsv" = "…"
//! ```
//!
//! With `--data_dir` the files are held against their digests before anything is learnt, so that figures are
//! compared with figures on the same rows. Each may lie there as it is or with `.gz` behind its name. A model that
//! was made of one of these files tells `home` and `licence` on its card.

use super::{DATA, Settings, line_of, read};
use crate::error::Error;
use crate::show;
use berth_checkpoint::hex;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The files of a recipe.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Published {
    /// Where they are found.
    home: Option<String>,
    /// Under what they may be used.
    licence: Option<String>,
    /// How they were made of what is found there. For people.
    note: Option<String>,
    /// The digest of each file's content by its name.
    #[serde(default)]
    sha256: BTreeMap<String, String>,
}

impl Published {
    /// The way to a file that is missing, and to one in the place of which there is another.
    fn ways(&self) -> [String; 2] {
        let home = self.home.as_deref();
        let at = home.map_or("where the recipe's page says".into(), |home| {
            format!("at {home}")
        });
        let own = "name files of your own by --train_file and --validation_file without --data_dir";
        match &self.note {
            Some(note) => {
                let made = format!("it is made of what is found {at}: {}", show::line(note));
                [made.clone(), format!("{own}, or get it: {made}")]
            }
            None => {
                let home = home.unwrap_or(&at);
                let get = format!("get it from {home}, or {own}");
                [format!("it is found {at}"), get]
            }
        }
    }
}

/// Holds the files in `folder` against the digests in the file of settings `config`; how many there are.
///
/// # Errors
/// At the first that is missing or another one, or where the table is none.
pub fn check(config: &Path, folder: &Path) -> Result<usize, Error> {
    let Some((settings, published)) = table(config)? else {
        return Ok(0);
    };
    let [missing, other] = published.ways();
    for (name, known) in &published.sha256 {
        let is_digest = known.len() == 64 && known.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_digest {
            let what = format!("{name:?} has no SHA-256 of 64 hexadecimal digits");
            return Err(wrong(config, &settings, name, what));
        }
        let path = place(folder, Path::new(name)).ok_or_else(|| Error::Path {
            path: folder.to_owned(),
            what: format!("holds no {name}, also not as .gz; {missing}"),
        })?;
        let found = content_sha256(&path)?;
        if !found.eq_ignore_ascii_case(known) {
            let config = config.display();
            return Err(Error::Path {
                path,
                what: format!(
                    "not the file that {config} was made for: its content has the SHA-256 {found}, \
                     not {known}; {other}"
                ),
            });
        }
    }
    Ok(published.sha256.len())
}

/// Where data come from, and under what they may be used, as far as it is known.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Where they are found.
    pub home: Option<String>,
    /// Their licence.
    pub licence: Option<String>,
}

/// What the table of the file of settings `config` tells of the file `train`. Nothing where it is none of the recipe's:
/// its content has to have one of the digests, or, where there are none, `named` and `folder`, which are `--train_file`
/// and `--data_dir` as they were given, have to be the recipe's.
///
/// # Errors
/// Where the table is none, or a file can't be read.
pub fn origin(
    config: &Path,
    named: Option<&Path>,
    folder: Option<&Path>,
    train: &Path,
) -> Result<Origin, Error> {
    let Some((settings, published)) = table(config)? else {
        return Ok(Origin::default());
    };
    let is_of_recipe = if published.sha256.is_empty() {
        let own = |flag: &str| {
            let mut keys = settings.values.iter();
            let (_, value) = keys.find(|(key, _)| key.replace('-', "_") == flag)?;
            value.as_str().map(Path::new)
        };
        named.is_some() && named == own("train_file") && folder == own("data_dir")
    } else if train.is_file() {
        let found = content_sha256(train)?;
        let mut known = published.sha256.values();
        known.any(|known| found.eq_ignore_ascii_case(known))
    } else {
        // A pipe can't be read again.
        false
    };
    Ok(match is_of_recipe {
        true => Origin {
            home: published.home,
            licence: published.licence,
        },
        false => Origin::default(),
    })
}

/// A file of settings, and its table; nothing where it has none.
fn table(config: &Path) -> Result<Option<(Settings, Published)>, Error> {
    let settings = read(config)?;
    let Some(value) = settings.values.get(DATA) else {
        return Ok(None);
    };
    match Published::deserialize(value) {
        Ok(published) => Ok(Some((settings, published))),
        Err(error) => Err(wrong(config, &settings, DATA, error.to_string())),
    }
}

/// What is wrong with a key of a file of settings.
fn wrong(config: &Path, settings: &Settings, key: &str, what: String) -> Error {
    Error::Setting {
        path: config.to_owned(),
        line: line_of(&settings.text, key),
        what,
    }
}

/// The SHA-256 of what a file holds, gzip undone, in hexadecimal.
///
/// # Errors
/// When it can't be read.
pub fn content_sha256(path: &Path) -> Result<String, Error> {
    let content = berth_data::read_bytes(path)?;
    Ok(hex(&Sha256::digest(content)))
}

/// The file of that name in a folder, as it is or compressed.
pub fn place(folder: &Path, name: &Path) -> Option<PathBuf> {
    let plain = folder.join(name);
    let mut compressed = plain.clone().into_os_string();
    compressed.push(".gz");
    [plain, compressed.into()]
        .into_iter()
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::fs;
    use std::io::Write;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn checked(table: &str, files: &[(&str, &[u8])]) -> Result<usize, String> {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("a.toml");
        fs::write(&config, format!("seed = 1\n[data]\n{table}\n")).unwrap();
        for (name, bytes) in files {
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        let folder = dir.path().display().to_string();
        check(&config, dir.path()).map_err(|error| error.to_string().replace(&folder, "D"))
    }

    #[test]
    fn files_are_held_against_their_digests_compressed_or_not() {
        let table =
            format!("home = 'https://there'\nlicence = 'MIT'\n[data.sha256]\n'a.tsv' = '{ABC}'");
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(b"abc").unwrap();
        assert_eq!(checked(&table, &[("a.tsv", b"abc")]), Ok(1));
        assert_eq!(
            checked(&table, &[("a.tsv.gz", &gzip.finish().unwrap())]),
            Ok(1)
        );
        assert_eq!(
            checked(&table, &[("b.tsv", b"abc")]).unwrap_err(),
            "D: holds no a.tsv, also not as .gz; it is found at https://there"
        );
        let other = checked(&table, &[("a.tsv", b"abd")]).unwrap_err();
        assert!(
            other.starts_with("D/a.tsv: not the file that D/a.toml was made for: "),
            "{other}"
        );
        assert!(
            other.contains(ABC) && other.contains("get it from https://there"),
            "{other}"
        );
    }

    #[test]
    fn what_is_not_published_as_such_is_told_with_how_it_was_made() {
        let note =
            "home = 'https://there'\nnote = \"\"\"a.zip's table,\nwithout duplicates\"\"\"\n";
        let table = format!("{note}[data.sha256]\n'a.tsv' = '{ABC}'");
        let made =
            "it is made of what is found at https://there: a.zip's table, without duplicates";
        assert_eq!(
            checked(&table, &[]).unwrap_err(),
            format!("D: holds no a.tsv, also not as .gz; {made}")
        );
        let other = checked(&table, &[("a.tsv", b"abd")]).unwrap_err();
        let way = format!(
            "not {ABC}; name files of your own by --train_file and --validation_file without --data_dir, \
             or get it: {made}"
        );
        assert!(other.ends_with(&way), "{other}");
        assert_eq!(
            checked(&format!("[data.sha256]\n'a.tsv' = '{ABC}'"), &[]).unwrap_err(),
            "D: holds no a.tsv, also not as .gz; it is found where the recipe's page says"
        );
    }

    #[test]
    fn a_table_that_is_none_is_named_with_its_line() {
        let unknown = checked("hom = 'x'", &[]).unwrap_err();
        assert!(
            unknown.starts_with("D/a.toml:2: unknown field `hom`"),
            "{unknown}"
        );
        assert_eq!(
            checked("[data.sha256]\n'a.tsv' = 'abc'", &[]).unwrap_err(),
            "D/a.toml:4: \"a.tsv\" has no SHA-256 of 64 hexadecimal digits"
        );
        assert_eq!(checked("", &[]), Ok(0));
    }

    #[test]
    fn a_licence_holds_for_the_recipes_own_files_alone() {
        let dir = tempfile::tempdir().unwrap();
        let [config, train] = ["a.toml", "mine.tsv"].map(|name| dir.path().join(name));
        let told = |recipe: &str, [named, folder]: [Option<&str>; 2], content: &str| {
            fs::write(&config, recipe).unwrap();
            fs::write(&train, content).unwrap();
            let [named, folder] = [named, folder].map(|given| given.map(Path::new));
            origin(&config, named, folder, &train).unwrap()
        };
        let none = Origin::default;
        let data = "[data]\nhome = 'https://there'\nlicence = 'CC BY 4.0'\n";
        let known = || Origin {
            home: Some("https://there".into()),
            licence: Some("CC BY 4.0".into()),
        };
        let digests = format!("{data}[data.sha256]\n'a.tsv' = '{ABC}'\n");
        // Whatever it is called.
        let mine = [Some("mine.tsv"), None];
        assert_eq!(told(&digests, mine, "abc"), known());
        assert_eq!(told(&digests, mine, "abd"), none());
        let pipe = dir.path().join("none");
        assert_eq!(origin(&config, Some(&pipe), None, &pipe).unwrap(), none());
        let own = format!("train-file = 'a.tsv'\n{data}");
        assert_eq!(told(&own, [Some("a.tsv"), None], "abd"), known());
        assert_eq!(told(&own, [Some("a.tsv"), Some("other")], "abd"), none());
        assert_eq!(told(&own, mine, "abd"), none());
        let folder = format!("data_dir = 'd'\n{own}");
        assert_eq!(told(&folder, [Some("a.tsv"), Some("d")], "abd"), known());
        assert_eq!(told(&folder, [Some("a.tsv"), Some("e")], "abd"), none());
        let unnamed = format!("task_name = 'mr'\n{data}");
        assert_eq!(told(&unnamed, [None, Some("other")], "abd"), none());
        assert_eq!(told("seed = 1\n", [None; 2], "abd"), none());
    }
}
