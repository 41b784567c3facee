//! What the values of flags are made of: numbers in their ranges, and the words for what they are not.

use super::truth;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// The number of an encoder layer, by itself or behind its name in a checkpoint.
pub(super) fn layer_number(name: &str) -> Result<usize, String> {
    let known = ["bert.encoder.layer.", "encoder.layer.", "layer."];
    let number = known.iter().find_map(|known| name.strip_prefix(known));
    let number = number.unwrap_or(name).parse();
    number.map_err(|_| "layers are numbers from 0 on, or names such as `encoder.layer.0`".into())
}

/// A count of something.
pub(super) fn at_least_one(value: &str) -> Result<usize, String> {
    let known = value.parse().ok().filter(|&count| count > 0);
    known.ok_or_else(|| "a whole number from 1 on".into())
}

/// What a count of steps is made of.
const STEPS: &str =
    "a whole number of steps from 1 on; a share of the run is taken by --warmup_steps alone";

/// A count of steps.
pub(super) fn steps(value: &str) -> Result<u64, String> {
    match steps_or_none(value)? {
        0 => Err(STEPS.into()),
        count => Ok(count),
    }
}

/// A count of steps, or 0 where something else says it.
pub(super) fn steps_or_none(value: &str) -> Result<u64, String> {
    value.parse().map_err(|_| STEPS.into())
}

/// A number that is neither infinite nor none at all.
pub(super) fn finite<T: FromStr + Into<f64> + Copy>(value: &str) -> Result<T, String> {
    within(value, f64::MIN..=f64::MAX, "a finite number")
}

/// A share from 0 to 1.
pub(super) fn share<T: FromStr + Into<f64> + Copy>(value: &str) -> Result<T, String> {
    within(value, 0.0..=1.0, "a number from 0 to 1")
}

/// A difference of two metrics, in points of 100.
pub(super) fn points(value: &str) -> Result<f64, String> {
    within(
        value,
        -100.0..=100.0,
        "points of 100: a number from -100 to 100",
    )
}

/// A number in a range, which `expected` says in words.
pub(super) fn within<T: FromStr + Into<f64> + Copy>(
    value: &str,
    range: RangeInclusive<f64>,
    expected: &str,
) -> Result<T, String> {
    let known = value.parse::<T>().ok();
    let known = known.filter(|&number| range.contains(&number.into()));
    known.ok_or_else(|| expected.into())
}

/// A name, without the spaces around it.
pub(super) fn trimmed(value: &str) -> Result<String, String> {
    Ok(value.trim().to_owned())
}

/// A text as it stands, but `true` and `false` in small letters.
pub(super) fn truth_or_text(value: &str) -> Result<String, String> {
    Ok(truth(value).map_or_else(|| value.to_owned(), |truth| truth.to_string()))
}
