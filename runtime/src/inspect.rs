//! What a bundle holds, told to people.

use std::fmt::{self, Display, Write};

use berth_bundle::Metric;

use crate::model::Model;

/// Everything that a model's bundle says about itself, as lines of text.
///
/// ```no_run
/// # fn show(model: &berth_runtime::Model) {
/// print!("{}", berth_runtime::inspect(model));
/// # }
/// ```
pub fn inspect(model: &Model) -> impl Display {
    let metrics = model.header().metrics.iter();
    let widths = metrics.map(|metric| plain(&metric.name).chars().count());
    Inspection {
        model,
        width: widths.fold(WIDTH, usize::max),
    }
}

/// The width of the longest name of a line, but for those of metrics.
const WIDTH: usize = 12;

struct Inspection<'m> {
    model: &'m Model,
    /// The width of the names of lines.
    width: usize,
}

impl Display for Inspection<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let model = self.model;
        let header = model.header();
        let shape = &header.shape;
        writeln!(f, "{}", model.origin())?;
        self.line(f, "task", header.task)?;
        self.labels(f)?;
        self.provenance(f)?;
        let layers = format_args!(
            "{} of {} values, {} heads, {} values between",
            shape.layers, shape.hidden, shape.heads, shape.intermediate
        );
        self.line(f, "layers", layers)?;
        self.f32_layers(f)?;
        let vocabulary = format_args!("{} pieces, {} token types", shape.vocab_size, shape.types);
        self.line(f, "vocabulary", vocabulary)?;
        let tokens = format_args!(
            "{} in training, {} at most",
            header.max_tokens, shape.positions
        );
        self.line(f, "tokens", tokens)?;
        self.spans(f)?;
        for metric in &header.metrics {
            let Metric { name, f32, int8 } = metric;
            let figures = format_args!("{f32:.4} in f32, {int8:.4} in int8");
            self.line(f, &plain(name), figures)?;
        }
        self.calibration(f)?;
        self.line(f, "numerics", header.numerics)?;
        let tier = model.isa().tier();
        self.line(f, "kernels", format_args!("{tier} on this machine"))?;
        let scratch = model.scratch_bytes();
        self.line(f, "scratch", format_args!("{scratch} bytes a session"))?;
        self.sections(f)?;
        self.card(f)
    }
}

impl Inspection<'_> {
    /// The name of a line, up to where its text begins.
    fn name(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        let width = self.width;
        write!(f, "{name:<width$} ")
    }

    fn line(&self, f: &mut fmt::Formatter<'_>, name: &str, text: impl Display) -> fmt::Result {
        self.name(f, name)?;
        writeln!(f, "{text}")
    }

    fn labels(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels = &self.model.header().labels;
        if labels.is_empty() {
            return Ok(());
        }
        self.name(f, "labels")?;
        for (i, label) in labels.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{}", plain(label))?;
        }
        match self.model.multi_label() {
            true => writeln!(f, ": any number, each by itself"),
            false => writeln!(f),
        }
    }

    /// The layers that run in floats, where there are some.
    fn f32_layers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = self.model.header();
        if header.f32_layers().next().is_none() {
            return Ok(());
        }
        self.name(f, "in f32")?;
        for (i, layer) in header.f32_layers().enumerate() {
            let before = if i == 0 { "layer " } else { ", " };
            write!(f, "{before}{layer}")?;
        }
        writeln!(f)
    }

    /// How answers to questions are chosen, where that is the task.
    fn spans(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(spans) = &self.model.header().spans else {
            return Ok(());
        };
        self.name(f, "answers")?;
        write!(
            f,
            "windows share {} pieces, {} candidates, {} pieces at most, ",
            spans.doc_stride, spans.n_best_size, spans.max_answer_length
        )?;
        match spans.null_score_diff_threshold {
            Some(threshold) => writeln!(f, "none above a difference of {threshold}"),
            None => writeln!(f, "always one"),
        }
    }

    /// How scores are taken and what abstaining buys, where that was measured.
    fn calibration(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(calibration) = &self.model.header().calibration else {
            return Ok(());
        };
        let answers = calibration.answers;
        let temperature = calibration.temperature;
        let fitted = format_args!("{temperature}, fitted on {answers} answers");
        self.line(f, "temperature", fitted)?;
        let error = format_args!(
            "error {:.4} before, {:.4} with it, {:.4} on rows it was not fitted on",
            calibration.error_before, calibration.error_after, calibration.error_held_out
        );
        self.line(f, "calibration", error)?;
        for threshold in &calibration.thresholds {
            let coverage = 100.0 * threshold.coverage(answers);
            write!(
                f,
                "  from {:<6} {coverage:>6.2} % answered",
                threshold.min_score
            )?;
            match threshold.precision() {
                Some(precision) => writeln!(f, ", {:>6.2} % of these right", 100.0 * precision)?,
                None => writeln!(f)?,
            }
        }
        Ok(())
    }

    /// The card, where there is one. Nobody has checked what stands there, so what is no text, and what
    /// a terminal would obey, is left out.
    fn card(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let card = self.model.bundle().card();
        if card.is_empty() {
            return Ok(());
        }
        writeln!(f)?;
        for part in card.utf8_chunks() {
            let shown = |c: &char| !c.is_control() || matches!(c, '\n' | '\t');
            for c in part.valid().chars().filter(shown) {
                f.write_char(c)?;
            }
        }
        match card.ends_with(b"\n") {
            true => Ok(()),
            false => writeln!(f),
        }
    }

    fn provenance(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = &self.model.header().provenance;
        for (what, text) in [
            ("model", from.model.as_str()),
            ("base", from.base.as_str()),
            ("written by", from.berth.as_str()),
        ] {
            if !text.is_empty() {
                self.line(f, what, plain(text))?;
            }
        }
        self.name(f, "weights")?;
        f.write_str("sha256 ")?;
        from.weights_sha256
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))?;
        writeln!(f)
    }

    fn sections(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bundle = self.model.bundle();
        self.line(f, "file", format_args!("{} bytes", bundle.file_len()))?;
        for (section, span) in bundle.spans() {
            let name = section.kind.to_string();
            writeln!(
                f,
                "  {name:<10} {:>10} bytes at {:>10}, CRC-32C {:08x}",
                section.len, span.start, section.crc
            )?;
        }
        Ok(())
    }
}

/// A text as it stands, but for what steers a terminal or turns the direction, which is escaped.
fn plain(text: &str) -> String {
    let steers = |c: char| match c {
        '\u{61c}' | '\u{200e}' | '\u{200f}' => true,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        c => c.is_control(),
    };
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match steers(c) {
            true => shown.extend(c.escape_debug()),
            false => shown.push(c),
        }
    }
    shown
}
