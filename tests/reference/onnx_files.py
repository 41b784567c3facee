#!/usr/bin/env python3
"""ONNX out and in, on a fine-tuned model and published rows: Berth beside ONNX Runtime.

    onnx_files.py CHECKPOINT --task TASK --data DIR [--max_samples N] [--programs target/release] [--work DIR]

TASK and DIR as `benches/peers/int8.py` has them.

1. Out: `berth export` writes the checkpoint as ONNX; `onnx.checker` checks both files; ONNX Runtime's logits of
   model.onnx are within 1e-4 of those of transformers; model_quantized.onnx has at least 99 % of the bundle's
   answers there (95 % of spans), and no worse a metric; beside it stands how many of its own answers it gives when
   the weights of its first norm are larger by one part in a million. Where `optimum` is installed, the folder opens
   in its `ORTModelFor…`, with the same logits. Both files come in again: as the same bytes, and as the same weights.
2. In: torch exports the checkpoint by both exporters, and optimum where it is installed; ONNX Runtime quantizes
   what the first two wrote (dynamic, dynamic by channel, static QDQ by channel, static QOperator by channel) and
   fuses it (its optimizer for transformers; that, then dynamic). `berth quantize` imports every file but the one in
   QOperator format, which it has to refuse with a list of its nodes. f32 files have to become bundles with the
   checkpoint's own weights, int8 ones to keep at least 98.5 % of ONNX Runtime's answers, or more than ONNX Runtime
   of those that the file's weights give where layers compute in f32: both quantize activations, each in its own
   way. The metric is to be no worse by more than 0.3 points or one answer. Beside it stands what ONNX Runtime keeps
   of its own answers with its optimizations off, and with that norm moved.

ONNX Runtime runs u8 by i8 with its option for exact sums (`onnx_makers.session` says why). Files that are in --work
are not made again. Prints a line for each comparison; the exit code is 1 when one failed.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import torch
import transformers

import onnx_makers as makers
from programs import ROOT

sys.path.insert(0, str(ROOT / "benches/peers"))
import int8 as peer  # noqa: E402
from published import TABLES, path_in, questions, sentences, table  # noqa: E402

OPTIMUM = {"ewt": "TokenClassification", "wnut17": "TokenClassification", "squad": "QuestionAnswering"}
CALIBRATED = 32
# Of the bundle's answers, how many ONNX Runtime has to give with what Berth exported: spans flip more easily.
LEAST, LEAST_SPANS = 0.99, 0.95
# Files that `berth quantize` refuses by design, and how it begins the list of their nodes.
REFUSED, LISTED = {"older-qoperator"}, "nodes without a rule: `"


class Rows:
    """The rows of a dev file, and what a model says to them."""

    def __init__(self, task, folder, data, most):
        self.task, self.folder, self.most = task, folder, most
        self.arguments = json.loads((folder / "training_args.json").read_text())
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.model = peer.model_of(task, folder)
        self.dev = path_in(data, *peer.DEV[task])
        if task in TABLES:
            rows = table(task, self.dev)
        else:
            rows = questions(self.dev, most) if task == "squad" else sentences(self.dev)
        self.rows = rows[:most]

    def encoded(self, row):
        longest = self.arguments["max_seq_length"]
        if self.task == "squad":
            return self.tokenizer(row[0], row[1], truncation="only_second", max_length=longest)
        if self.task in TABLES:
            return self.tokenizer(*row[0], truncation=True, max_length=longest)
        return self.tokenizer(row[0], is_split_into_words=True, truncation=True, max_length=longest)

    def inputs(self, most):
        """Inputs of the first rows, one by one."""
        rows = [self.encoded(row) for row in self.rows[:most]]
        return [{name: np.array([row[name]], np.int64) for name in makers.INPUTS} for row in rows]

    def of_runtime(self, path, as_written=False):
        """ONNX Runtime's answers."""
        opened = makers.session(path, True, as_written)
        wanted = [given.name for given in opened.get_inputs()]

        def run(inputs, window=None):
            row = lambda name: inputs[name] if window is None else inputs[name][window]
            return [out[0] for out in opened.run(None, {name: np.array([row(name)], np.int64) for name in wanted})]

        if self.task == "squad":
            return [peer.answer(self.tokenizer, run, row[0], row[1], self.arguments) for row in self.rows]
        ask = peer.classify if self.task in TABLES else peer.tag
        return [ask(self.tokenizer, run, row[0], self.arguments) for row in self.rows]

    def of_bundle(self, programs, bundle, work):
        """The bundle's answers, as `berth predict` writes them."""
        most = ["--max_predict_samples", self.most] if self.most else []
        berth(programs, "predict", bundle, "--test_file", self.dev, "--output_dir", work, *most)
        number = {name: int(number) for name, number in self.model.config.label2id.items()}
        if self.task == "squad":
            return list(json.loads((work / "predict_predictions.json").read_text()).values())
        if self.task not in TABLES:
            return [[number[tag] for tag in line.split()] for line in lines(work / "predictions.txt")]
        said = [line.split("\t")[1] for line in lines(work / "predict_results.txt")[1:]]
        return [float(label) if self.model.config.num_labels == 1 else number[label] for label in said]

    def same(self, one, other):
        """How many answers are the same, and of how many."""
        assert len(one) == len(other) == len(self.rows)
        # A tag is no answer where either left the word out.
        if self.task in OPTIMUM and self.task != "squad":
            one = [[a if b is not None else None for a, b in zip(x, y)] for x, y in zip(one, other)]
        same = peer.compared(self.task, self.rows, one, other)
        return sum(same), len(same)

    def metric(self, answers):
        figures = peer.metric(self.task, self.rows, answers, self.model.config)
        return figures["eval_f1"] if self.task == "squad" else 100 * next(iter(figures.values()))


