//! Charts as SVG.
//!
//! plotters writes colours as attributes. It is given stand-ins here, numbers of their own that no picture
//! would use, and the style sheet says what each of them is in the light and in the dark.

use crate::error::Error;
use maud::{Markup, PreEscaped, html};
use plotters::prelude::*;
use std::fmt::Display;

/// Width and height; the page scales them.
const SIZE: (u32, u32) = (460, 290);
/// Of text, as plotters counts it.
const TEXT: u32 = 18;

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
        let named = (0..)
            .zip(self.series)
            .filter(|(_, one)| !one.name.is_empty());
        Ok(html! {
            figure {
                figcaption { (self.caption) }
                (PreEscaped(svg))
                div.legend {
                    @for (number, one) in named {
                        span { i.key style={ "--c:var(--s" (number % COLOURS) ")" } {} (one.name) }
                    }
                }
            }
        })
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
                .x_labels(6)
                .y_labels(6)
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
