#!/usr/bin/env python3
"""ONNX files as other makers write them: torch's two exporters, optimum, ONNX Runtime's quantizers and its optimizer.

    onnx_makers.py tests/golden/onnx

Writes small random models, with the logits of ONNX Runtime: the tests read these, and they are made again only on
purpose. `onnx_files.py` takes the rest from here.
"""
import argparse
import json
import pathlib
import tempfile

import numpy as np
import onnx
import onnxruntime
import torch
import transformers
from onnxruntime.quantization import (
    CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
)
from onnxruntime.transformers import optimizer

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
    longest = model.config.max_position_embeddings
    ids = torch.randint(5, 100, (2, 11))
    mask = torch.ones_like(ids)
    mask[1, 8:] = 0
    types = torch.zeros_like(ids)
    types[:, 6:] = 1
    module = Outputs(model, names).eval()
    settings = {"input_names": INPUTS, "output_names": names, "opset_version": opset}
    if dynamo:
        sizes = {0: torch.export.Dim("batch_size"), 1: torch.export.Dim("sequence_length", max=longest)}
        settings |= {"dynamic_shapes": {name: sizes for name in INPUTS}, "external_data": False}
    else:
        settings["dynamic_axes"] = {name: {0: "batch_size", 1: "sequence_length"} for name in INPUTS}
    torch.onnx.export(module, (ids, mask, types), str(path), dynamo=dynamo, **settings)


class Calibration(CalibrationDataReader):
    """Inputs to learn the ranges of activations from."""

    def __init__(self, inputs):
        self.inputs = iter(inputs)

    def get_next(self):
        return next(self.inputs, None)


def dynamic(source, path, **settings):
    """Weights in int8, activations quantized at run time: one range for a whole tensor."""
    quantize_dynamic(str(source), str(path), **settings)


def static(source, path, inputs, layout=QuantFormat.QDQ, **settings):
    """Weights in int8 by channel, activations by ranges learned from `inputs`."""
    settings = {"per_channel": True, "weight_type": QuantType.QInt8} | settings
    quantize_static(str(source), str(path), Calibration(inputs), quant_format=layout, **settings)


def optimize(source, path, config):
    """The fused operators of ONNX Runtime's optimizer for transformers."""
    settings = {"num_heads": config.num_attention_heads, "hidden_size": config.hidden_size}
    fused = optimizer.optimize_model(str(source), model_type="bert", opt_level=0, **settings)
    fused.save_model_to_file(str(path))


def fused_dynamic(source, path, config):
    """The same, quantized."""
    fused = pathlib.Path(path).with_suffix(".fused")
    optimize(source, fused, config)
    # The quantizer knows no shapes behind these operators.
    dynamic(fused, path, extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT})
    fused.unlink()


def session(path, exact=False, as_written=False):
    """A session on one thread. `exact`: where the processor has no dot products, ONNX Runtime multiplies u8 by i8
    with sums of sixteen bits that saturate, unless it is told to be precise. Some of its own files it opens only as
    it likes them. `as_written`: every operator is computed as it stands in the file, none is fused."""
    options = onnxruntime.SessionOptions()
    if as_written:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if exact:
        options.add_session_config_entry("session.x64quantprecision", "1")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception:
        if not exact:
            raise
        print(f"     {path.name}: ONNX Runtime does not open it with exact sums", flush=True)
        return session(path, as_written=as_written)


def feed(ids, second):
    ids = np.array([ids], np.int64)
    types = (np.arange(ids.shape[1]) >= second).astype(np.int64)[None]
    return dict(zip(INPUTS, (ids, np.ones_like(ids), types)))


def answer(opened, inputs):
    """Rows of logits; start and end side by side."""
    outputs = opened.run(None, {name.name: inputs[name.name] for name in opened.get_inputs()})
    both = np.stack(outputs, -1) if len(outputs) == 2 else outputs[0]
    return both[0].reshape(-1).astype(float).tolist()


def nudged(source, path):
    """The same file, with the weights of the embeddings' norm larger by one part in a million; none where they are in
    eight bits."""
    model = onnx.load(source)
    weights = [one for one in model.graph.initializer if one.name.endswith("embeddings.LayerNorm.weight")]
    for one in weights:
        moved = onnx.numpy_helper.to_array(one) * np.float32(1 + 1e-6)
        one.CopyFrom(onnx.numpy_helper.from_array(moved, one.name))
    onnx.save(model, path)
    return path if weights else None


def strip(path):
    """Takes out what only tells where a file was made: stack traces, documentation, inferred shapes."""
    model = onnx.load(path)
    graph = model.graph
    for part in [model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output]:
        part.doc_string = ""
        part.ClearField("metadata_props")
    graph.ClearField("value_info")
    onnx.save(model, path)


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
        for name, kind, dynamo, attention, opset, change in [
            ("older", "classifier", False, "eager", 14, None),
            ("newer", "tagger", True, "sdpa", None, None),
            ("dynamic", "classifier", False, "sdpa", 17, dynamic),
            ("qdq", "questions", True, "eager", None, lambda one, other: static(one, other, inputs)),
            ("fused", "tagger", False, "eager", 17, lambda one, other: optimize(one, other, config)),
            ("fused-dynamic", "classifier", False, "eager", 17, lambda one, other: fused_dynamic(one, other, config)),
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
            export(model, names, plain if change else path, dynamo, opset)
            if change:
                change(plain, path)
            strip(path)
            logits = answer(session(path), feed(ids, second))
            expected[name] = {"class": make.__name__, "ids": ids, "second": second, "logits": logits}
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    golden(parser.parse_args().folder)
