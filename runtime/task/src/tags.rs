//! Tags of words: which labels mark entities.

/// Whether a label marks the beginning or the inside of an entity: `B-` or `I-`, and the type behind.
pub fn is_entity_label(label: &str) -> bool {
    label.starts_with("B-") || label.starts_with("I-")
}
