//! `berth diff`: what two bundles hold that is not alike.
//!
//! ```text
//!  A ──► describe ──┐                           what they say about themselves, field by field
//!                   ├── fields that differ ──►
//!  B ──► describe ──┘
//!  A, B ── sections with other checksums ──►    how many of their weights differ
//! ```
//!
//! Weights are the numbers of the embeddings, of the linears and of the head's layers. Where none of a section's
//! differs and its checksum does, the difference is in what stands beside them: scales, biases or norms.
//!
//! The exit code is that of `diff`: 0 where nothing differs, 1 where something does. A file that can't be read
//! is told on one line of standard error, as everywhere, with 1 too.

use super::{inspect, print};
use crate::args::DiffArgs;
use crate::error::Error;
use crate::names::bundle_path;
use crate::show;
use berth_bundle::{Head, LayerWeights, SectionKind};
use berth_runtime::Model;
use serde_json::{Map, Value, json};

/// How many characters of a value people are shown.
const SHOWN: usize = 60;

/// How many of them stand before the first difference, where that is farther behind.
const BEFORE: usize = 20;

/// Prints what differs.
///
/// # Errors
/// [`Error::Differ`] where something does.
pub fn run(args: &DiffArgs) -> Result<(), Error> {
    let [a, b] = [&args.a, &args.b];
    let open = |path| Ok::<_, Error>(Model::open_verified(bundle_path(path)?)?);
    let models = [open(a)?, open(b)?];
    let fields = fields(&models.each_ref().map(inspect::describe));
    let weights = weights(&models);
    let same = fields.is_empty() && weights.is_empty();
    if args.stdout.json {
        print(to_json(same, &fields, &weights))?;
    } else if same {
        print("nothing differs")?;
    } else {
        print(for_people(&fields, &weights))?;
    }
    if same { Ok(()) } else { Err(Error::Differ) }
}

/// A field that the two have not alike.
struct Field {
    /// Its name; of a field inside another, both with a dot between.
    name: String,
    /// What A and B have; null where one lacks it.
    values: [Value; 2],
}

/// How many numbers of a section are not the same in both.
struct Weights {
    section: String,
    /// Quantized weights, or floats of a layer in f32; none where the two are of different kinds or sizes.
    differ: Option<[usize; 2]>,
    /// Whether the section's bytes are the same.
    same_bytes: bool,
}

fn fields([a, b]: &[Value; 2]) -> Vec<Field> {
    let mut all = [Map::new(), Map::new()];
    flatten("", a, &mut all[0]);
    flatten("", b, &mut all[1]);
    let mut names: Vec<&String> = all[0].keys().collect();
    names.extend(all[1].keys().filter(|name| !all[0].contains_key(*name)));
    let value = |side: usize, name: &String| all[side].get(name).cloned().unwrap_or_default();
    let both = names.into_iter().map(|name| Field {
        name: name.clone(),
        values: [value(0, name), value(1, name)],
    });
    both.filter(|field| field.values[0] != field.values[1])
        .collect()
}

/// Objects inside the object become fields of their own.
fn flatten(prefix: &str, value: &Value, into: &mut Map<String, Value>) {
    for (name, value) in value.as_object().into_iter().flatten() {
        let name = format!("{prefix}{name}");
        if value.is_object() {
            flatten(&format!("{name}."), value, into);
        } else {
            into.insert(name, value.clone());
        }
    }
}

/// The sections whose content is not the same, of those that hold weights.
fn weights(models: &[Model; 2]) -> Vec<Weights> {
    let [a, b] = models.each_ref().map(Model::header);
    let mut found = Vec::new();
    for section in &a.sections {
        let mut others = b.sections.iter();
        let Some(other) = others.find(|other| section.kind.is_same_place(other.kind)) else {
            continue;
        };
        if (section.kind, section.len, section.crc) != (other.kind, other.len, other.crc) {
            let differ = differ(models, section.kind, other.kind);
            let same_bytes = (section.len, section.crc) == (other.len, other.crc);
            let section = section.kind.to_string();
            found.extend(differ.map(|differ| Weights {
                section,
                differ,
                same_bytes,
            }));
        }
    }
    found
}

