//! ONNX's own tests of single operators, through tract, which runs what `evaluate` is given.
//!
//! `BERTH_DATA` names the folder that holds `onnx_node_tests`; without it nothing runs. Each case is a graph
//! of one operator, or of what it is made of, with inputs and the outputs that they have to give.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use berth_quantize::onnx::operators;
use flate2::read::GzDecoder;
use tract_onnx::pb::TensorProto;
use tract_onnx::prelude::*;
use tract_onnx::tensor::{load_tensor, proto_from_reader};
use tract_onnx::tract_hir::internal::*;

/// The bounds of ONNX's own tests.
const RELATIVE: f64 = 1e-3;
const ABSOLUTE: f64 = 1e-7;

/// What tract is not claimed to run, and why no BERT needs it.
const NOT_CLAIMED: [(&str, &str); 9] = [
    ("test_dynamicquantizelinear_expanded", WORKED_OUT),
    (
        "test_dynamicquantizelinear_min_adjusted_expanded",
        WORKED_OUT,
    ),
    ("test_identity_opt", OPTIONAL),
    ("test_qlinearmatmul_2D_int8_float16", SHORT),
    ("test_qlinearmatmul_2D_uint8_float16", SHORT),
    ("test_qlinearmatmul_3D_int8_float16", SHORT),
    ("test_qlinearmatmul_3D_uint8_float16", SHORT),
    ("test_qlinearmatmul_2D_int8_float32", SIGNED),
    ("test_qlinearmatmul_3D_int8_float32", SIGNED),
];
const WORKED_OUT: &str =
    "a scale that is worked out: quantizers write DynamicQuantizeLinear for that";
const OPTIONAL: &str = "a value that may be missing: no exporter writes one for a BERT";
const SHORT: &str = "scales in sixteen bits: quantizers write 32";
const SIGNED: &str =
    "products of signed activations, which tract gets wrong: quantizers write unsigned ones";

/// The files of a case by name.
type Case = BTreeMap<String, Vec<u8>>;

#[test]
fn operators_compute_what_onnx_says() {
    let Some(data) = std::env::var_os("BERTH_DATA").map(PathBuf::from) else {
        // Not by `eprintln`, of which the harness keeps what a passing test prints.
        let _ = writeln!(
            io::stderr(),
            "ONNX's tests of operators: SKIPPED, BERTH_DATA is not set"
        );
        return;
    };
    let path = data.join("onnx_node_tests/onnx_node_tests.tar.gz");
    let cases = cases(&path);
    assert!(cases.len() > 200, "{} cases", cases.len());
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let mut wrong = Vec::new();
    for (name, case) in &cases {
        let ran = catch_unwind(AssertUnwindSafe(|| run(case)));
        let found = match ran {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(
                format!("{error:#}")
                    .lines()
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
            ),
            Err(_) => Some("it panics".to_owned()),
        };
        let claimed = NOT_CLAIMED.iter().all(|(other, _)| other != name);
        match found {
            Some(what) if claimed => wrong.push(format!("{name}: {what}")),
            None if !claimed => wrong.push(format!("{name}: it holds, and is not claimed")),
            _ => (),
        }
    }
    std::panic::set_hook(quiet);
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
}

/// Runs a case, and compares. In a model's file shapes, axes and scales are constants, and tract takes them as
/// nothing else; so are all inputs here but the first.
fn run(case: &Case) -> TractResult<()> {
    let mut model = operators().model_for_read(&mut &case["model.onnx"][..])?;
    let mut inputs = tvec![];
    for (place, input) in tensors(case, "input")?.into_iter().enumerate() {
        let constant = place > 0 || input.datum_type() == i64::datum_type();
        let fact = match constant {
            true => InferenceFact::from(input.clone()),
            false => InferenceFact::dt_shape(input.datum_type(), input.shape()),
        };
        model.set_input_fact(place, fact)?;
        inputs.push(input.into_tvalue());
    }
    let outputs = model.into_typed()?.into_runnable()?.run(inputs)?;
    let expected = tensors(case, "output")?;
    ensure!(outputs.len() == expected.len(), "{} outputs", outputs.len());
    for (output, expected) in outputs.iter().zip(&expected) {
        ensure!(
            output.shape() == expected.shape(),
            "shape {:?}",
            output.shape()
        );
        let (found, wanted) = (numbers(output)?, numbers(expected)?);
        let bytes = [u8::datum_type(), i8::datum_type()].contains(&expected.datum_type());
        for (found, wanted) in found.into_iter().zip(wanted) {
            let bound = if bytes {
                1.0
            } else {
                ABSOLUTE + RELATIVE * wanted.abs()
            };
            let same = found == wanted || (found - wanted).abs() <= bound;
            ensure!(
                same || (found.is_nan() && wanted.is_nan()),
                "{found} where {wanted} should be"
            );
        }
    }
    Ok(())
}

fn numbers(tensor: &Tensor) -> TractResult<Vec<f64>> {
    let floats = tensor.cast_to::<f64>()?;
    Ok(floats.try_as_plain_ram()?.as_slice::<f64>()?.to_vec())
}

/// The inputs or the outputs, in their order.
fn tensors(case: &Case, kind: &str) -> TractResult<Vec<Tensor>> {
    let files = (0..).map_while(|at| case.get(&format!("test_data_set_0/{kind}_{at}.pb")));
    let read = |bytes: &Vec<u8>| {
        let proto: TensorProto = proto_from_reader(&bytes[..])?;
        load_tensor(&*tract_onnx::data_resolver::default(), &proto, None)
    };
    files.map(read).collect()
}

/// All cases of the archive, a tar of `node/CASE/FILE`.
fn cases(path: &PathBuf) -> BTreeMap<String, Case> {
    let mut bytes = Vec::new();
    let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    GzDecoder::new(file)
        .read_to_end(&mut bytes)
        .expect("the archive");
    let mut cases = BTreeMap::<String, Case>::new();
    let mut rest = &bytes[..];
    // A block of 512 bytes with name and size, then the file, filled up to blocks.
    while rest.len() >= 512 && rest[0] != 0 {
        let field = |from: usize, len: usize| {
            let field = rest[from..from + len].split(|&byte| byte == 0).next();
            std::str::from_utf8(field.unwrap_or_default())
                .expect("ASCII")
                .trim()
        };
        let size = usize::from_str_radix(field(124, 12), 8).expect("an octal size");
        let mut parts = field(0, 100).splitn(3, '/').skip(1);
        if let (Some(case), Some(name), true) = (parts.next(), parts.next(), size > 0) {
            let content = rest[512..512 + size].to_vec();
            cases
                .entry(case.to_owned())
                .or_default()
                .insert(name.to_owned(), content);
        }
        rest = &rest[512 + size.next_multiple_of(512)..];
    }
    cases
}
