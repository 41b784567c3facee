//! The frame of every page: head, style, headline, a list of the sections, the sections.

use super::text::{plain, shown};
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// Colours, widths, and the colours of charts.
const STYLE: &str = include_str!("style.css");

/// A part of a page under a heading.
pub struct Section {
    /// What links to it call it.
    pub id: &'static str,
    /// Its heading.
    pub heading: &'static str,
    /// What stands below.
    pub body: Markup,
}

/// A figure of the headline.
pub struct Tile {
    name: String,
    value: String,
    note: String,
}

impl Tile {
    /// A figure with its name.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Tile {
            name: name.into(),
            value: value.into(),
            note: String::new(),
        }
    }

    /// The same with a line below.
    pub fn note(self, note: impl Into<String>) -> Self {
        let note = note.into();
        Tile { note, ..self }
    }
}

/// The whole file. `lead` stands between headline and tiles.
pub fn page(title: &str, lead: &Markup, tiles: &[Tile], sections: &[Section]) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (plain(title)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (shown(title)) }
                    (lead)
                    div.tiles { @for tile in tiles { (figure(tile)) } }
                    nav { @for part in sections { a href={ "#" (part.id) } { (part.heading) } } }
                }
                main {
                    @for part in sections {
                        section id=(part.id) {
                            h2 { (part.heading) }
                            (part.body)
                        }
                    }
                }
                footer { p { "Made by Berth " (env!("CARGO_PKG_VERSION")) "." } }
            }
        }
    };
    page.into_string()
}

fn figure(tile: &Tile) -> Markup {
    html! {
        div.tile {
            div.name { (tile.name) }
            div.value { (tile.value) }
            @if !tile.note.is_empty() { div.note { (tile.note) } }
        }
    }
}

/// A table; the first column holds names, the others are aligned to the right.
pub fn table(heading: &[&str], rows: &[Vec<Markup>]) -> Markup {
    html! {
        div.wide {
            table {
                thead { tr { @for name in heading { th { (name) } } } }
                tbody {
                    @for row in rows {
                        tr { @for cell in row { td { (cell) } } }
                    }
                }
            }
        }
    }
}
