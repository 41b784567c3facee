//! Charts as SVG.
//!
//! plotters writes colours as attributes. It is given stand-ins here, numbers of their own that no picture
//! would use, and the style sheet says what each of them is in the light and in the dark.

use super::text::plain;
use crate::error::Error;
use maud::{Markup, PreEscaped, html};
use plotters::prelude::*;
use std::fmt::Display;

/// Width and height; the page scales them.
const SIZE: (u32, u32) = (460, 290);
/// Of text, as plotters counts it.
const TEXT: u32 = 18;

/// Numbers along an axis, at most.
const LABELS: usize = 6;

/// The stand-in for axes and letters.
const INK: RGBColor = RGBColor(1, 1, 1);
/// The stand-in for the grid.
const GRID: RGBColor = RGBColor(2, 2, 2);
/// Numbers beyond this are left out; no figure of a model is near it.
const LARGEST: f64 = 1e12;

/// Something drawn over both axes.
pub struct Series {
    /// What the legend calls it; nothing for an aid to the eye.
    pub name: String,
    /// Where it goes; what is not finite is left out.
    pub points: Vec<(f64, f64)>,
    /// How it looks.
    pub look: Look,
}

/// How a series looks.
#[derive(Copy, Clone, PartialEq, Eq)]
pub enum Look {
    /// A line, with a dot at each point where they are few.
    Line,
    /// Dots alone.
    Dots,
    /// A thin line in the grid's colour.
    Aid,
}

/// A chart: what it shows, its axes and what is drawn.
pub struct Chart<'a> {
    /// What it shows.
    pub caption: &'a str,
    /// The name of the horizontal axis.
    pub x: &'a str,
    /// Whether it counts things, and has whole numbers alone.
    pub x_counts: bool,
    /// From where to where, where that does not follow from the points.
    pub x_range: Option<(f64, f64)>,
    /// The same upwards.
    pub y_range: Option<(f64, f64)>,
    /// What is drawn.
    pub series: &'a [Series],
}

impl Series {
    /// A line through points.
    pub fn line(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Series {
            name: name.into(),
            points,
            look: Look::Line,
        }
    }

    /// The series in words: its name, and where it begins and ends; of dots, how many there are.
    fn words(&self) -> String {
        let name = &self.name;
        let (first, last) = (self.finite().next(), self.finite().last());
        match (first, last, self.finite().count()) {
            (Some((_, only)), _, 1) => format!("{name} {}", number(only)),
            (_, _, dots) if self.look == Look::Dots => format!("{name}, {dots} points"),
            (Some((_, first)), Some((_, last)), _) => {
                format!("{name} from {} to {}", number(first), number(last))
            }
            _ => name.clone(),
        }
    }

    fn finite(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        let fits = |(x, y): &(f64, f64)| x.abs() <= LARGEST && y.abs() <= LARGEST;
        self.points.iter().copied().filter(fits)
    }

    /// Whether dots are told apart from each other.
    fn has_dots(&self) -> bool {
        self.look == Look::Dots || (self.look == Look::Line && self.points.len() <= 24)
    }
}

impl Chart<'_> {
    /// The chart with its caption and legend.
    ///
    /// # Errors
    /// When plotters can't draw it.
    pub fn draw(&self) -> Result<Markup, Error> {
        let svg = self.svg()?;
        let words = self.words();
        let named = (0..)
            .zip(self.series)
            .filter(|(_, one)| !one.name.is_empty());
        Ok(html! {
            figure {
                figcaption { (self.caption) }
                div role="img" aria-label=(plain(&words)) { (PreEscaped(svg)) }
                div.legend {
                    @for (number, one) in named {
                        span { i.key style={ "--c:var(--s" (number % COLOURS) ")" } {} (one.name) }
                    }
                }
            }
        })
    }

    /// The chart in words, for those who do not see it.
    fn words(&self) -> String {
        let named = self.series.iter().filter(|one| !one.name.is_empty());
        let named: Vec<String> = named.map(Series::words).collect();
        format!("{}: {}", self.caption, named.join("; "))
    }

    /// How many numbers the horizontal axis has: where it counts, no more than there are whole ones.
    fn x_labels(&self, (low, high): (f64, f64)) -> usize {
        match self.x_counts {
            true => LABELS.min((high - low) as usize + 1),
            false => LABELS,
        }
    }

    fn svg(&self) -> Result<String, Error> {
        let mut svg = String::new();
        let points = || self.series.iter().flat_map(Series::finite);
        let x = self
            .x_range
            .unwrap_or_else(|| range(points().map(|at| at.0)));
        let y = self
            .y_range
            .unwrap_or_else(|| range(points().map(|at| at.1)));
        {
            let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
            let mut chart = ChartBuilder::on(&root)
                .margin(10)
                .margin_right(24)
                .x_label_area_size(48)
                .y_label_area_size(58)
                .build_cartesian_2d(x.0..x.1, y.0..y.1)
                .map_err(wrong)?;
            chart
                .configure_mesh()
                .x_desc(self.x)
                .x_labels(self.x_labels(x))
                .y_labels(LABELS)
                .x_label_formatter(&|value| number(*value))
                .y_label_formatter(&|value| number(*value))
                .label_style(("sans-serif", TEXT).into_font().color(&INK))
                .axis_desc_style(("sans-serif", TEXT).into_font().color(&INK))
                .axis_style(INK)
                .bold_line_style(GRID)
                .light_line_style(TRANSPARENT)
                .draw()
                .map_err(wrong)?;
            for (place, one) in self.series.iter().enumerate() {
                let (colour, width) = match one.look {
                    Look::Aid => (GRID, 1),
                    _ => (colour(place), 2),
                };
                if one.look != Look::Dots {
                    let line = LineSeries::new(one.finite(), colour.stroke_width(width));
                    chart.draw_series(line).map_err(wrong)?;
                }
                if one.has_dots() {
                    let dot = |at| Circle::new(at, 4, colour.filled());
                    chart.draw_series(one.finite().map(dot)).map_err(wrong)?;
                }
            }
            root.present().map_err(wrong)?;
        }
        Ok(svg)
    }
}