/// How many numbers differ, of how many; the outer option is none for a section without weights.
fn differ(
    models: &[Model; 2],
    kind: SectionKind,
    other: SectionKind,
) -> Option<Option<[usize; 2]>> {
    let bundles = models.each_ref().map(Model::bundle);
    match kind {
        SectionKind::Embeddings => {
            let [a, b] = bundles.map(|bundle| bundle.embeddings());
            let tables = count(&[(a.word, b.word), (a.position, b.position)]);
            Some(both(tables, count(&[(a.kind, b.kind)])))
        }
        SectionKind::Layer(index) | SectionKind::LayerF32(index) => {
            if kind != other {
                return Some(None);
            }
            let [a, b] = bundles.map(|bundle| bundle.layer(usize::from(index)));
            Some(match (a, b) {
                (LayerWeights::Int8(a), LayerWeights::Int8(b)) => count(&[
                    (a.qkv.weights, b.qkv.weights),
                    (a.attention_out.weights, b.attention_out.weights),
                    (a.up.weights, b.up.weights),
                    (a.down.weights, b.down.weights),
                ]),
                (LayerWeights::F32(a), LayerWeights::F32(b)) => count(&[
                    (a.qkv.weights, b.qkv.weights),
                    (a.attention_out.weights, b.attention_out.weights),
                    (a.up.weights, b.up.weights),
                    (a.down.weights, b.down.weights),
                ]),
                _ => None,
            })
        }
        SectionKind::Head | SectionKind::HeadRelu => {
            let [a, b] = bundles.map(|bundle| bundle.head());
            let poolers = count(&[(pooler(&a), pooler(&b))]);
            Some(both(poolers, count(&[(a.weight, b.weight)])))
        }
        _ => None,
    }
}

/// The weights of the pooler, none where there is no pooler.
fn pooler<'b>(head: &Head<'b>) -> &'b [i8] {
    head.pooler.map(|pooler| pooler.weights).unwrap_or_default()
}

/// Two counts together; none where one is.
fn both(one: Option<[usize; 2]>, other: Option<[usize; 2]>) -> Option<[usize; 2]> {
    let ([differ, of], [others_differ, of_others]) = (one?, other?);
    Some([differ + others_differ, of + of_others])
}

/// How many of the numbers differ, of how many; none where the lengths do.
fn count<T: PartialEq>(pairs: &[(&[T], &[T])]) -> Option<[usize; 2]> {
    let mut total = [0, 0];
    for (a, b) in pairs {
        if a.len() != b.len() {
            return None;
        }
        total[0] += a.iter().zip(*b).filter(|(a, b)| a != b).count();
        total[1] += a.len();
    }
    Some(total)
}

fn to_json(same: bool, fields: &[Field], weights: &[Weights]) -> Value {
    let told = |field: &Field| (field.name.clone(), json!(field.values));
    let weight = |weights: &Weights| {
        let [differ, of] = weights.differ.map_or([None; 2], |counts| counts.map(Some));
        (weights.section.clone(), json!({"differ": differ, "of": of}))
    };
    json!({
        "same": same,
        "fields": fields.iter().map(told).collect::<Map<_, _>>(),
        "weights": weights.iter().map(weight).collect::<Map<_, _>>(),
    })
}

