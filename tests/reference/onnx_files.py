#!/usr/bin/env python3
"""ONNX files of other makers, and what Berth makes of them.

    onnx_files.py --golden tests/golden/onnx
    onnx_files.py --checkpoint DIR --texts FILE [--rows 500] [--programs target/release] [--work DIR]

1. With --golden: small random models as torch's two exporters and ONNX Runtime's two quantizers write them,
   with the logits of ONNX Runtime. The tests read these; they are made again only on purpose.
2. With --checkpoint, a fine-tuned text classifier: `berth export` writes it as ONNX, `onnx.checker` checks both
   files, and ONNX Runtime's logits are held against those of Berth: within 1e-4 for model.onnx, and at least
   99 % of the bundle's labels for model_quantized.onnx. Then torch exports the checkpoint by both exporters,
   ONNX Runtime quantizes the result (dynamic, dynamic per channel, static QDQ per channel), `berth quantize`
   imports every file, and the labels of bundle and file are compared: at least 98.5 % the same. FILE has a
   text in each line.

Prints a line for each comparison; the exit code is 1 when one failed.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
import torch
import transformers
from onnxruntime.quantization import (
    CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
)

from programs import ROOT

INPUTS = ["input_ids", "attention_mask", "token_type_ids"]
KINDS = {
    "classifier": (transformers.BertForSequenceClassification, ["logits"], 3),
    "tagger": (transformers.BertForTokenClassification, ["logits"], 3),
    "questions": (transformers.BertForQuestionAnswering, ["start_logits", "end_logits"], 2),
}


class Outputs(torch.nn.Module):
    """A model whose outputs are a tuple of tensors."""

    def __init__(self, model, names):
        super().__init__()
        self.model, self.names = model, names

    def forward(self, input_ids, attention_mask, token_type_ids):
        inputs = dict(zip(INPUTS, (input_ids, attention_mask, token_type_ids)))
        found = self.model(**inputs)
        return tuple(found[name] for name in self.names)


def export(model, names, path, dynamo, opset=None):
    """Writes a model by torch's older exporter, or by the one on its compiler."""
    ids = torch.randint(5, 100, (2, 11))
    mask = torch.ones_like(ids)
    mask[1, 8:] = 0
    types = torch.zeros_like(ids)
    types[:, 6:] = 1
    module = Outputs(model, names).eval()
    settings = {"input_names": INPUTS, "output_names": names, "opset_version": opset}
    if dynamo:
        sizes = {0: torch.export.Dim("batch_size"), 1: torch.export.Dim("sequence_length", max=64)}
        settings |= {"dynamic_shapes": {name: sizes for name in INPUTS}, "external_data": False}
    else:
        settings["dynamic_axes"] = {name: {0: "batch_size", 1: "sequence_length"} for name in INPUTS}
    torch.onnx.export(module, (ids, mask, types), str(path), dynamo=dynamo, **settings)


def strip(path):
    """Takes out what only tells where a file was made: stack traces, documentation, inferred shapes."""
    model = onnx.load(path)
    for part in [model, model.graph, *model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output]:
        part.doc_string = ""
        part.ClearField("metadata_props")
    model.graph.ClearField("value_info")
    onnx.save(model, path)


class Calibration(CalibrationDataReader):
    """Inputs to learn the ranges of activations from."""

    def __init__(self, inputs):
        self.inputs = iter(inputs)

    def get_next(self):
        return next(self.inputs, None)


def static(source, path, inputs):
    settings = {"quant_format": QuantFormat.QDQ, "per_channel": True, "weight_type": QuantType.QInt8}
    quantize_static(str(source), str(path), Calibration(inputs), **settings)


def feed(ids, second):
    ids = np.array([ids], np.int64)
    types = (np.arange(ids.shape[1]) >= second).astype(np.int64)[None]
    return dict(zip(INPUTS, (ids, np.ones_like(ids), types)))


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def answer(opened, inputs):
    """Rows of logits; start and end side by side."""
    outputs = opened.run(None, {name.name: inputs[name.name] for name in opened.get_inputs()})
    both = np.stack(outputs, -1) if len(outputs) == 2 else outputs[0]
    return both[0].reshape(-1).astype(float).tolist()


@torch.no_grad()
def golden(folder):
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(5)
    expected = {}
    ids, second = [2, 60, 21, 133, 9, 3, 77, 42, 118, 3], 6
    draw = np.random.default_rng(5)
    inputs = [feed(draw.integers(5, 160, 16).tolist(), 9) for _ in range(8)]
    with tempfile.TemporaryDirectory() as work:
        plain = pathlib.Path(work) / "plain.onnx"
        for name, kind, dynamo, attention, opset, quantize in [
            ("older", "classifier", False, "eager", 14, None),
            ("newer", "tagger", True, "sdpa", None, None),
            ("dynamic", "classifier", False, "sdpa", 17, "dynamic"),
            ("qdq", "questions", True, "eager", None, "static"),
        ]:
            make, names, labels = KINDS[kind]
            config = transformers.BertConfig(
                vocab_size=192, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
                max_position_embeddings=64, num_labels=labels, attn_implementation=attention,
            )
            model = make(config).eval()
            for parameter in model.parameters():
                parameter.add_(0.2 * torch.randn(parameter.shape))
            path = folder / f"{name}.onnx"
            export(model, names, plain if quantize else path, dynamo, opset)
            if quantize == "dynamic":
                quantize_dynamic(str(plain), str(path))
            elif quantize == "static":
                static(plain, path, inputs)
            strip(path)
            logits = answer(session(path), feed(ids, second))
            expected[name] = {"class": make.__name__, "ids": ids, "second": second, "logits": logits}
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


