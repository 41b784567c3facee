//! Opening: from a file, from memory; and every way in which that must fail.

use std::fs;
use std::path::PathBuf;

use berth_bundle::{AlignedBytes, Metric, VerifyError};
use berth_kernels::Isa;
use berth_runtime::{MAX_SCRATCH_BYTES, Model, OpenError, Session, inspect};
use berth_task::Task;

use crate::fixtures::{section, sentiment_bytes};
use crate::support;

/// A file that is gone when the folder is.
fn file(folder: &tempfile::TempDir, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join("model.berth");
    fs::write(&path, bytes).unwrap();
    path
}

fn scores(model: &Model) -> Vec<u32> {
    let mut session = model.session().unwrap();
    let answer = session.classify("a good film").unwrap();
    answer.iter().map(|row| row.score.to_bits()).collect()
}

#[test]
fn models_are_shared_and_sessions_move() {
    fn shared<T: Send + Sync + Clone>() {}
    fn moves<T: Send>() {}
    shared::<Model>();
    moves::<Session>();
}

#[test]
fn what_models_take_and_give_is_named_by_this_crate_alone() {
    use berth_runtime::selftest::{Run, SelftestError, Unreadable};
    use berth_runtime::{
        Aggregation, Bundle, BundleError, EncodeError, ForwardError, Header, Isa, Labels,
        LongTexts, MAX_LABELS, MAX_N_BEST, QueryError, SpanRules, TableError, Task, Tier,
        Tokenizer, VerifyError,
    };

    let _: [fn(ForwardError) -> QueryError; 1] = [QueryError::Forward];
    let _: [fn(EncodeError) -> QueryError; 1] = [QueryError::Encode];
    let _: [fn(Task) -> QueryError; 1] = [QueryError::Task];
    let _: fn(&Model) -> Isa = Model::isa;
    let _: fn(&mut Session, LongTexts) = Session::set_long_texts;
    let _ = Aggregation::ALL;
    let _: fn(&Model) -> &Header = Model::header;
    let _: for<'m> fn(&'m Model) -> &'m Bundle<'m> = Model::bundle;
    let _: for<'m> fn(&'m Model) -> &'m Tokenizer<'m> = Model::tokenizer;
    let _: fn(&Header) -> (&Labels, Option<SpanRules>) = |header| (&header.labels, header.spans);
    let _: fn(Run) -> Tier = |run| run.tier;
    let _: fn(SelftestError) -> Option<Unreadable> = |error| match error {
        SelftestError::Unreadable { source, .. } => Some(source),
        _ => None,
    };
    let _: fn(OpenError) -> bool = |error| {
        let OpenError::Bundle { source, .. } = error else {
            return false;
        };
        matches!(source, BundleError::NotABundle)
    };
    let _ = (MAX_LABELS, MAX_N_BEST);
    let source_of = |error: OpenError| -> (Option<VerifyError>, Option<TableError>) {
        match error {
            OpenError::Damaged { source, .. } => (Some(source), None),
            OpenError::Tokenizer { source, .. } => (None, Some(source)),
            _ => (None, None),
        }
    };
    let asked = String::new();
    assert_eq!(source_of(OpenError::Isa { asked }), (None, None));
}

#[test]
fn files_and_memory_open_the_same_model() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, &sentiment_bytes());
    let mapped = Model::open(&path).unwrap();
    let expected = scores(&mapped);
    assert_eq!(scores(&Model::open_verified(&path).unwrap()), expected);
    let copied = Model::from_bytes(&sentiment_bytes()).unwrap();
    assert_eq!(scores(&copied), expected);
    copied.verify().unwrap();
    let aligned: &'static AlignedBytes =
        Box::leak(Box::new(AlignedBytes::copy_of(&sentiment_bytes())));
    assert_eq!(scores(&Model::from_static(aligned).unwrap()), expected);
    for isa in Isa::available() {
        let model = mapped.on(isa).unwrap();
        assert_eq!((model.isa(), scores(&model)), (isa, expected.clone()));
    }
    assert_eq!(mapped.header(), copied.header());
    assert_eq!(mapped.positions(), support::POSITIONS);
}

#[test]
fn a_file_may_go_away_while_its_model_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, &sentiment_bytes());
    let model = Model::open(&path).unwrap();
    let expected = scores(&model);
    fs::remove_file(&path).unwrap();
    assert_eq!(scores(&model), expected);
}

#[test]
fn what_is_no_bundle_is_named_with_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let error = |path: &PathBuf| {
        let error = Model::open(path).err().unwrap();
        assert!(
            error
                .to_string()
                .starts_with(&format!("{}: ", path.display())),
            "{error}"
        );
        assert!(!error.to_string().contains('\n'), "{error}");
        error
    };
    assert!(matches!(
        error(&folder.path().join("none")),
        OpenError::Read { .. }
    ));
    assert!(matches!(
        error(&folder.path().to_owned()),
        OpenError::Read { .. }
    ));
    #[cfg(unix)]
    {
        let error = error(&PathBuf::from("/dev/null"));
        assert!(error.to_string().contains("no regular file"), "{error}");
    }
    for bytes in [
        &b""[..],
        b"no bundle",
        &sentiment_bytes()[..1000],
        &[sentiment_bytes(), vec![0]].concat(),
    ] {
        let path = file(&folder, bytes);
        assert!(matches!(error(&path), OpenError::Bundle { .. }));
        assert!(Model::open_verified(&path).is_err());
    }
}

