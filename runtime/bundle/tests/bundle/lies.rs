//! One test for each way in which a bundle with right checksums can lie; what only version 3 can say
//! is in [`calibration`](crate::calibration).

use berth_bundle::{
    AlignedBytes, Bundle, FORMAT_VERSION, Header, OpenError, Section, SectionKind, Shape,
    ShapeError, VerifyError,
};
use berth_task::{Labels, SpanRules, Task};

use crate::example::{self, header_bytes, repair, with_header};

fn open(file: &[u8]) -> Result<(), OpenError> {
    Bundle::open(&AlignedBytes::copy_of(file)).map(drop)
}

/// What opening says to the bundle after `edit` on its bytes, with the header's checksum repaired.
fn with_bytes(edit: impl FnOnce(&mut [u8])) -> Result<(), OpenError> {
    let mut file = example::bundle().to_vec();
    edit(&mut file);
    repair(&mut file);
    open(&file)
}

/// What opening says to the bundle after `edit` on its header; of version 1, unless sizes ask for another.
fn with(edit: impl FnOnce(&mut Header)) -> Result<(), OpenError> {
    let header = edited(edit);
    let mut file = with_header(&header.encode());
    if header.version() == FORMAT_VERSION {
        file[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        repair(&mut file);
    }
    open(&file)
}

fn edited(edit: impl FnOnce(&mut Header)) -> Header {
    let whole = example::bundle();
    let mut header = Bundle::open(&whole).unwrap().header().clone();
    edit(&mut header);
    header
}

/// What opening says when field `index` of the header is encoded as `bytes`.
fn with_field(index: usize, bytes: &[u8]) -> Result<(), OpenError> {
    let header = edited(|_| ());
    let mut fields = [
        postcard::to_stdvec(&header.numerics).unwrap(),
        postcard::to_stdvec(&header.shape).unwrap(),
        postcard::to_stdvec(&header.task).unwrap(),
        postcard::to_stdvec(&header.labels).unwrap(),
        postcard::to_stdvec(&header.max_tokens).unwrap(),
        postcard::to_stdvec(&header.provenance).unwrap(),
        postcard::to_stdvec(&header.metrics).unwrap(),
        postcard::to_stdvec(&header.sections).unwrap(),
    ];
    assert_eq!(fields.concat(), postcard::to_stdvec(&header).unwrap());
    fields[index] = bytes.to_vec();
    open(&with_header(&fields.concat()))
}

const UNREADABLE: Result<(), OpenError> = Err(OpenError::HeaderEncoding);

fn shape_error(error: ShapeError) -> Result<(), OpenError> {
    Err(OpenError::Shape(error))
}

#[test]
fn without_a_lie_it_opens() {
    assert_eq!(with_bytes(|_| ()), Ok(()));
    assert_eq!(with(|_| ()), Ok(()));
}

#[test]
fn magic() {
    for place in 0..8 {
        assert_eq!(
            with_bytes(|file| file[place] ^= 1),
            Err(OpenError::NotABundle)
        );
    }
    assert_eq!(open(b"PK\x03\x04 and more"), Err(OpenError::NotABundle));
    // Whatever the address of an empty slice is.
    let nothing = &[7u8][1..];
    assert_eq!(Bundle::open(nothing).err(), Some(OpenError::NotABundle));
}

#[test]
fn format_version() {
    for (version, word) in [
        (6u32, "newer"),
        (u32::MAX, "newer"),
        (0, "not read any more"),
    ] {
        let error = with_bytes(|file| file[8..12].copy_from_slice(&version.to_le_bytes()));
        let error = error.unwrap_err();
        assert_eq!(error, OpenError::FormatVersion(version));
        assert!(error.to_string().contains(word), "{error}");
    }
    // A header of version 3 goes on where one of version 1 ends.
    assert_eq!(with_bytes(|file| file[8] = 3), UNREADABLE);
}

/// A newer format may have another prefix, so its version is told before anything else is checked.
#[test]
fn a_newer_version_is_told_even_where_nothing_else_is_right() {
    let mut file = vec![0xaa; 64];
    file[..8].copy_from_slice(&berth_bundle::MAGIC);
    file[8..12].copy_from_slice(&7u32.to_le_bytes());
    assert_eq!(open(&file), Err(OpenError::FormatVersion(7)));
}

#[test]
fn header_length_over_the_cap_or_the_file() {
    let mut file = example::bundle().to_vec();
    for len in [file.len() as u32 - 63, 65_537, u32::MAX] {
        file[12..16].copy_from_slice(&len.to_le_bytes());
        assert_eq!(open(&file), Err(OpenError::HeaderLength(len)));
    }
}

#[test]
fn header_length_too_short() {
    for len in [0, 1, 40] {
        let edit = |file: &mut [u8]| file[12..16].copy_from_slice(&u32::to_le_bytes(len));
        assert_eq!(with_bytes(edit), UNREADABLE);
    }
}

#[test]
fn header_longer_than_its_content() {
    let whole = example::bundle();
    let header = [header_bytes(&whole), &[0]].concat();
    assert_eq!(open(&with_header(&header)), Err(OpenError::HeaderTail));
}

#[test]
fn file_length() {
    let found = example::bundle().len() as u64;
    for expected in [0, found - 1] {
        let edit = |file: &mut [u8]| file[16..24].copy_from_slice(&expected.to_le_bytes());
        assert_eq!(with_bytes(edit), Err(OpenError::Longer { found, expected }));
    }
    for expected in [found + 1, 1 << 32 | found, u64::MAX] {
        let edit = |file: &mut [u8]| file[16..24].copy_from_slice(&expected.to_le_bytes());
        assert_eq!(with_bytes(edit), Err(OpenError::Cut { found, expected }));
    }
}

#[test]
fn header_checksum() {
    let mut file = example::bundle().to_vec();
    file[24] ^= 1;
    assert_eq!(open(&file), Err(OpenError::HeaderChecksum));
}

#[test]
fn reserved_bytes() {
    for place in [28, 45, 63] {
        assert_eq!(with_bytes(|file| file[place] = 1), Err(OpenError::Reserved));
    }
}

#[test]
fn numerics() {
    assert_eq!(
        with(|header| header.numerics = 3),
        Err(OpenError::Numerics(3))
    );
    assert_eq!(
        with(|header| header.numerics = 0),
        Err(OpenError::Numerics(0))
    );
    // What follows an unknown version is not decoded.
    assert_eq!(
        open(&with_header(&[9, 0xff, 0xff])),
        Err(OpenError::Numerics(9))
    );
}

#[test]
fn vocabulary() {
    let lie = |size| with(|header| header.shape.vocab_size = size);
    let length = Err(OpenError::SectionLength(SectionKind::Embeddings));
    assert_eq!(lie(0), shape_error(ShapeError::VocabSize));
    assert_eq!(lie(12), length);
    // The padding has room for 16 rows.
    assert_eq!(lie(17), length);
    assert_eq!(lie(u32::MAX), length);
}

#[test]
fn hidden_size() {
    for size in [0, 65_537, 65_552, u32::MAX, 1 << 31] {
        let lie = with(|header| header.shape.hidden = size);
        assert_eq!(lie, shape_error(ShapeError::Hidden), "{size}");
    }
    let length = Err(OpenError::SectionLength(SectionKind::Embeddings));
    for size in [17, 32] {
        assert_eq!(with(|header| header.shape.hidden = size), length, "{size}");
    }
}

#[test]
fn dimensions_whose_products_are_beyond_any_file() {
    let lie = with(|header| {
        header.shape.vocab_size = u32::MAX;
        header.shape.hidden = 65_536;
        header.shape.intermediate = 65_536;
        header.shape.positions = 65_536;
        header.shape.types = u32::MAX;
    });
    let length = Err(OpenError::SectionLength(SectionKind::Embeddings));
    assert_eq!(lie, length);
}

#[test]
fn layers() {
    for layers in [0, 61, 65_538, u32::MAX] {
        let lie = with(|header| header.shape.layers = layers);
        assert_eq!(lie, shape_error(ShapeError::Layers), "{layers}");
    }
    for layers in [1, 3, 60] {
        let lie = with(|header| header.shape.layers = layers);
        assert_eq!(lie, Err(OpenError::SectionTable), "{layers}");
    }
}

#[test]
fn heads() {
    for heads in [0, 3, 32, u32::MAX] {
        let lie = with(|header| header.shape.heads = heads);
        assert_eq!(lie, shape_error(ShapeError::Heads), "{heads}");
    }
    // Two heads of 8 are filled up to 16 each.
    let length = Err(OpenError::SectionLength(SectionKind::Layer(0)));
    assert_eq!(with(|header| header.shape.heads = 2), length);
    // So many heads of one value each are too wide, filled up.
    let lie = with(|header| (header.shape.hidden, header.shape.heads) = (4_097, 4_097));
    assert_eq!(lie, shape_error(ShapeError::Heads));
}

#[test]
fn intermediate_size() {
    for size in [0, 65_537, 65_552, u32::MAX] {
        let lie = with(|header| header.shape.intermediate = size);
        assert_eq!(lie, shape_error(ShapeError::Intermediate), "{size}");
    }
    let length = Err(OpenError::SectionLength(SectionKind::Layer(0)));
    for size in [33, 48] {
        let lie = with(|header| header.shape.intermediate = size);
        assert_eq!(lie, length, "{size}");
    }
}

#[test]
fn sizes_of_partial_vectors_before_version_5() {
    for (version, edit) in [
        (1, (|shape| shape.hidden = 15) as fn(&mut Shape)),
        (2, |shape| shape.heads = 2),
        (2, |shape| shape.intermediate = 31),
    ] {
        let header = edited(|header| edit(&mut header.shape));
        let mut file = with_header(&postcard::to_stdvec(&header).unwrap());
        file[8] = version;
        repair(&mut file);
        let version = u32::from(version);
        assert_eq!(open(&file), Err(OpenError::PartialVectors(version)));
    }
}

#[test]
fn positions() {
    for positions in [0, 65_537, u32::MAX] {
        let lie = with(|header| header.shape.positions = positions);
        assert_eq!(lie, shape_error(ShapeError::Positions), "{positions}");
    }
    // The array of scales has room for more, the one of values doesn't.
    let length = Err(OpenError::SectionLength(SectionKind::Embeddings));
    assert_eq!(with(|header| header.shape.positions = 13), length);
}

#[test]
fn types() {
    for types in [0, 1] {
        let lie = with(|header| header.shape.types = types);
        assert_eq!(lie, shape_error(ShapeError::Types));
    }
    let length = Err(OpenError::SectionLength(SectionKind::Embeddings));
    assert_eq!(with(|header| header.shape.types = u32::MAX), length);
}

#[test]
fn outputs() {
    for outputs in [0, 513, u32::MAX] {
        let lie = with(|header| header.shape.outputs = outputs);
        assert_eq!(lie, shape_error(ShapeError::Outputs));
    }
    assert_eq!(
        with(|header| header.shape.outputs = 3),
        Err(OpenError::Outputs)
    );
    let lie = with(|header| {
        header.shape.outputs = 3;
        header.labels = Labels::of(["a", "b", "c"]).unwrap();
    });
    assert_eq!(lie, Err(OpenError::SectionLength(SectionKind::Head)));
}

#[test]
fn norm_epsilon() {
    for eps in [0.0, -1e-12, f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let lie = with(|header| header.shape.norm_eps = eps);
        assert_eq!(lie, shape_error(ShapeError::NormEps), "{eps}");
    }
}

#[test]
fn task() {
    assert_eq!(
        with(|header| header.task = Task::TextPairClassification),
        Ok(())
    );
    for task in [Task::TextPairRegression, Task::QuestionAnswering] {
        let lie = with(|header| {
            header.task = task;
            header.spans = spans_of(task);
        });
        assert_eq!(lie, Err(OpenError::Outputs));
    }
    // Without a pooler the head would be shorter.
    let length = Err(OpenError::SectionLength(SectionKind::Head));
    assert_eq!(
        with(|header| header.task = Task::TokenClassification),
        length
    );
    assert_eq!(with_field(2, &[5]), UNREADABLE);
}

#[test]
fn tasks_without_labels() {
    let lie = |task, outputs| {
        with(|header| {
            header.task = task;
            header.labels = Labels::new();
            header.shape.outputs = outputs;
            header.spans = spans_of(task);
        })
    };
    let length = Err(OpenError::SectionLength(SectionKind::Head));
    assert_eq!(lie(Task::QuestionAnswering, 2), length);
    assert_eq!(lie(Task::QuestionAnswering, 1), Err(OpenError::Outputs));
    assert_eq!(lie(Task::TextPairRegression, 2), Err(OpenError::Outputs));
    assert_eq!(lie(Task::TextClassification, 2), Err(OpenError::Outputs));
}

/// The rules that a bundle of this task has.
fn spans_of(task: Task) -> Option<SpanRules> {
    (task == Task::QuestionAnswering).then(SpanRules::default)
}

#[test]
fn rules_for_spans() {
    let lie = |edit: fn(&mut SpanRules)| {
        with(|header| {
            header.task = Task::QuestionAnswering;
            header.labels = Labels::new();
            header.shape.outputs = 2;
            let mut spans = SpanRules::default();
            edit(&mut spans);
            header.spans = Some(spans);
        })
    };
    // Nothing is wrong but what comes after the rules: this head has a pooler.
    let fine = Err(OpenError::SectionLength(SectionKind::Head));
    assert_eq!(lie(|_| ()), fine);
    assert_eq!(lie(|spans| spans.n_best_size = 64), fine);
    assert_eq!(lie(|spans| spans.doc_stride = u32::MAX), fine);
    assert_eq!(
        lie(|spans| spans.null_score_diff_threshold = Some(-3.5)),
        fine
    );
    let refused = Err(OpenError::Spans);
    assert_eq!(lie(|spans| spans.n_best_size = 0), refused);
    assert_eq!(lie(|spans| spans.n_best_size = 65), refused);
    assert_eq!(lie(|spans| spans.max_answer_length = 0), refused);
    assert_eq!(
        lie(|spans| spans.null_score_diff_threshold = Some(f32::NAN)),
        refused
    );
    let short = with(|header| {
        header.task = Task::QuestionAnswering;
        header.labels = Labels::new();
        header.shape.outputs = 2;
        header.spans = Some(SpanRules::default());
        header.max_tokens = 3;
    });
    assert_eq!(short, Err(OpenError::MaxTokens(3)));
}

#[test]
fn rules_for_spans_stand_with_their_task_alone() {
    // A bundle of another task has bytes behind its header then; one without them is cut off.
    assert_eq!(
        with(|header| header.spans = Some(SpanRules::default())),
        Err(OpenError::HeaderTail)
    );
    let lie = with(|header| {
        header.task = Task::QuestionAnswering;
        header.labels = Labels::new();
        header.shape.outputs = 2;
    });
    assert_eq!(lie, UNREADABLE);
}

#[test]
fn labels() {
    for names in [&["bad"][..], &["bad", "fun", "so-so"], &[]] {
        let names = Labels::of(names.iter().copied()).unwrap();
        assert_eq!(
            with(|header| header.labels = names),
            Err(OpenError::Outputs)
        );
    }
    assert_eq!(with_field(3, b"\x02\x03bad\x03bad"), UNREADABLE);
    assert_eq!(with_field(3, b"\x02\x03bad\x03\xff\xff\xff"), UNREADABLE);
    let many: Vec<_> = (0..513).map(|i| i.to_string()).collect();
    assert_eq!(
        with_field(3, &postcard::to_stdvec(&many).unwrap()),
        UNREADABLE
    );
    let long = ["x".repeat(8193)];
    assert_eq!(
        with_field(3, &postcard::to_stdvec(&long[..]).unwrap()),
        UNREADABLE
    );
}

#[test]
fn bound_on_tokens() {
    for tokens in [0, 2, 10, u32::MAX] {
        let lie = with(|header| header.max_tokens = tokens);
        assert_eq!(lie, Err(OpenError::MaxTokens(tokens)));
    }
    for tokens in [3, 9] {
        assert_eq!(with(|header| header.max_tokens = tokens), Ok(()));
    }
}

#[test]
fn provenance() {
    let long = "x".repeat(129);
    let lie = postcard::to_stdvec(&("0.1.0", &*long, "", [0u8; 32])).unwrap();
    assert_eq!(with_field(5, &lie), UNREADABLE);
    let fits = postcard::to_stdvec(&("0.1.0", &long[1..], "", [0u8; 32])).unwrap();
    assert_eq!(with_field(5, &fits), Ok(()));
    let mut invalid = fits;
    invalid[1] = 0xff;
    assert_eq!(with_field(5, &invalid), UNREADABLE);
}

#[test]
fn metrics() {
    let metrics = |count| postcard::to_stdvec(&vec![("eval_loss", 0.5, f64::NAN); count]).unwrap();
    assert_eq!(with_field(6, &metrics(16)), Ok(()));
    assert_eq!(with_field(6, &metrics(17)), UNREADABLE);
    // A count that promises more than there is.
    assert_eq!(with_field(6, &[0xff, 0xff, 0xff, 0xff, 0x0f]), UNREADABLE);
}

#[test]
fn section_table() {
    let lie = |edit: &dyn Fn(&mut Vec<Section>)| {
        with(|header| {
            let mut sections = header.sections.to_vec();
            edit(&mut sections);
            header.sections = sections.into_iter().collect();
        })
    };
    assert_eq!(lie(&|_| ()), Ok(()));
    let table = Err(OpenError::SectionTable);
    assert_eq!(lie(&|sections| sections.clear()), table);
    assert_eq!(lie(&|sections| sections.truncate(5)), table);
    assert_eq!(lie(&|sections| sections.swap(1, 2)), table);
    assert_eq!(lie(&|sections| sections.swap(0, 3)), table);
    assert_eq!(lie(&|sections| sections.push(sections[5])), table);
    assert_eq!(
        lie(&|sections| sections[2].kind = SectionKind::Layer(2)),
        table
    );
    assert_eq!(
        lie(&|sections| sections[3].kind = SectionKind::Tokenizer),
        table
    );
    // Version 1 of the format has no layers in floats.
    let in_floats = |sections: &mut Vec<Section>| sections[2].kind = SectionKind::LayerF32(1);
    assert_eq!(lie(&in_floats), table);
    let many = vec![(3u8, 0u32, 0u32); 68];
    assert_eq!(
        with_field(7, &postcard::to_stdvec(&many).unwrap()),
        UNREADABLE
    );
}

#[test]
fn section_length() {
    for index in 0..4 {
        let kind = edited(|_| ()).sections[index].kind;
        for change in [1, 64, u32::MAX] {
            let lie = with(|header| {
                let len = &mut header.sections[index].len;
                *len = len.wrapping_add(change);
            });
            assert_eq!(lie, Err(OpenError::SectionLength(kind)));
        }
    }
    for len in [0, 1, 56, 58, 64, 121, u32::MAX] {
        let lie = with(|header| header.sections[5].len = len);
        assert_eq!(lie, Err(OpenError::FileLength), "{len}");
    }
}

#[test]
fn section_checksum() {
    for index in 0..6 {
        let mut kind = SectionKind::Head;
        let header = edited(|header| {
            header.sections[index].crc ^= 1;
            kind = header.sections[index].kind;
        });
        let file = with_header(&postcard::to_stdvec(&header).unwrap());
        let copy = AlignedBytes::copy_of(&file);
        let verdict = Bundle::open(&copy).unwrap().verify();
        assert_eq!(verdict, Err(VerifyError::Section(kind)));
    }
}

#[test]
fn every_refusal_is_one_line() {
    let file = vec![0; 100];
    let misaligned = Bundle::open(&AlignedBytes::copy_of(&file)[1..]).map(drop);
    for lie in [
        misaligned,
        open(&file),
        with_bytes(|file| file[8] = 4),
        with_bytes(|file| file[16] ^= 1),
        with_bytes(|file| file[40] = 1),
        with(|header| header.numerics = 5),
        with(|header| header.shape.hidden = 0),
        with(|header| header.shape.heads = 3),
        with(|header| header.shape.intermediate = 0),
        with_bytes(|file| file[8] = 9),
        with(|header| header.shape.outputs = 3),
        with(|header| header.max_tokens = 1),
        with(|header| header.sections.clear()),
        with(|header| header.sections[1].len = 0),
        with(|header| header.sections[5].len = 0),
        with_field(7, &[]),
    ] {
        let text = lie.unwrap_err().to_string();
        assert!(text.len() > 10 && !text.contains('\n'), "{text}");
    }
}
