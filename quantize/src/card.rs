//! The model's card in short, for the device: what the checkpoint's README.md says of the model, without
//! what only the Hub or a workstation needs.

use std::fs::File;
use std::io::Read;

use berth_bundle::MAX_CARD_BYTES;
use berth_checkpoint::Checkpoint;

/// The card of a checkpoint.
const FILE: &str = "README.md";

/// The most that is read of it.
const LONGEST: u64 = 1 << 20;

/// Sections that are left out: how to use the folder, and what the bundle's header tells itself.
const LEFT_OUT: [&str; 3] = ["Use", "Labels", "Figures"];

/// The card in short; none where the folder has no card that can be read.
pub(crate) fn of(checkpoint: &Checkpoint) -> Option<String> {
    let mut readme = String::new();
    let file = File::open(checkpoint.dir.join(FILE)).ok()?;
    file.take(LONGEST).read_to_string(&mut readme).ok()?;
    Some(in_short(&readme)).filter(|card| !card.is_empty())
}

/// The text before the first section and the sections behind it, as many as a bundle has room for.
fn in_short(readme: &str) -> String {
    let mut card = String::new();
    for section in sections(without_front_matter(readme)) {
        let heading = section.lines().next().unwrap_or_default();
        if LEFT_OUT.contains(&heading.trim_start_matches('#').trim()) {
            continue;
        }
        let section = without_measured(section);
        if card.len() + section.len() > MAX_CARD_BYTES {
            break;
        }
        card.push_str(&section);
    }
    card.trim().to_owned()
}

/// A section without the row of its table that names the file behind the figures: those of a bundle are of the file
/// that it was quantized with.
fn without_measured(section: &str) -> String {
    let lines = section.split_inclusive('\n');
    lines
        .filter(|line| !line.starts_with("| measured on |"))
        .collect()
}

/// What stands behind the YAML that the Hub reads.
fn without_front_matter(readme: &str) -> &str {
    let inside = readme.strip_prefix("---\n");
    let behind = inside.and_then(|inside| inside.split_once("\n---\n"));
    behind.map_or(readme, |(_, body)| body)
}

/// The text before the first heading of the second rank, and each such heading with what follows it.
fn sections(body: &str) -> impl Iterator<Item = &str> {
    let starts = body.match_indices("\n## ").map(|(at, _)| at + 1);
    let mut bounds = vec![0];
    bounds.extend(starts);
    bounds.push(body.len());
    (1..bounds.len()).map(move |i| &body[bounds[i - 1]..bounds[i]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_model_is_stays_and_how_to_use_the_folder_goes() {
        let readme = "---\nlicense: mit\n---\n\n# m\n\nA model.\n\n## Use\n\n```sh\nberth ask\n```\n\n\
                      ## Data\n\n| learned from | a |\n| measured on | b |\n\nFilms.\n\n## Limits\n\nEnglish.\n";
        let card =
            "# m\n\nA model.\n\n## Data\n\n| learned from | a |\n\nFilms.\n\n## Limits\n\nEnglish.";
        assert_eq!(in_short(readme), card);
        assert_eq!(in_short("plain"), "plain");
        assert_eq!(in_short("---\nnever closed"), "---\nnever closed");
        assert_eq!(in_short(""), "");
    }

    #[test]
    fn sections_that_have_no_room_are_left_out_whole() {
        let long = format!(
            "# m\n\n## One\n\n1\n\n## Two\n\n{}\n",
            "x".repeat(MAX_CARD_BYTES)
        );
        assert_eq!(in_short(&long), "# m\n\n## One\n\n1");
    }
}
