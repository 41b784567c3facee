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
    /// What else there is to know. For people.
    #[expect(
        dead_code,
        reason = "read by people, and so that no other key is taken for it"
    )]
    note: Option<String>,
    /// The digest of each file's content by its name.
    #[serde(default)]
    sha256: BTreeMap<String, String>,
}

/// Holds the files in `folder` against the digests in the file of settings `config`; how many there are.
///
/// # Errors
/// At the first that is missing or another one, or where the table is none.
pub fn check(config: &Path, folder: &Path) -> Result<usize, Error> {
    let Some((settings, published)) = table(config)? else {
        return Ok(0);
    };
    for (name, known) in &published.sha256 {
        let is_digest = known.len() == 64 && known.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_digest {
            let what = format!("{name:?} has no SHA-256 of 64 hexadecimal digits");
            return Err(wrong(config, &settings, name, what));
        }
        let home = published
            .home
            .as_deref()
            .unwrap_or("where the recipe's page says");
        let path = place(folder, Path::new(name)).ok_or_else(|| Error::Model {
            path: folder.to_owned(),
            what: format!("holds no {name}, also not as .gz; it is found at {home}"),
        })?;
        let found = content_sha256(&path)?;
        if !found.eq_ignore_ascii_case(known) {
            let config = config.display();
            return Err(Error::Model {
                path,
                what: format!(
                    "not the file that {config} was made for: its content has the SHA-256 {found}, \
                     not {known}; get it from {home}, or name files of your own by --train_file and \
                     --validation_file without --data_dir"
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

/// What the table of the file of settings `config` tells of the file `train`, which was given as `named`, if it was
/// given. Nothing where it is none of the recipe's: its content has to have one of the digests, or, where there are
/// none, it has to be the one that the recipe names.
///
/// # Errors
/// Where the table is none, or a file can't be read.
pub fn origin(config: &Path, named: Option<&Path>, train: &Path) -> Result<Origin, Error> {
    let Some((settings, published)) = table(config)? else {
        return Ok(Origin::default());
    };
    let is_of_recipe = if published.sha256.is_empty() {
        let mut keys = settings.values.iter();
        let own = keys.find(|(key, _)| key.replace('-', "_") == "train_file");
        let own = own.and_then(|(_, value)| value.as_str());
        own.map(Path::new) == named
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
        let told = |recipe: &str, named: Option<&Path>, content: &str| {
            fs::write(&config, recipe).unwrap();
            fs::write(&train, content).unwrap();
            origin(&config, named, &train).unwrap()
        };
        let data = "[data]\nhome = 'https://there'\nlicence = 'CC BY 4.0'\n";
        let known = || Origin {
            home: Some("https://there".into()),
            licence: Some("CC BY 4.0".into()),
        };
        let digests = format!("{data}[data.sha256]\n'a.tsv' = '{ABC}'\n");
        // Whatever it is called.
        assert_eq!(told(&digests, Some(&train), "abc"), known());
        assert_eq!(told(&digests, Some(&train), "abd"), Origin::default());
        let pipe = dir.path().join("none");
        assert_eq!(
            origin(&config, Some(&pipe), &pipe).unwrap(),
            Origin::default()
        );
        let own = format!("train-file = 'a.tsv'\n{data}");
        assert_eq!(told(&own, Some(Path::new("a.tsv")), "abd"), known());
        assert_eq!(told(&own, Some(&train), "abd"), Origin::default());
        assert_eq!(told(&format!("seed = 1\n{data}"), None, "abd"), known());
        assert_eq!(told("seed = 1\n", None, "abd"), Origin::default());
    }
}
