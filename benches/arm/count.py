"""Counts what a query costs on emulated ARM cores, and holds the counts against a record.

    python3 benches/arm/count.py --program PATH --bundle NAME=FILE [--json OUT] [--check RECORD]

`--program` is `berth-count`, built for an AArch64 Linux; `--bundle` may be given for a tagger and for a
classifier (`tagger=F.berth`, `classifier=F.berth`). Instructions are counted by `count.c`, a plugin of
qemu-user: the difference of a run with three queries and one with a single query, halved. The same program
gives the same count on every run, on any machine. `--caches` adds the bytes that a tagger's query of 128
tokens fetches from beyond the second-level cache, by the model of `count.c`, which takes minutes.
`--check` fails where a count grew by more than 1 % over the record's, is none, or has none there to be held
against, and where two cores print different logits. `python3 -m doctest` tries that.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
CORES = ["cortex-a53", "cortex-a72", "cortex-a76", "max,sve=off,sme=off"]
COUNTED = CORES[1:]
LENGTHS = [16, 64, 128, 256, 384]
BOARDS = {
    "Raspberry Pi 3": ("cortex-a53", 32 << 10, 512 << 10),
    "Raspberry Pi 4": ("cortex-a72", 32 << 10, 1 << 20),
    "Raspberry Pi 5": ("cortex-a76", 64 << 10, 512 << 10),
}
CLASSES = ["products", "vector", "memory", "branch", "integer", "other"]
GROWTH = 1.01
TEXT = (
    "The film is a gripping, beautifully acted story about two brothers who inherit a small boat yard on "
    "the coast and, against the advice of everyone they know, decide to build one last wooden ship before "
    "the bank takes the land. What begins as a comedy about stubborn men slowly becomes something deeper: "
    "a portrait of a town that has forgotten what it was made for, and of a friendship that survives the "
    "winter. The director never hurries; scenes are allowed to breathe, and the score, played on a single "
    "cello, is used so sparingly that its return in the final minutes is overwhelming. It deserves to be seen."
)


def plugin(folder):
    """The plugin, compiled."""
    library = folder / "libcount.so"
    compiler = os.environ.get("CC", "cc")
    source = HERE / "count.c"
    flags = ["-O2", "-Wall", "-Wno-unused-parameter", "-shared", "-fPIC"]
    subprocess.run([compiler, *flags, "-o", library, source], check=True)
    return library


class Counter:
    """Runs `berth-count` under qemu with the plugin."""

    def __init__(self, program, folder):
        self.program, self.folder = program, folder
        self.library = plugin(folder)

    def run(self, core, arguments, more="", text=None):
        out = self.folder / "counts.json"
        option = f"{self.library},out={out}{more}"
        command = ["qemu-aarch64", "-cpu", core, "-plugin", option, self.program, *map(str, arguments)]
        done = subprocess.run(command, input=text, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
        return json.loads(out.read_text()), done.stdout.strip()

    def each(self, core, arguments, more="", text=None):
        """What one query costs, and what it printed."""
        once, _ = self.run(core, [*arguments, 1], more, text)
        thrice, said = self.run(core, [*arguments, 3], more, text)
        return {name: (thrice[name] - once[name]) // 2 for name in once}, said


def measure(counter, bundles, cores, lengths):
    found = {}
    for core in cores:
        rows = found.setdefault(core.split(",")[0], {})
        for name, bundle in bundles.items():
            for tokens in lengths:
                counts, said = counter.each(core, [bundle, "query", tokens])
                rows[f"{name} {tokens}"] = {**counts, "said": said}
                print(f"{core}, {name}, {tokens} tokens: {counts['instructions'] / 1e6:.2f} M", file=sys.stderr)
        if bundles:
            counts, said = counter.each(core, [next(iter(bundles.values())), "text"], text=TEXT)
            rows["text"] = {**counts, "said": said}
            print(f"{core}, {said}: {counts['instructions'] / 1e6:.4f} M", file=sys.stderr)
    return found


def fetched(counter, bundle):
    """Megabytes from beyond the second-level cache for a query of 128 tokens, board by board."""
    found = {}
    for board, (core, first, second) in BOARDS.items():
        counts, _ = counter.each(core, [bundle, "query", 128], f",l1={first},l2={second}")
        found[board] = {name: counts[name] for name in ["l1_fetched", "l2_fetched", "l2_written"]}
        print(f"{board}: {counts['l2_fetched'] / 1e6:.1f} MB from beyond L2", file=sys.stderr)
    return found


def table(found):
    """The counts for people, in millions."""
    lines = ["| core | what | instructions | " + " | ".join(CLASSES) + " |", "|" + "---|" * (3 + len(CLASSES))]
    for core, rows in found.items():
        for what, counts in rows.items():
            cells = [counts["instructions"], *(counts[name] for name in CLASSES)]
            digits = 4 if what == "text" else 2
            lines.append(f"| {core} | {what} | " + " | ".join(f"{cell / 1e6:.{digits}f}" for cell in cells) + " |")
    return "\n".join(lines)


def amiss(found, record):
    """What does not hold of the counts that were found: lines for people.

    >>> row = lambda count, said="16 tokens: ab": {"t 16": {"instructions": count, "said": said}}
    >>> list(amiss({"a53": row(101), "a72": row(100)}, {"a53": row(100), "a72": row(100)}))
    []
    >>> list(amiss({"a53": row(102)}, {"a53": row(100), "a72": row(100)}))
    ['a53, t 16: 100 grew to 102, by more than 1 %']
    >>> list(amiss({"a53": row(0)}, {"a53": row(100)}))
    ['a53, t 16: nothing was counted']
    >>> list(amiss({"a53": row(100)}, {"a53": row(0)}))
    ['a53, t 16: the record has no count of it']
    >>> list(amiss({"a53": {"tagger 16": row(1)["t 16"]}}, {"a53": row(100)}))
    ['a53, tagger 16: the record has no count of it']
    >>> list(amiss({"a53": row(100), "a72": row(100, "16 tokens: cd")}, {"a53": row(100), "a72": row(100)}))
    ['t 16: the cores differ: "16 tokens: ab" on a53, "16 tokens: cd" on a72']
    >>> list(amiss({"a53": {}}, {"a53": row(100)}))
    ['nothing was measured']
    """
    said = {}
    for core, rows in found.items():
        for what, counts in rows.items():
            said.setdefault(what, {}).setdefault(counts["said"], []).append(core)
            before = record.get(core, {}).get(what, {}).get("instructions", 0)
            now = counts["instructions"]
            if now <= 0:
                yield f"{core}, {what}: nothing was counted"
            elif before <= 0:
                yield f"{core}, {what}: the record has no count of it"
            elif now > before * GROWTH:
                yield f"{core}, {what}: {before} grew to {now}, by more than 1 %"
    if not said:
        yield "nothing was measured"
    for what, answers in said.items():
        if len(answers) > 1:
            each = (f'"{answer}" on {" and ".join(cores)}' for answer, cores in answers.items())
            yield f"{what}: the cores differ: {', '.join(each)}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True, type=pathlib.Path)
    parser.add_argument("--bundle", action="append", default=[], metavar="NAME=FILE")
    parser.add_argument("--cores", nargs="+", default=COUNTED)
    parser.add_argument("--lengths", nargs="+", type=int, default=LENGTHS)
    parser.add_argument("--caches", action="store_true")
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--check", type=pathlib.Path)
    options = parser.parse_args()
    bundles = dict(bundle.split("=", 1) for bundle in options.bundle)
    with tempfile.TemporaryDirectory() as folder:
        counter = Counter(options.program, pathlib.Path(folder))
        found = {"counts": measure(counter, bundles, options.cores, options.lengths)}
        if options.caches and bundles:
            found["caches"] = fetched(counter, next(iter(bundles.values())))
    print(table(found["counts"]))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    if options.check:
        wrong = list(amiss(found["counts"], json.loads(options.check.read_text())["counts"]))
        if wrong:
            sys.exit(f"Against {options.check}:\n" + "\n".join(wrong))


if __name__ == "__main__":
    main()
