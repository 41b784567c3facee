//! `berth fetch`: a base model by name; prints its folder.

use super::print;
use crate::args::FetchArgs;
use crate::error::Error;
use crate::fetch;
use std::fs;

/// Gets the model, and copies it where `--output_dir` says.
pub fn run(args: &FetchArgs) -> Result<(), Error> {
    let folder = fetch::resolve(&args.name, &fetch::Options::from_environment())?;
    let Some(target) = &args.output_dir else {
        return print(folder.display());
    };
    fs::create_dir_all(target).map_err(|source| Error::file(target, source))?;
    for entry in fs::read_dir(&folder).map_err(|source| Error::file(&folder, source))? {
        let from = entry.map_err(|source| Error::file(&folder, source))?.path();
        let (Some(name), true) = (from.file_name(), from.is_file()) else {
            continue;
        };
        let copy = fs::read(&from).map_err(|source| Error::file(&from, source))?;
        let to = target.join(name);
        berth_checkpoint::save::write_file(&to, &copy)?;
    }
    print(target.display())
}
