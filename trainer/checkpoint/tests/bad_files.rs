//! Folders that are damaged in every way: an error each time, never a panic, and no more memory than
//! the files warrant. A program of its own, because it counts what is allocated.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use berth_checkpoint::{Checkpoint, CheckpointError, TokenizerFiles, tiny};

/// The system's allocator, with the bytes in use and the most that they were.
struct Counting;

static USED: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let used = USED.fetch_add(layout.size(), SeqCst) + layout.size();
        PEAK.fetch_max(used, SeqCst);
        // SAFETY: the caller keeps `GlobalAlloc::alloc`'s contract, and the system asks for the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), SeqCst);
        // SAFETY: the pointer came from `alloc` above with this layout, so from the system.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What reading a tiny folder may take at its peak: buffers of 256 KiB, and a few times the files,
/// which have 110 KB.
const MOST_MEMORY: usize = 4 << 20;

/// Opens a folder and reads everything in it.
fn read(dir: &Path) -> Result<(), CheckpointError> {
    let model = Checkpoint::open(dir)?;
    for name in model.names() {
        model.tensor(name)?;
    }
    model.sha256()?;
    TokenizerFiles::read(dir).map(drop)
}

/// The error of a folder whose safetensors file is `bytes`.
fn error(dir: &Path, bytes: &[u8]) -> String {
    fs::write(dir.join("model.safetensors"), bytes).unwrap();
    let error = read(dir).expect_err("a damaged file was read").to_string();
    assert!(error.contains("model.safetensors: "), "{error}");
    error
}

/// A safetensors file with this header and `tail` bytes of numbers.
fn file(header: &str, tail: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + tail, 0);
    bytes
}

#[test]
fn damaged_folders_give_errors() {
    let dir = tempfile::tempdir().unwrap();
    tiny::create(dir.path(), 3, &["film"]).unwrap();
    read(dir.path()).unwrap();
    let whole = fs::read(dir.path().join("model.safetensors")).unwrap();
    truncations(dir.path(), &whole);
    lies(dir.path(), &whole);
    fs::write(dir.path().join("model.safetensors"), &whole).unwrap();
    mutations(dir.path());
}

/// Every length up to the header's end, then around every tensor's.
fn truncations(dir: &Path, whole: &[u8]) {
    let start = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let edges = (start..whole.len())
        .step_by(1024)
        .flat_map(|end| [end - 1, end, end + 1]);
    for length in (0..start).step_by(17).chain(edges).chain([whole.len() - 1]) {
        let expected = match length {
            0..8 => 8,
            8.. if length < start => start,
            _ => whole.len(),
        };
        let error = error(dir, &whole[..length]);
        let message = format!("truncated: expected {expected} bytes, found {length}");
        assert!(error.contains(&message), "{error}");
    }
    assert!(error(dir, &[whole, &[0; 3]].concat()).contains("3 bytes after the last tensor"));
}

fn lies(dir: &Path, whole: &[u8]) {
    let length = |length: u64| [&length.to_le_bytes(), &whole[8..]].concat();
    for huge in [u64::MAX, u64::MAX - 8, 1 << 40, (16 << 20) + 1] {
        assert!(error(dir, &length(huge)).contains(&format!("a header of {huge} bytes")));
    }
    assert!(error(dir, &length(16 << 20)).contains("truncated: expected 16777224 bytes"));
    let tensor = |shape: &str, from: u64, to: u64| {
        format!(r#"{{"w":{{"dtype":"F32","shape":{shape},"data_offsets":[{from},{to}]}}}}"#)
    };
    for (header, tail) in [
        (String::new(), 0),
        ("{".to_owned(), 0),
        ("[]".to_owned(), 0),
        ("\u{0}".to_owned(), 0),
        (r#"{"w": 3}"#.to_owned(), 0),
        (
            r#"{"w":{"dtype":"F31","shape":[],"data_offsets":[0,4]}}"#.to_owned(),
            4,
        ),
        (
            r#"{"w":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#.to_owned(),
            4,
        ),
        (tensor("[2]", 0, 4), 4),
        (tensor("[1]", 4, 8), 8),
        (tensor("[1]", 8, 4), 8),
        (tensor("[18446744073709551615,2]", 0, 4), 4),
        (tensor("[18446744073709551615]", 0, u64::MAX), 4),
        ("[".repeat(1 << 20), 0),
    ] {
        let error = error(dir, &file(&header, tail));
        assert!(
            error.contains("damaged, or no safetensors file: "),
            "{error}"
        );
    }
    let named = tensor("[1]", 4, 8).replace(r#""w""#, r#""a\nb""#);
    let told = error(dir, &file(&named, 8));
    assert!(
        told.contains("a\u{fffd}b") && !told.contains('\n'),
        "{told}"
    );
    let vast = file(&tensor(&format!("[{}]", 1_u64 << 57), 0, 1 << 59), 4);
    let expected = (vast.len() as u64 - 4) + (1 << 59);
    assert!(error(dir, &vast).contains(&format!("truncated: expected {expected} bytes")));
    assert!(error(dir, &file("{}", 0)).contains("tensor `bert.embeddings.word_embeddings.weight`"));
}

/// A second of small random damage to any of the files: what can still be read is fine, the rest is
/// an error.
fn mutations(dir: &Path) {
    let names = [
        "model.safetensors",
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    let files = names.map(|name| (dir.join(name), fs::read(dir.join(name)).unwrap()));
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let (mut errors, mut rounds) = (0, 0);
    let end = Instant::now() + Duration::from_secs(1);
    while rounds < 100 || Instant::now() < end {
        let (path, whole) = &files[random(files.len())];
        let mut bytes = whole.clone();
        // The headers of large files are where damage matters.
        let reach = [whole.len(), whole.len().min(6000)][random(2)];
        for _ in 0..=random(4) {
            let at = random(reach).min(bytes.len() - 1);
            match random(4) {
                0 => bytes[at] ^= 1 << random(8),
                1 => bytes[at] = b"0{}[],:\"-9"[random(10)],
                2 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, random(256) as u8),
            }
        }
        fs::write(path, &bytes).unwrap();
        let before = USED.load(SeqCst);
        PEAK.store(before, SeqCst);
        errors += usize::from(read(dir).is_err());
        rounds += 1;
        let most = PEAK.load(SeqCst) - before;
        assert!(
            most < MOST_MEMORY,
            "{most} bytes for a damaged {}",
            path.display()
        );
        fs::write(path, whole).unwrap();
    }
    assert!(
        errors > rounds / 4 && errors < rounds,
        "{errors} errors in {rounds} rounds"
    );
    read(dir).unwrap();
}