class Check:
    """What was compared, and whether all of it held."""

    def __init__(self):
        self.failed = False

    def line(self, what, holds):
        print(f"{'ok  ' if holds else 'FAIL'} {what}", flush=True)
        self.failed |= not holds


def berth(programs, *arguments):
    command = [str(programs / "berth"), *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def edge_labels(programs, bundle, texts):
    """The best label of each text, as the device says it."""
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    command = [str(programs / "berth-edge"), str(bundle)]
    out = subprocess.run(command, input=lines, check=True, capture_output=True, text=True).stdout
    return [json.loads(line)[0]["label"] for line in out.splitlines()]


def file_labels(path, inputs, labels):
    opened = session(path)
    return [labels[int(np.argmax(answer(opened, one)))] for one in inputs]


def same(one, other):
    return sum(a == b for a, b in zip(one, other)) / len(one)


@torch.no_grad()
def checkpoint(args, work):
    check = Check()
    texts = args.texts.read_text(encoding="utf-8").splitlines()[: args.rows]
    tokenizer = transformers.AutoTokenizer.from_pretrained(args.checkpoint)
    model = transformers.BertForSequenceClassification.from_pretrained(args.checkpoint, attn_implementation="eager")
    model = model.eval()
    labels = [model.config.id2label[at] for at in range(model.config.num_labels)]
    inputs = [dict(tokenizer(text, truncation=True, max_length=128, return_tensors="np")) for text in texts]
    inputs = [{name: one[name].astype(np.int64) for name in INPUTS} for one in inputs]
    theirs = [model(**{k: torch.tensor(v) for k, v in one.items()}).logits[0].tolist() for one in inputs]

    out = work / "exported"
    berth(args.programs, "export", args.checkpoint, "--output_dir", out)
    for name in ["model.onnx", "model_quantized.onnx"]:
        onnx.checker.check_model(str(out / name), full_check=True)
        check.line(f"{name}: onnx.checker", True)
    ours = [answer(one_session, one) for one_session in [session(out / "model.onnx")] for one in inputs]
    apart = float(np.abs(np.array(ours) - np.array(theirs)).max())
    check.line(f"model.onnx in ONNX Runtime: logits of {len(texts)} texts {apart:.1e} apart at most", apart < 1e-4)

    def bundle(source, name):
        path = work / f"{name}.berth"
        berth(args.programs, "quantize", source, "--output", path, "--task", "text-classification",
              *(["--tokenizer_name", args.checkpoint] if str(source).endswith(".onnx") else []))
        return path

    own = bundle(args.checkpoint, "own")
    through = bundle(out / "model.onnx", "through")
    check.line("checkpoint → ONNX → bundle: the same bytes", own.read_bytes() == through.read_bytes())
    own_labels = edge_labels(args.programs, own, texts)
    share = same(own_labels, file_labels(out / "model_quantized.onnx", inputs, labels))
    check.line(f"model_quantized.onnx in ONNX Runtime: {share:.2%} of the bundle's labels", share >= 0.99)

    older, newer = work / "older.onnx", work / "newer.onnx"
    export(model, ["logits"], older, False, 17)
    export(model, ["logits"], newer, True)
    made = [older, newer]
    for source in made[:2]:
        for name, settings in [("dynamic", {}), ("channels", {"per_channel": True})]:
            made.append(work / f"{source.stem}-{name}.onnx")
            quantize_dynamic(str(source), str(made[-1]), **settings)
        made.append(work / f"{source.stem}-qdq.onnx")
        static(source, made[-1], inputs[:32])
    for path in made:
        imported = edge_labels(args.programs, bundle(path, path.stem), texts)
        runtime = file_labels(path, inputs, labels)
        share = same(imported, runtime)
        check.line(f"{path.name}: imported, {share:.2%} of ONNX Runtime's labels", share >= 0.985)
    return check.failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--golden", type=pathlib.Path)
    parser.add_argument("--checkpoint", type=pathlib.Path)
    parser.add_argument("--texts", type=pathlib.Path)
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--programs", type=pathlib.Path, default=ROOT / "target/release")
    parser.add_argument("--work", type=pathlib.Path)
    args = parser.parse_args()
    if args.golden:
        golden(args.golden)
        return 0
    if args.work:
        args.work.mkdir(parents=True, exist_ok=True)
        return int(checkpoint(args, args.work))
    with tempfile.TemporaryDirectory() as work:
        return int(checkpoint(args, pathlib.Path(work)))


if __name__ == "__main__":
    sys.exit(main())
