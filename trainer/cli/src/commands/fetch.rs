//! `berth fetch`: a base model by name; prints its folder, or JSON that says what is in it too.

use super::print;
use crate::args::FetchArgs;
use crate::error::Error;
use crate::fetch;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

/// Gets the model, and copies it where `--output_dir` says.
pub fn run(args: &FetchArgs) -> Result<(), Error> {
    let found = fetch::resolve(&args.name, &fetch::Options::from_environment())?;
    let files = files(&found)?;
    let folder = args.output_dir.as_ref().unwrap_or(&found);
    if let Some(target) = &args.output_dir {
        fs::create_dir_all(target).map_err(|source| Error::file(target, source))?;
        for name in files.keys() {
            let from = found.join(name);
            let copy = fs::read(&from).map_err(|source| Error::file(&from, source))?;
            berth_checkpoint::save::write_file(target.join(name), &copy)?;
        }
    }
    if !args.json {
        return print(folder.display());
    }
    let sizes = files
        .iter()
        .map(|(name, bytes)| (name.to_string_lossy().into_owned(), json!(bytes)));
    print(json!({
        "name": args.name,
        "path": folder.to_string_lossy(),
        "files": sizes.collect::<Map<String, Value>>(),
    }))
}

/// The files of a folder by name, and how many bytes each has.
fn files(folder: &Path) -> Result<BTreeMap<OsString, u64>, Error> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(|source| Error::file(folder, source))? {
        let path = entry.map_err(|source| Error::file(folder, source))?.path();
        // Links are followed: the cache has nothing else.
        let (Some(name), Ok(there)) = (path.file_name(), fs::metadata(&path)) else {
            continue;
        };
        if there.is_file() {
            files.insert(name.to_owned(), there.len());
        }
    }
    Ok(files)
}
