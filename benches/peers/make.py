"""Makes the model files that measure.py runs: one encoder, quantized by each engine's own tools.

    python make.py --model MINILM_DIR --berth target/release --output_dir PEERS_DIR

MINILM_DIR holds all-MiniLM-L6-v2 (`berth fetch sentence-transformers/all-MiniLM-L6-v2` prints it).
A fine-tuned text classifier may stand in for it, with --validation_file: its bundle then knows its accuracy.
Every engine gets the same f32 encoder; each output is the last hidden state of all tokens.
"""

import argparse
import gc
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import torch
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer

LENGTHS = (16, 32, 64, 128, 256, 384)
CALIBRATION_ROWS = 128
SAMPLE = Path(__file__).resolve().parents[2] / "models" / "mr" / "dev.tsv"


def sentences():
    """The sentences of the repository's sample."""
    lines = SAMPLE.read_text(encoding="utf-8").splitlines()
    return [line.split("\t")[0] for line in lines[1:]]


def texts(tokenizer):
    """One text for each length: sentences of the sample until there are as many tokens, cut there."""
    rows, found = iter(sentences()), {}
    for length in LENGTHS:
        ids = []
        while len(ids) < length - 2:
            ids += tokenizer(next(rows), add_special_tokens=False)["input_ids"]
        found[length] = [tokenizer.cls_token_id, *ids[: length - 2], tokenizer.sep_token_id]
    return found


class Encoder(torch.nn.Module):
    """Token ids to the last hidden state; one text, nothing padded, nothing masked."""

    def __init__(self, bert):
        super().__init__()
        self.bert = bert

    def forward(self, ids):
        return self.bert(input_ids=ids).last_hidden_state


def encoder(folder, attention):
    bert = AutoModel.from_pretrained(folder, attn_implementation=attention, dtype=torch.float32)
    return Encoder(bert).eval()


def reference(folder, inputs, out):
    """The f32 hidden states that every engine is held against."""
    model = encoder(folder, "eager")
    states = {}
    with torch.no_grad():
        for length, ids in inputs.items():
            states[str(length)] = model(torch.tensor([ids])).numpy()[0]
    np.savez(out / "reference.npz", **states)
    (out / "ids.json").write_text(json.dumps({str(n): ids for n, ids in inputs.items()}))


def berth(folder, programs, labelled, out):
    """A classifier's bundle of the same encoder, its head random where the model has none, and a tagging
    bundle of it. With a labelled file the bundle knows what it reaches."""
    checkpoint = out / "berth" / "checkpoint"
    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(folder)
    if not any("Classification" in name for name in config.architectures or []):
        config = AutoConfig.from_pretrained(folder, num_labels=2)
    model = AutoModelForSequenceClassification.from_pretrained(folder, config=config)
    model.save_pretrained(checkpoint)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        shutil.copy(Path(folder) / name, checkpoint / name)
    classifier, tagger = out / "berth" / "classifier.berth", out / "berth" / "tagger.berth"
    task = ["--task", "text-classification"]
    if labelled:
        task += ["--validation_file", labelled]
    subprocess.run([programs / "berth", "quantize", checkpoint, *task, "--output", classifier], check=True)
    subprocess.run([programs / "berth-peer", "--tagger", classifier, tagger], check=True)


def onnxruntime(folder, out):
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    folder_out = out / "onnxruntime"
    folder_out.mkdir(exist_ok=True)
    plain, ready = folder_out / "f32.onnx", folder_out / "ready.onnx"
    ids = torch.ones(1, 16, dtype=torch.long)
    torch.onnx.export(
        encoder(folder, "eager"),
        (ids,),
        plain,
        input_names=["ids"],
        output_names=["hidden"],
        dynamic_axes={"ids": {1: "tokens"}, "hidden": {1: "tokens"}},
        opset_version=17,
        dynamo=False,
    )
    quant_pre_process(plain, ready, skip_symbolic_shape=True)
    target = folder_out / "int8.onnx"
    quantize_dynamic(ready, target, per_channel=True, weight_type=QuantType.QInt8)
    plain.unlink()
    ready.unlink()


def openvino(folder, tokenizer, out):
    import nncf
    import openvino as ov

    folder_out = out / "openvino"
    folder_out.mkdir(exist_ok=True)
    example = torch.ones(1, 16, dtype=torch.long)
    model = ov.convert_model(encoder(folder, "sdpa"), example_input=(example,), input=[([1, -1], ov.Type.i64)])
    rows = sentences()[-CALIBRATION_ROWS:]
    data = nncf.Dataset(rows, lambda text: [np.array([tokenizer(text)["input_ids"]])])
    quantized = nncf.quantize(model, data, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(rows))
    ov.save_model(quantized, folder_out / "int8.xml", compress_to_fp16=False)


def litert(folder, out):
    import litert_torch
    from ai_edge_quantizer import quantizer, recipe

    folder_out = out / "litert"
    folder_out.mkdir(exist_ok=True)
    empty = torch.nn.ReLU().eval()
    litert_torch.convert(empty, (torch.zeros(1),)).export(str(folder_out / "empty.tflite"))
    model = encoder(folder, "sdpa")
    for length in LENGTHS:
        plain, target = folder_out / "f32.tflite", folder_out / f"{length}.tflite"
        ids = torch.ones(1, length, dtype=torch.int32)
        litert_torch.convert(model, (ids,)).export(str(plain))
        quantized = quantizer.Quantizer(str(plain), recipe.dynamic_wi8_afp32()).quantize()
        quantized.export_model(str(target), overwrite=True)
        plain.unlink()
        gc.collect()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--berth", type=Path, required=True, help="folder of the built programs")
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--validation_file", type=Path, help="labelled: what a fine-tuned model is measured on")
    parser.add_argument("--only", help="one engine: reference, berth, onnxruntime, openvino, litert")
    args = parser.parse_args()
    out = args.output_dir
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    steps = {
        "reference": lambda: reference(args.model, texts(tokenizer), out),
        "berth": lambda: berth(args.model, args.berth, args.validation_file, out),
        "onnxruntime": lambda: onnxruntime(args.model, out),
        "openvino": lambda: openvino(args.model, tokenizer, out),
        "litert": lambda: litert(args.model, out),
    }
    for name, step in steps.items():
        if args.only in (None, name):
            print(f"making {name}", flush=True)
            step()


if __name__ == "__main__":
    main()