fn for_people(fields: &[Field], weights: &[Weights]) -> String {
    let field = |field: &Field| {
        let [a, b] = excerpts(field.values.each_ref().map(|value| match value {
            Value::Null => "-".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }));
        format!("{:<28} {a} → {b}", field.name)
    };
    let weight = |weights: &Weights| {
        let told = match weights.differ {
            Some([0, of]) if !weights.same_bytes => {
                format!("0 of {of} weights differ; scales, biases or norms do")
            }
            Some([differ, of]) => {
                let share = show::percent(differ as f64 / of.max(1) as f64);
                format!("{differ} of {of} weights differ, {share}")
            }
            None => "of another kind or size".to_owned(),
        };
        format!("{:<28} {told}", weights.section)
    };
    let lines = fields.iter().map(field).chain(weights.iter().map(weight));
    lines.collect::<Vec<_>>().join("\n")
}

/// What people are shown of two values: both from their beginning, or from shortly before the first difference
/// where that would not be seen.
fn excerpts(values: [String; 2]) -> [String; 2] {
    let [a, b] = &values;
    let alike = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
    let from = if alike < SHOWN { 0 } else { alike - BEFORE };
    values.map(|value| {
        let rest: String = value.chars().skip(from).collect();
        let cut = if from > 0 { "…" } else { "" };
        format!("{cut}{}", show::excerpt(&rest, SHOWN))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_differ_are_told_by_their_whole_name() {
        let a = json!({"task": "t", "metrics": {"eval_f1": {"int8": 0.5}}, "labels": ["a", "b"]});
        let b =
            json!({"task": "t", "metrics": {"eval_f1": {"int8": 0.25}}, "labels": ["a"], "new": 1});
        let found = fields(&[a.clone(), b]);
        let told: Vec<_> = found.iter().map(|field| field.name.as_str()).collect();
        assert_eq!(told, ["metrics.eval_f1.int8", "labels", "new"]);
        assert_eq!(found[2].values, [Value::Null, json!(1)]);
        assert!(fields(&[a.clone(), a]).is_empty());
    }

    #[test]
    fn numbers_are_counted_where_there_are_as_many() {
        assert_eq!(
            count(&[(&[1, 2, 3][..], &[1, 0, 0][..]), (&[1], &[1])]),
            Some([2, 4])
        );
        assert_eq!(count(&[(&[1][..], &[1, 2][..])]), None);
        assert_eq!(both(Some([1, 4]), Some([0, 3])), Some([1, 7]));
        assert_eq!(both(Some([1, 4]), None), None);
    }

    #[test]
    fn long_values_are_shown_where_they_part() {
        let excerpts = |a: &str, b: &str| excerpts([a.to_owned(), b.to_owned()]);
        assert_eq!(excerpts("ab", "ac"), ["ab", "ac"]);
        let alike = "é".repeat(SHOWN - 1);
        let (a, b) = (format!("{alike}a tail"), format!("{alike}b"));
        let shown = [format!("{alike}a…"), format!("{alike}b")];
        assert_eq!(excerpts(&a, &b), shown);
        let before = "é".repeat(BEFORE);
        for more in [1, 500] {
            let alike = "é".repeat(SHOWN - 1 + more);
            let (a, b) = (format!("{alike}a tail"), format!("{alike}b"));
            let [end, one, other] = ["", "a tail", "b"].map(|tail| format!("…{before}{tail}"));
            assert_eq!(excerpts(&a, &b), [one, other.clone()]);
            assert_eq!(excerpts(&alike, &b), [end, other]);
        }
    }

    #[test]
    fn where_no_weight_differs_and_the_bytes_do_the_rest_is_named() {
        let told = |differ, same_bytes| {
            let section = "head".to_owned();
            for_people(
                &[],
                &[Weights {
                    section,
                    differ,
                    same_bytes,
                }],
            )
        };
        let rest = "scales, biases or norms do";
        assert!(told(Some([0, 96]), false).ends_with(rest));
        assert!(told(Some([0, 96]), true).ends_with("0 of 96 weights differ, 0.00 %"));
        assert!(told(Some([24, 96]), false).ends_with("24 of 96 weights differ, 25.00 %"));
        assert!(told(None, false).ends_with("of another kind or size"));
    }
}
