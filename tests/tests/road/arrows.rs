//! Crates use what lies further down the road, and nothing from the other side.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};

/// Our crates; each may use those that stand after it.
const ROAD: [&str; 16] = [
    "berth-tests",
    "berth-benches",
    "berth-fuzz",
    "berth",
    "berth-quantize",
    "berth-trainer",
    "berth-data",
    "berth-checkpoint",
    "berth-runtime",
    "berth-count",
    "berth-bare-metal",
    "berth-encoder",
    "berth-bundle",
    "berth-wordpiece",
    "berth-task",
    "berth-kernels",
];

/// What runs on bare metal: without std and without an allocator.
const LEAVES: [(&str, &str); 6] = [
    ("berth-bare-metal", "runtime/bare-metal"),
    ("berth-encoder", "runtime/encoder"),
    ("berth-bundle", "runtime/bundle"),
    ("berth-wordpiece", "runtime/wordpiece"),
    ("berth-task", "runtime/task"),
    ("berth-kernels", "runtime/kernels"),
];

/// Whatever opens a socket.
const NETWORK: [&str; 10] = [
    "ureq",
    "reqwest",
    "hyper",
    "curl",
    "hf-hub",
    "rustls",
    "native-tls",
    "socket2",
    "tokio",
    "tiny_http",
];

#[test]
fn each_crate_uses_only_what_stands_after_it() {
    let graph = Graph::read();
    let ours: BTreeSet<&str> = graph.members.iter().map(String::as_str).collect();
    assert_eq!(
        ours,
        ROAD.into_iter().collect(),
        "every crate has its place on the road"
    );
    let place = |name: &str| ROAD.iter().position(|own| *own == name);
    for (at, name) in ROAD.iter().enumerate() {
        for used in &graph.uses[*name] {
            if let Some(other) = place(used) {
                assert!(at < other, "{name} uses {used}, which stands before it");
            }
        }
    }
}

#[test]
fn the_device_reaches_no_training_no_parser_of_models_and_no_network() {
    let graph = Graph::read();
    for name in LEAVES
        .map(|(name, _)| name)
        .into_iter()
        .chain(["berth-runtime"])
    {
        let reached = graph.reached(name);
        let unwanted = |other: &&String| {
            other.starts_with("candle")
                || ["tokenizers", "safetensors", "tract-onnx"].contains(&other.as_str())
                || NETWORK.contains(&other.as_str())
        };
        let found: Vec<_> = reached.iter().filter(unwanted).collect();
        assert!(found.is_empty(), "{name} reaches {found:?}");
    }
    assert!(
        graph.reached("berth-runtime").contains("tract-core"),
        "the graph is the real one"
    );
}

#[test]
fn quantizing_and_the_data_reach_no_training_code() {
    let graph = Graph::read();
    for name in ["berth-quantize", "berth-data", "berth-checkpoint"] {
        let reached = graph.reached(name);
        let found: Vec<_> = reached
            .iter()
            .filter(|other| other.starts_with("candle"))
            .collect();
        assert!(found.is_empty(), "{name} reaches {found:?}");
        assert!(
            !reached.contains("berth-trainer"),
            "{name} reaches the trainer"
        );
    }
    let fetchers = ROAD
        .iter()
        .filter(|name| graph.reached(name).contains("ureq"));
    assert_eq!(
        fetchers.collect::<Vec<_>>(),
        [&"berth"],
        "one crate talks to the network"
    );
}

#[test]
fn the_leaves_are_made_for_machines_without_an_operating_system() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (name, folder) in LEAVES {
        let path = root.join(folder).join("src/lib.rs");
        let source = fs::read_to_string(&path).expect("a crate's source");
        let said = source.lines().any(|line| line.trim() == "#![no_std]");
        assert!(said, "{name} does not say #![no_std]");
        for file in sources(&root.join(folder).join("src")) {
            let text = fs::read_to_string(&file).expect("a source file");
            let uses = text
                .lines()
                .any(|line| line.trim() == "extern crate alloc;");
            assert!(!uses, "{} takes an allocator", file.display());
        }
    }
}

fn sources(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(dir).expect("a source folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .flat_map(|path| {
            if path.is_dir() {
                sources(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

/// Who uses whom, tests and build scripts left out.
struct Graph {
    members: BTreeSet<String>,
    uses: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    fn read() -> Self {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
        let mut command = MetadataCommand::new();
        command.manifest_path(manifest).other_options(
            ["--offline", "--locked", "--filter-platform", "host-tuple"].map(String::from),
        );
        let metadata = command.exec().expect("cargo metadata");
        let names = names(&metadata);
        let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for node in &metadata.resolve.as_ref().expect("a resolved graph").nodes {
            let normal = node.deps.iter().filter(|dependency| {
                dependency
                    .dep_kinds
                    .iter()
                    .any(|kind| kind.kind == DependencyKind::Normal)
            });
            let used = normal.map(|dependency| names[&dependency.pkg].clone());
            uses.entry(names[&node.id].clone())
                .or_default()
                .extend(used);
        }
        let members = metadata
            .workspace_members
            .iter()
            .map(|id| names[id].clone())
            .collect();
        Graph { members, uses }
    }

    /// Every crate that `name` is built of.
    fn reached(&self, name: &str) -> BTreeSet<String> {
        let mut reached = BTreeSet::new();
        let mut next = vec![name.to_owned()];
        while let Some(name) = next.pop() {
            next.extend(
                self.uses[&name]
                    .iter()
                    .filter(|used| reached.insert((*used).clone()))
                    .cloned(),
            );
        }
        reached
    }
}

fn names(metadata: &Metadata) -> BTreeMap<PackageId, String> {
    metadata
        .packages
        .iter()
        .map(|package| (package.id.clone(), package.name.to_string()))
        .collect()
}