#[test]
fn every_cut_of_a_file_is_refused() {
    let whole = sentiment_bytes();
    for len in (0..2048)
        .chain((2048..whole.len()).step_by(997))
        .chain([whole.len() - 1])
    {
        let error = Model::from_bytes(&whole[..len]).err();
        assert!(
            matches!(error, Some(OpenError::Bundle { .. })),
            "{len} bytes: {error:?}"
        );
    }
}

#[test]
fn a_changed_byte_is_found_by_verification_and_harmless_without() {
    let folder = tempfile::tempdir().unwrap();
    let whole = sentiment_bytes();
    let first_section = section(&whole, 0);
    let mut unnoticed = 0;
    for at in (0..first_section).chain((first_section..whole.len()).step_by(199)) {
        let mut changed = whole.clone();
        changed[at] ^= 0x40;
        let path = file(&folder, &changed);
        assert!(Model::open_verified(&path).is_err(), "byte {at}");
        let Ok(model) = Model::open(&path) else {
            continue;
        };
        unnoticed += 1;
        assert!(
            matches!(model.verify(), Err(OpenError::Damaged { .. })),
            "byte {at}"
        );
        // Whatever comes out, it comes out.
        let mut session = model.session().unwrap();
        for text in ["", "a good film", "GRIPPING é 日本"] {
            let _ = session.classify(text);
        }
    }
    assert!(unnoticed > 100, "only {unnoticed} changes reached a query");
}

#[test]
fn verification_names_the_part_that_changed() {
    let folder = tempfile::tempdir().unwrap();
    let mut changed = sentiment_bytes();
    let at = section(&changed, 1);
    changed[at] ^= 1;
    let path = file(&folder, &changed);
    match Model::open_verified(&path) {
        Err(OpenError::Damaged {
            source: VerifyError::Section(_),
            ..
        }) => {}
        other => panic!("{:?}", other.err()),
    }
    let error = Model::open_verified(&path).err().unwrap().to_string();
    assert!(error.contains("layer 0"), "{error}");
}

#[test]
fn memory_of_the_program_must_be_aligned() {
    let whole = sentiment_bytes();
    let bytes: &'static [u8] = Box::leak([&[0; 64][..], &whole].concat().into_boxed_slice());
    let start = bytes.as_ptr().align_offset(64) + 1;
    let error = Model::from_static(&bytes[start..][..whole.len() - 1])
        .err()
        .unwrap();
    let expected = berth_bundle::OpenError::Misaligned;
    assert!(
        matches!(error, OpenError::Bundle { source, .. } if source == expected),
        "{error}"
    );
}

#[test]
fn a_bundle_that_asks_for_unreasonable_memory_gets_none() {
    let bytes = support::bundle_with(Task::TextClassification, &["a", "b"], |shape| {
        shape.positions = 65_536;
        shape.hidden = 1_024;
    });
    let model = Model::from_bytes(&bytes).unwrap();
    assert!(model.scratch_bytes() > MAX_SCRATCH_BYTES);
    let error = model.session().unwrap_err();
    assert!(
        matches!(error, OpenError::TooLarge { bytes, .. } if bytes == model.scratch_bytes()),
        "{error}"
    );
    let said = format!("of at most {MAX_SCRATCH_BYTES}; ");
    assert!(error.to_string().contains(&said), "{error}");
}

#[test]
fn an_inspection_shows_labels_as_they_are_and_its_texts_below_each_other() {
    let labels = [r#"good <b> & "x" \'y'"#, "ba\u{7}d\u{202e}", "e\u{301}"];
    let mut writer = support::writer(Task::TextClassification, &labels, |_| ());
    let metric = Metric {
        name: "eval_matthews_correlation".try_into().unwrap(),
        f32: 0.5,
        int8: 0.25,
    };
    writer.set_metrics([metric].into_iter().collect());
    let model = Model::from_bytes(&writer.to_bytes().unwrap()).unwrap();
    let told = inspect(&model).to_string();
    for line in [
        "\ntask                      text-classification\n",
        concat!(
            r#"labels                    good <b> & "x" \'y', ba\u{7}d\u{202e}, "#,
            "e\u{301}\n"
        ),
        "\neval_matthews_correlation 0.5000 in f32, 0.2500 in int8\n",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
}

#[test]
fn an_inspection_tells_what_the_bundle_holds() {
    let model = Model::from_bytes(&sentiment_bytes()).unwrap();
    let text = inspect(&model).to_string();
    for part in [
        "text-classification",
        "negative, positive",
        "32 in training",
        "layer 1",
        "CRC-32C",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    assert!(!text.contains("f32"));
    let mixed = support::mixed(Task::TextClassification, &["negative", "positive"]);
    let mixed = inspect(&Model::from_bytes(&mixed).unwrap()).to_string();
    assert!(mixed.contains("\nin f32       layer 1\n"), "{mixed}");
    assert_eq!(
        text.lines().filter(|line| line.starts_with("  ")).count(),
        6
    );
}