def lines(path):
    return path.read_text(encoding="utf-8").splitlines()


def berth(programs, *arguments):
    command = [str(programs / "berth"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"berth {arguments[0]}: {done.stderr.strip()}")
    return done.stdout


class Check:
    """The comparisons of one model, and whether all of them held."""

    def __init__(self, rows, programs, work):
        self.rows, self.programs, self.work = rows, programs, work
        self.failed = False

    def line(self, holds, what):
        print(f"{'ok  ' if holds else 'FAIL'} {what}", flush=True)
        self.failed |= not holds

    def bundle(self, source, name, *more):
        """The bundle of a checkpoint or a file."""
        path = self.work / f"{name}.berth"
        beside = ["--tokenizer_name", self.rows.folder] if source != self.rows.folder else []
        berth(self.programs, "quantize", source, "--output", path, *beside, *more)
        return path

    def precise(self, source, name):
        """The answers of a file's weights, with its layers in f32."""
        layers = ",".join(map(str, range(self.rows.model.config.num_hidden_layers)))
        return self.answers(self.bundle(source, f"{name}-f32", "--f32_layers", layers))

    def answers(self, bundle):
        return self.rows.of_bundle(self.programs, bundle, self.work / "predicted")

    def same_weights(self, one, other):
        command = [self.programs / "berth", "diff", one, other, "--json"]
        found = json.loads(subprocess.run(command, capture_output=True, text=True).stdout)
        return not found["weights"]

    def out(self, name, ours, theirs):
        """Berth's answers beside ONNX Runtime's to what Berth exported."""
        same, of = self.rows.same(ours, theirs)
        mine, metric = self.rows.metric(ours), self.rows.metric(theirs)
        least = LEAST_SPANS if self.rows.task == "squad" else LEAST
        self.line(
            same >= least * of and mine - metric <= self.most(),
            f"{name}: ONNX Runtime gives {same} of the bundle's {of} answers ({same / of:.2%}); metric {metric:.2f} "
            f"there, {mine:.2f} of the bundle",
        )

    def into(self, name, ours, theirs, others, precise):
        """Berth's answers beside ONNX Runtime's to a file of another maker, and these beside `others` of its own."""
        same, of = self.rows.same(theirs, ours)
        kept = {how: self.rows.same(theirs, answers)[0] for how, answers in others.items()}
        (by_berth, _), (by_runtime, _) = self.rows.same(precise, ours), self.rows.same(precise, theirs)
        mine, metric = self.rows.metric(ours), self.rows.metric(theirs)
        self.line(
            (same >= 0.985 * of or by_berth > by_runtime) and metric - mine <= self.most(),
            f"{name}: {same} of ONNX Runtime's {of} answers ({same / of:.2%}); metric {mine:.2f}, of ONNX Runtime "
            f"{metric:.2f}; of the answers of its weights with layers in f32 Berth gives {by_berth} "
            f"({by_berth / of:.2%}), ONNX Runtime {by_runtime} ({by_runtime / of:.2%}); of its own answers ONNX Runtime "
            f"gives " + ", ".join(f"{how}, {itself} ({itself / of:.2%})" for how, itself in kept.items()),
        )

    def most(self):
        """By how many points a metric may be worse."""
        return max(0.3, 100 / len(self.rows.rows))


@torch.no_grad()
def out(check):
    """What `berth export` writes. Returns the checkpoint's own bundle."""
    rows, work = check.rows, check.work
    folder = work / "exported"
    if not folder.exists():
        berth(check.programs, "export", rows.folder, "--output_dir", folder)
    plain, small = folder / "model.onnx", folder / "model_quantized.onnx"
    for path in (plain, small):
        onnx.checker.check_model(str(path), full_check=True)
    inputs = rows.inputs(100)
    theirs = [logits(rows.model, one) for one in inputs]
    opened = makers.session(plain)
    apart = furthest([makers.answer(opened, one) for one in inputs], theirs)
    check.line(apart < 1e-4, f"model.onnx in ONNX Runtime: logits of {len(inputs)} rows {apart:.1e} apart at most")
    own = check.bundle(rows.folder, "own")
    answers = rows.of_runtime(small)
    check.out("model_quantized.onnx", check.answers(own), answers)
    for path in (small, plain):
        before = answers if path == small else rows.of_runtime(plain)
        same, of = rows.same(before, rows.of_runtime(makers.nudged(path, work / f"nudged_{path.name}")))
        print(f"     {path.name} with its first norm larger by 1e-6: {same} of its own {of} answers ({same / of:.2%})")
    for path, like in ((plain, "the same bytes"), (small, "the same weights")):
        try:
            through = check.bundle(path, f"through_{path.stem}")
        except RuntimeError as error:
            check.line(False, f"{path.name}: {error}")
            continue
        same = through.read_bytes() == own.read_bytes() if path == plain else check.same_weights(own, through)
        check.line(same, f"{path.name} comes in again as {like}")
    optimum_opens(check, folder, inputs, theirs)
    return own


def logits(model, inputs):
    found = model(**{name: torch.tensor(values) for name, values in inputs.items()})
    if "start_logits" in found:
        return torch.stack([found.start_logits, found.end_logits], -1)[0].reshape(-1).tolist()
    return found.logits[0].reshape(-1).tolist()


def furthest(one, other):
    return max(float(np.abs(np.array(a) - np.array(b)).max()) for a, b in zip(one, other))


def optimum_class(task):
    """optimum's class for a task's models; none where it is not installed."""
    try:
        from optimum import onnxruntime as classes
    except ImportError:
        return None
    return getattr(classes, "ORTModelFor" + OPTIMUM.get(task, "SequenceClassification"))


def optimum_opens(check, folder, inputs, theirs):
    opens = optimum_class(check.rows.task)
    if opens is None:
        print("     optimum is not installed")
        return
    for name, most in (("model.onnx", 1e-4), ("model_quantized.onnx", None)):
        opened = opens.from_pretrained(folder, file_name=name)
        apart = furthest([logits(opened, one) for one in inputs], theirs)
        check.line(most is None or apart < most, f"optimum's {opens.__name__} opens {name}: logits {apart:.1e} apart at most")


def made(check):
    """Files of other makers: name, path, whether in f32, how it is made."""
    rows, work = check.rows, check.work
    names = ["start_logits", "end_logits"] if rows.task == "squad" else ["logits"]
    plain = {name: work / f"{name}.onnx" for name in ("older", "newer")}
    calibration = rows.inputs(CALIBRATED)
    yield "older", True, lambda path: makers.export(rows.model, names, path, False, 17)
    yield "newer", True, lambda path: makers.export(rows.model, names, path, True)
    if optimum_class(rows.task):
        yield "optimum", True, lambda path: by_optimum(rows, path)
    for name, source in plain.items():
        # Each is made before the loop goes on.
        yield f"{name}-dynamic", False, lambda path: makers.dynamic(source, path)
        yield f"{name}-channels", False, lambda path: makers.dynamic(source, path, per_channel=True)
        yield f"{name}-qdq", False, lambda path: makers.static(source, path, calibration)
    layout = makers.QuantFormat.QOperator
    yield "older-qoperator", False, lambda path: makers.static(plain["older"], path, calibration, layout)
    yield "fused", True, lambda path: makers.optimize(plain["older"], path, rows.model.config)
    yield "fused-dynamic", False, lambda path: makers.fused_dynamic(plain["older"], path, rows.model.config)


def by_optimum(rows, path):
    opened = optimum_class(rows.task).from_pretrained(rows.folder, export=True)
    folder = path.with_suffix("")
    opened.save_pretrained(folder)
    (folder / "model.onnx").rename(path)


@torch.no_grad()
def into(check, own, only):
    ours = check.answers(own)
    for name, plain, make in made(check):
        if only and name not in only:
            continue
        path = check.work / f"{name}.onnx"
        try:
            if not path.exists():
                make(path)
            bundle = check.bundle(path, name)
        except RuntimeError as error:
            check.line(name in REFUSED and LISTED in str(error), f"{name}: {error}")
            continue
        if name in REFUSED:
            check.line(False, f"{name}: it came in, and is to be refused")
        elif plain:
            same, of = check.rows.same(ours, check.answers(bundle))
            check.line(same == of, f"{name}: f32, {same} of {of} answers are those of the checkpoint's bundle")
        else:
            others = {"with its optimizations off": check.rows.of_runtime(path, True)}
            moved = makers.nudged(path, check.work / f"nudged_{path.name}")
            if moved:
                others["with its first norm larger by 1e-6"] = check.rows.of_runtime(moved)
            theirs = check.rows.of_runtime(path)
            check.into(name, check.answers(bundle), theirs, others, check.precise(path, name))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=pathlib.Path)
    parser.add_argument("--task", required=True, choices=peer.DEV)
    parser.add_argument("--data", required=True, type=pathlib.Path)
    parser.add_argument("--max_samples", type=int)
    parser.add_argument("--only", nargs="*", help="files of other makers to look at, by name")
    parser.add_argument("--programs", type=pathlib.Path, default=ROOT / "target/release")
    parser.add_argument("--work", type=pathlib.Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = Rows(args.task, args.checkpoint, args.data, args.max_samples)
    with tempfile.TemporaryDirectory() as temporary:
        work = args.work or pathlib.Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        check = Check(rows, args.programs, work)
        into(check, out(check), args.only)
    return int(check.failed)


if __name__ == "__main__":
    sys.exit(main())