/// How many colours the style sheet has for series.
const COLOURS: usize = 6;

/// The stand-in of a series by its place.
fn colour(place: usize) -> RGBColor {
    RGBColor(3, (place % COLOURS) as u8, 1)
}

/// From the smallest to the largest number, and some room.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let ends = values.map(|value| (value, value));
    let ends = ends.reduce(|(low, high), (value, _)| (low.min(value), high.max(value)));
    let (low, high) = ends.unwrap_or((0.0, 1.0));
    let room = match high - low {
        // One number alone has a round neighbourhood.
        0.0 => (0.5 * high.abs()).max(0.5),
        wide => (0.05 * wide).max(1e-6 * high.abs()).max(1e-9),
    };
    // What begins at 0 is drawn from there on.
    let low = if low == 0.0 { 0.0 } else { low - room };
    (low, high + room)
}

/// A number as an axis has it.
fn number(value: f64) -> String {
    let text = match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    };
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

fn wrong(error: impl Display) -> Error {
    Error::Chart(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(points: &[(f64, f64)]) -> String {
        let chart = Chart {
            caption: "a < b",
            x: "steps",
            x_counts: false,
            x_range: None,
            y_range: None,
            series: &[Series::line("<loss>", points.to_vec())],
        };
        chart.draw().unwrap().into_string()
    }

    #[test]
    fn a_chart_has_a_line_and_a_legend_that_is_escaped() {
        let drawn = draw(&[(0.0, 1.0), (1.0, 0.5)]);
        assert!(
            drawn.contains("a &lt; b") && drawn.contains("&lt;loss&gt;"),
            "{drawn}"
        );
        assert_eq!(drawn.matches("stroke=\"#030001\"").count(), 1, "{drawn}");
        assert_eq!(drawn.matches("<circle").count(), 2, "{drawn}");
    }

    #[test]
    fn a_chart_is_told_in_words_too() {
        for (points, told) in [
            (&[(0.0, 1.0), (1.0, 0.25), (2.0, 0.5)][..], " from 1 to 0.5"),
            (&[(0.0, 3.0), (1.0, f64::INFINITY)][..], " 3"),
            (&[][..], ""),
        ] {
            let drawn = draw(points);
            let label = format!("role=\"img\" aria-label=\"a &lt; b: &lt;loss&gt;{told}\"");
            assert!(drawn.contains(&label), "{label} in {drawn}");
        }
        let dots = Series {
            look: Look::Dots,
            ..Series::line("answers", vec![(0.0, 1.0), (1.0, 0.5)])
        };
        assert_eq!(dots.words(), "answers, 2 points");
    }

    #[test]
    fn an_axis_that_counts_has_whole_numbers() {
        for last in 1..40 {
            let last = f64::from(last);
            let chart = Chart {
                caption: "",
                x: "layer",
                x_counts: true,
                x_range: Some((0.0, last)),
                y_range: Some((0.0, 10.0)),
                series: &[Series::line("", vec![(0.0, 0.0), (last, 10.0)])],
            };
            let svg = chart.svg().unwrap();
            let texts = svg.split("</text>");
            let texts = texts.filter_map(|part| part.rsplit('>').next());
            let texts: Vec<&str> = texts.map(str::trim).collect();
            for shown in ["0", "layer"] {
                assert!(texts.contains(&shown), "{texts:?}");
            }
            assert!(!texts.iter().any(|text| text.contains('.')), "{texts:?}");
        }
    }

    #[test]
    fn no_numbers_are_too_strange_to_draw() {
        for points in [
            &[][..],
            &[(0.0, 0.0)],
            &[(3.0, 7.0), (3.0, 7.0)],
            &[(f64::NAN, 1.0), (1.0, f64::INFINITY), (2.0, -1e300)],
            &[(0.0, -1e12), (1e12, 1e12)],
            &[(1e11, 1.0), (1e11 + 1e-5, 1.0 + 1e-15)],
            &[(0.0, 1e-300), (1.0, 2e-300)],
        ] {
            assert!(draw(points).contains("</svg>"), "{points:?}");
        }
    }

    #[test]
    fn axes_are_numbered_briefly() {
        for (value, text) in [
            (0.0, "0"),
            (0.25, "0.25"),
            (1.50001, "1.5"),
            (-12.345, "-12.35"),
            (1234.5, "1234"),
            (100.0, "100"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
