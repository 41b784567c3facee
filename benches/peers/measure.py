"""Berth and its peers side by side: batch 1, one core, one thread, one after the other in turns.

    python measure.py --peers PEERS_DIR --berth target/release [--core 1] [--rounds 12] [--avx2]

PEERS_DIR is what make.py filled. Each engine is a process of its own, pinned to the same core, and
only one of them runs at a time: in every round each engine answers a few queries of every length.
Writes a dated record beside this folder, in `record/`: JSON, a table, and a plot, whose names end in the tier of Berth's
kernels. With --readme FILE the table between the two marks in that file is replaced by the present one.
"""

import argparse
import datetime
import hashlib
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np

# Between these the README's table stands.
MARKS = ("<!-- peers: written by benches/peers/measure.py -->", "<!-- peers: end -->")

HERE = Path(__file__).resolve().parent
LOADED_LENGTH = 128
# How long the queries of one turn should take together, in nanoseconds, and their fewest.
TURN_NS, FEWEST = 12_000_000, 2


class Engine:
    """A process that answers a line for a line."""

    def __init__(self, key, command, core, environment, bundle=None):
        self.key, self.bundle = key, bundle
        self.times, self.empty_ns = {}, 0
        self.process = subprocess.Popen(
            ["taskset", "-c", str(core), *map(str, command)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        )

    def ask(self, **command):
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.key} ended instead of answering {command['op']}")
        return json.loads(line)

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def engines(args):
    worker = [sys.executable, HERE / "worker.py"]
    program = args.berth / "berth-peer"
    bundles = {name: args.peers / "berth" / f"{name}.berth" for name in ("tagger", "classifier")}
    berth_isa = {"BERTH_ISA": "avx2"} if args.avx2 else {}
    onednn = {"ONEDNN_MAX_CPU_ISA": "AVX2", "PEER_PRECISION": "f32"} if args.avx2 else {}
    peers = ["openvino"] if args.avx2 else ["litert", "openvino", "onnxruntime"]
    if not args.avx2 and "vnni" not in Path("/proc/cpuinfo").read_text():
        peers.append("onnxruntime-exact")
    found = [Engine(f"berth {name}", [program, path], args.core, berth_isa, path) for name, path in bundles.items()]
    found += [Engine(name, [*worker, name, args.peers], args.core, onednn) for name in peers]
    return found


def cosine(a, b):
    return float(np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b))


def accuracy(engine, inputs, reference):
    """The cosine of the mean over the tokens to that of f32, for each text."""
    found = {}
    for length, ids in inputs.items():
        states = np.array(engine.ask(op="states", ids=ids)["states"]).reshape(len(ids), -1)
        found[length] = cosine(states.mean(axis=0), reference[length].astype(np.float64).mean(axis=0))
    return found


