//! Heads whose pooler ReLU follows, from version 3 on.

use berth_bundle::{Bundle, OpenError, SectionKind};

use crate::example::{self, u32_at};
use crate::mixed::open_as;

#[test]
fn a_head_with_relu_is_of_version_3() {
    let bytes = example::relu().to_bytes().unwrap();
    let bundle = Bundle::open(&bytes).unwrap();
    bundle.verify().unwrap();
    assert!(bundle.header().has_relu_head());
    assert_eq!(u32_at(&bytes, 8), 3);
    // In version 2 the byte that says "no calibration" is one too many.
    assert_eq!(open_as(2, &bytes), Err(OpenError::HeaderTail));
    let section = bundle.header().sections[3];
    assert_eq!(section.kind, SectionKind::HeadRelu);
    assert_eq!(section.kind.to_string(), "head with relu");
    // The arrays are those of the other head.
    let plain = example::bundle();
    let plain = Bundle::open(&plain).unwrap();
    assert!(!plain.header().has_relu_head());
    let [a, b] = [&bundle, &plain].map(|bundle| bundle.head());
    let [pooler, other] = [a, b].map(|head| head.pooler.unwrap());
    assert_eq!((pooler.weights, pooler.bias), (other.weights, other.bias));
    assert_eq!((a.weight, a.bias), (b.weight, b.bias));
}
