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
    Inspection(model)
}

struct Inspection<'m>(&'m Model);

impl Display for Inspection<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let model = self.0;
        let header = model.header();
        let shape = &header.shape;
        writeln!(f, "{}", model.origin())?;
        writeln!(f, "task         {}", header.task)?;
        self.labels(f)?;
        self.provenance(f)?;
        writeln!(
            f,
            "layers       {} of {} values, {} heads, {} values between",
            shape.layers, shape.hidden, shape.heads, shape.intermediate
        )?;
        self.f32_layers(f)?;
        writeln!(
            f,
            "vocabulary   {} pieces, {} token types",
            shape.vocab_size, shape.types
        )?;
        writeln!(
            f,
            "tokens       {} in training, {} at most",
            header.max_tokens, shape.positions
        )?;
        self.spans(f)?;
        for metric in &header.metrics {
            let Metric { name, f32, int8 } = metric;
            let name = name.escape_debug().to_string();
            writeln!(f, "{name:<12} {f32:.4} in f32, {int8:.4} in int8")?;
        }
        self.calibration(f)?;
        writeln!(f, "numerics     {}", header.numerics)?;
        writeln!(f, "kernels      {} on this machine", model.isa().tier())?;
        writeln!(f, "scratch      {} bytes a session", model.scratch_bytes())?;
        self.sections(f)?;
        self.card(f)
    }
}

impl Inspection<'_> {
    fn labels(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels = &self.0.header().labels;
        if labels.is_empty() {
            return Ok(());
        }
        f.write_str("labels       ")?;
        for (i, label) in labels.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{}", label.escape_debug())?;
        }
        match self.0.multi_label() {
            true => writeln!(f, ": any number, each by itself"),
            false => writeln!(f),
        }
    }

    /// The layers that run in floats, where there are some.
    fn f32_layers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = self.0.header();
        for (i, layer) in header.f32_layers().enumerate() {
            write!(
                f,
                "{}{layer}",
                if i == 0 { "in f32       layer " } else { ", " }
            )?;
        }
        if header.f32_layers().next().is_some() {
            writeln!(f)?;
        }
        Ok(())
    }

    /// How answers to questions are chosen, where that is the task.
    fn spans(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(spans) = &self.0.header().spans else {
            return Ok(());
        };
        write!(
            f,
            "answers      windows share {} pieces, {} candidates, {} pieces at most, ",
            spans.doc_stride, spans.n_best_size, spans.max_answer_length
        )?;
        match spans.null_score_diff_threshold {
            Some(threshold) => writeln!(f, "none above a difference of {threshold}"),
            None => writeln!(f, "always one"),
        }
    }

    /// How scores are taken and what abstaining buys, where that was measured.
    fn calibration(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(calibration) = &self.0.header().calibration else {
            return Ok(());
        };
        let answers = calibration.answers;
        writeln!(
            f,
            "temperature  {}, fitted on {answers} answers",
            calibration.temperature
        )?;
        writeln!(
            f,
            "calibration  error {:.4} before, {:.4} with it, {:.4} on rows it was not fitted on",
            calibration.error_before, calibration.error_after, calibration.error_held_out
        )?;
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
        let card = self.0.bundle().card();
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
        let from = &self.0.header().provenance;
        for (what, text) in [
            ("model", from.model.as_str()),
            ("base", from.base.as_str()),
            ("written by", from.berth.as_str()),
        ] {
            if !text.is_empty() {
                writeln!(f, "{what:<12} {}", text.escape_debug())?;
            }
        }
        f.write_str("weights      sha256 ")?;
        from.weights_sha256
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))?;
        writeln!(f)
    }

    fn sections(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bundle = self.0.bundle();
        writeln!(f, "file         {} bytes", bundle.file_len())?;
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