def run(args, found, inputs):
    """Loads every engine, then lets them answer in turns."""
    counts = {}
    for engine in found:
        engine.info = engine.ask(op="load", length=LOADED_LENGTH)
        engine.empty_ns = engine.info.get("empty_ns", 0)
        engine.ask(op="time", ids=inputs[str(LOADED_LENGTH)], warm=2, count=1)
        engine.rss = engine.ask(op="rss")
        for length, ids in inputs.items():
            first = min(engine.ask(op="time", ids=ids, warm=2, count=2)["ns"])
            counts[engine.key, length] = max(FEWEST, TURN_NS // first)
            engine.times[length] = []
    for engine in found:
        if engine.bundle:
            engine.profile = {n: engine.ask(op="profile", tokens=len(ids)) for n, ids in inputs.items()}
    for _ in range(args.rounds):
        for length, ids in inputs.items():
            for engine in found:
                times = engine.ask(op="time", ids=ids, warm=1, count=counts[engine.key, length])["ns"]
                engine.times[length] += [ns - engine.empty_ns for ns in times]


def size(path):
    files = [path] if path.is_file() else [file for file in path.iterdir() if file.suffix in (".onnx", ".bin", ".xml")]
    return sum(file.stat().st_size for file in files)


def row(engine, args, cosines):
    """All that is known of one engine, in the record's terms."""
    litert = args.peers / engine.key / f"{LOADED_LENGTH}.tflite"
    folder = args.peers / engine.key.removesuffix("-exact")
    path = engine.bundle or (litert if engine.key == "litert" else folder)
    made = {
        "engine": engine.info["engine"],
        "load_ms": engine.info["load_ms"],
        "rss_over_base_mb": engine.rss["peak_mb"] - engine.info["base_mb"],
        "peak_rss_mb": engine.rss["peak_mb"],
        "file_bytes": size(path),
        "empty_call_ns": engine.empty_ns,
        "cosine": cosines,
        "lowest_cosine": min(cosines.values()),
        "ms": {
            length: {
                "p50": statistics.median(times) / 1e6,
                "min": min(times) / 1e6,
                "queries": len(times),
            }
            for length, times in engine.times.items()
        },
    }
    if engine.bundle:
        made["bundle_sha256"] = hashlib.sha256(engine.bundle.read_bytes()).hexdigest()
        for name in ("isa", "f32_layers", "layers", "metrics"):
            made[name] = engine.info[name]
        made["profile"] = engine.profile
    return made


def ratios(rows):
    """The fastest peer's median over Berth's, for each length and bundle."""
    peers = [row["ms"] for key, row in rows.items() if not key.startswith("berth")]
    over = lambda ours, length: min(peer[length]["p50"] for peer in peers) / ours["ms"][length]["p50"]
    ours = {key: row for key, row in rows.items() if key.startswith("berth")}
    return {key: {length: over(row, length) for length in row["ms"]} for key, row in ours.items()}


def table(record):
    """The record for people."""
    lengths = list(record["inputs"])
    lines = [
        f"# Peers side by side, {record['date']}",
        "",
        f"{record['cpu']}, one core, batch 1. Peaks of the core in GOP/s, products and sums: "
        + ", ".join(f"{name} {rate:.0f}" for name, rate in record["peaks_gops"].items())
        + ".",
        "Milliseconds a query by tokens, the median (the fastest); made by `" + record["command"] + "`.",
        "",
        "| engine | " + " | ".join(lengths) + " | lowest cosine to f32 | file MB | memory MB over base | load ms |",
        "|---" * (len(lengths) + 5) + "|",
    ]
    for key, row in record["engines"].items():
        times = [f"{row['ms'][n]['p50']:.3f} ({row['ms'][n]['min']:.3f})" for n in lengths]
        name = f"{row['engine']}, {key.removeprefix('berth ')}" if "isa" in row else row["engine"]
        end = [f"{row['lowest_cosine']:.4f}", f"{row['file_bytes'] / 1e6:.1f}", f"{row['rss_over_base_mb']:.0f}"]
        lines.append("| " + " | ".join([name, *times, *end, f"{row['load_ms']:.1f}"]) + " |")
    for key, ratio in record["fastest_peer_over"].items():
        cells = [f"{ratio[n]:.2f}×" for n in lengths]
        lines.append(f"| fastest peer over {key} | " + " | ".join(cells) + " | | | | |")
    for key, row in record["engines"].items():
        if "isa" in row:
            lines += ["", *profile_table(key, row, record)]
    return "\n".join(lines) + "\n"


def named(key, row):
    """What a bundle is: its SHA-256, its layers in f32, and what it reached before and after int8."""
    of = f"{len(row['f32_layers'])} of {row['layers']} layers in f32"
    reached = [f"{m['name']} {m['f32']:.4f} in f32, {m['int8']:.4f} as measured here" for m in row["metrics"]]
    return "; ".join([f"`{key}` ({row['isa']}): SHA-256 {row['bundle_sha256']}, {of}", *reached]) + "."


def peak(row, record):
    """The core's peak of what the tier multiplies with."""
    instruction = {"avx512vnni": "vpdpbusd", "avx2": "vpmaddwd and vpaddd"}.get(row["isa"])
    return record["peaks_gops"].get(instruction)


def profile_table(key, row, record):
    """Where a query's time goes, for people."""
    lengths = list(row["profile"])
    share = lambda value: f"{100 * value:.0f} %"
    part = lambda name: [share(row["profile"][n][name] / row["profile"][n]["query_ns"]) for n in lengths]
    most = peak(row, record)
    rows = {
        "linears, of the peak": [share(row["profile"][n]["linears_gops"] / most) for n in lengths] if most else [],
        "linears, of a query": part("linears_ns"),
        "attention's two products": part("attention_products_ns"),
        "everything else": [share(row["profile"][n]["rest_share"]) for n in lengths],
    }
    lines = [named(key, row), "", "| | " + " | ".join(lengths) + " |", "|---" * (len(lengths) + 1) + "|"]
    return lines + ["| " + " | ".join([name, *cells]) + " |" for name, cells in rows.items() if cells]


def readme_table(record):
    """The record's medians and what they cost, for the README. A row is of one file."""
    lengths = list(record["inputs"])
    head = ["engine", *lengths, "lowest cosine to f32", "file MB", "memory MB"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for key, row in record["engines"].items():
        name = f"{row['engine']}, {key.removeprefix('berth ')}" if "isa" in row else row["engine"]
        times = [f"{row['ms'][n]['p50']:.3g}" for n in lengths]
        end = [f"{row['lowest_cosine']:.4f}", f"{row['file_bytes'] / 1e6:.1f}", f"{row['rss_over_base_mb']:.0f}"]
        lines.append("| " + " | ".join([name, *times, *end]) + " |")
    for key, row in record["engines"].items():
        if "isa" in row:
            lines += ["", named(key, row)]
    return "\n".join(lines)


def write_readme(path, record):
    """Replaces what stands between the marks."""
    text = path.read_text(encoding="utf-8")
    if any(text.count(mark) != 1 for mark in MARKS):
        raise SystemExit(f"{path}: needs one line `{MARKS[0]}` and behind it one `{MARKS[1]}`")
    before, rest = text.split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    head = f"Milliseconds a query by tokens, medians, {record['date']}, one core of {record['cpu']}:"
    made = [MARKS[0], head, "", readme_table(record), "", MARKS[1]]
    path.write_text(before + "\n".join(made) + after, encoding="utf-8")


def plot(record, path):
    """Queries a second beside the fastest engine's, by length."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    for key, row in record["engines"].items():
        lengths = [int(length) for length in row["ms"]]
        per_token = [row["ms"][str(length)]["p50"] * 1e3 / length for length in lengths]
        label = f"{row['engine']}, {key.removeprefix('berth ')}" if "isa" in row else row["engine"]
        axes.plot(lengths, per_token, marker="o", linewidth=2 if "isa" in row else 1, label=label)
    axes.set(xlabel="tokens", ylabel="microseconds a token, median", xscale="log")
    axes.set_xticks(lengths, [str(length) for length in lengths], minor=False)
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    axes.set_title(f"all-MiniLM-L6-v2 in int8, one core of {record['cpu']}")
    figure.savefig(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--peers", type=Path, required=True)
    parser.add_argument("--berth", type=Path, required=True, help="folder of the built programs")
    parser.add_argument("--core", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--avx2", action="store_true", help="Berth and OpenVINO held to AVX2")
    parser.add_argument("--readme", type=Path, help="a file whose table is to be replaced")
    parser.add_argument("--record_dir", type=Path, default=HERE.parent / "record")
    args = parser.parse_args()

    inputs = json.loads((args.peers / "ids.json").read_text())
    reference = np.load(args.peers / "reference.npz")
    found = engines(args)
    peaks = [found[0].ask(op="peaks")]
    run(args, found, inputs)
    peaks.append(found[0].ask(op="peaks"))
    rows = {engine.key: row(engine, args, accuracy(engine, inputs, reference)) for engine in found}
    for engine in found:
        engine.end()
    rates = {name: max(peak["peaks_gops"][name] for peak in peaks) for name in peaks[0]["peaks_gops"]}
    record = {
        "date": datetime.date.today().isoformat(),
        "command": "benches/peers/measure.py" + (" --avx2" if args.avx2 else ""),
        "cpu": peaks[0]["cpu"],
        "peaks_gops": rates,
        "rounds": args.rounds,
        "inputs": {length: len(ids) for length, ids in inputs.items()},
        "engines": rows,
        "fastest_peer_over": ratios(rows),
    }
    tier = next(row["isa"] for row in rows.values() if "isa" in row)
    name = f"{record['date']}-peers-{tier}" + ("-forced" if args.avx2 else "")
    args.record_dir.mkdir(exist_ok=True)
    (args.record_dir / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    (args.record_dir / f"{name}.md").write_text(table(record))
    plot(record, args.record_dir / f"{name}.svg")
    if args.readme:
        write_readme(args.readme, record)
    print(table(record))


if __name__ == "__main__":
    main()
