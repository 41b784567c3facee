#!/usr/bin/env python3
"""Training on a GPU: whether it is right, then how fast, beside PyTorch.

    cuda.py --berth target/release/berth [--model BASE | --sizes minilm,base] [--device cuda:0]
            [--shapes 32x128,8x384] [--steps 30] [--record FILE.json] [--date YYYY-MM-DD]

1. Right: the same small run on the CPU and on the GPU, in f32, same seed, so with the same examples, order and dropout masks.
   The losses of all steps are compared, and the weights after the last: on the CPU and on the GPU the sums differ in
   their order alone. Nothing is timed before that has passed.
2. Fast: `berth bench --train` in f32 and with --bf16, and PyTorch's BertForSequenceClassification under bf16 autocast
   with fused AdamW, as it comes, through torch.compile, and through that with CUDA graphs (mode reduce-overhead), on the
   same shapes; tokens a second of the median step. What is not installed is left out, and said.

Without --model BERTs are made of seeded random weights, so that nothing has to be brought but the program and this file:
of MiniLM's size (6 layers, 384 wide), and with --sizes minilm,base of BERT's (12 layers, 768 wide) too; the first is the
one that is compared. It takes a few minutes a size on a GPU of a data centre.
"""
import argparse
import datetime
import json
import math
import pathlib
import platform
import random
import statistics
import struct
import subprocess
import sys
import tempfile
import time

WARM_UP = 5
# Layers, width, heads.
SIZES = {"minilm": (6, 384, 12), "base": (12, 768, 12)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--berth", default="target/release/berth")
    parser.add_argument("--model")
    parser.add_argument("--sizes", default="minilm")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--shapes", default="32x128,8x384")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--record")
    parser.add_argument("--date", default=datetime.date.today().isoformat())
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        if args.model:
            models = {"model": args.model}
        else:
            models = {size: random_model(scratch / size, *SIZES[size]) for size in args.sizes.split(",")}
        record = {"date": args.date, "gpu": gpu_name(), "python": platform.python_version()}
        record["same"] = compare(args, next(iter(models.values())), scratch)
        figures = record["tokens_per_second"] = {}

        def note(size, name, speed):
            figures.setdefault(size, {})[name] = speed
            print(size, name, speed, file=sys.stderr)
            # After each, since all take long.
            if args.record:
                pathlib.Path(args.record).write_text(json.dumps(record, indent=2) + "\n")

        for size, model in models.items():
            speeds(args, model, record, lambda name, speed: note(size, name, speed))
    print(json.dumps(record, indent=2))


# ---- a base model of seeded random weights


def random_model(folder, layers, hidden, heads):
    """A Hugging Face folder: config.json, vocab.txt, tokenizer files, model.safetensors."""
    vocabulary, inner, positions = 30522, 4 * hidden, 512
    folder.mkdir()
    config = {
        "architectures": ["BertModel"], "model_type": "bert", "vocab_size": vocabulary, "hidden_size": hidden,
        "num_hidden_layers": layers, "num_attention_heads": heads, "intermediate_size": inner, "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "max_position_embeddings": positions,
        "type_vocab_size": 2, "layer_norm_eps": 1e-12, "initializer_range": 0.02, "pad_token_id": 0,
    }
    (folder / "config.json").write_text(json.dumps(config))
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + [f"w{i}" for i in range(vocabulary - 5)]
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n")
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": positions}))
    shapes = {
        "embeddings.word_embeddings.weight": [vocabulary, hidden],
        "embeddings.position_embeddings.weight": [positions, hidden],
        "embeddings.token_type_embeddings.weight": [2, hidden],
        "pooler.dense.weight": [hidden, hidden], "pooler.dense.bias": [hidden],
    }
    norm = {"weight": [hidden], "bias": [hidden]}
    shapes |= {f"embeddings.LayerNorm.{name}": shape for name, shape in norm.items()}
    for i in range(layers):
        at = f"encoder.layer.{i}."
        for name, rows, columns in [
            ("attention.self.query", hidden, hidden), ("attention.self.key", hidden, hidden),
            ("attention.self.value", hidden, hidden), ("attention.output.dense", hidden, hidden),
            ("intermediate.dense", inner, hidden), ("output.dense", hidden, inner),
        ]:
            shapes |= {f"{at}{name}.weight": [rows, columns], f"{at}{name}.bias": [rows]}
        for name, shape in norm.items():
            shapes |= {f"{at}attention.output.LayerNorm.{name}": shape, f"{at}output.LayerNorm.{name}": shape}
    write_safetensors(folder / "model.safetensors", shapes)
    return str(folder)


def write_safetensors(path, shapes):
    draws = random.Random(1)
    # A block of normal draws, repeated at odd offsets: quick without numpy, and no two rows are alike.
    block = struct.pack("<65521f", *(draws.gauss(0.0, 0.02) for _ in range(65521)))
    header, at, parts = {}, 0, []
    for name, shape in shapes.items():
        count = math.prod(shape)
        if name.endswith("LayerNorm.weight"):
            data = struct.pack("<f", 1.0) * count
        elif name.endswith("bias"):
            data = bytes(4 * count)
        else:
            start = 4 * draws.randrange(65521)
            data = (block[start:] + block * (4 * count // len(block) + 1))[: 4 * count]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
        parts.append(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text + b"".join(parts))


# ---- right


def compare(args, model, scratch):
    """Losses and weights of the same run on CPU and GPU."""
    words = [line for line in open(pathlib.Path(model) / "vocab.txt", encoding="utf-8").read().split() if line.isalnum()]
    draws = random.Random(2)
    rows = ["text,label"]
    for i in range(256):
        rows.append(f"{' '.join(draws.choice(words) for _ in range(draws.randrange(1, 60)))},{'ab'[i % 2]}")
    train = scratch / "train.csv"
    train.write_text("\n".join(rows) + "\n")
    found = {}
    for device in ["cpu", args.device]:
        out = scratch / device.replace(":", "-")
        command = [args.berth, "finetune", "--task", "text-classification", "--model_name_or_path", model,
                   "--train_file", str(train), "--output_dir", str(out), "--device", device, "--max_steps", "12",
                   "--per_device_train_batch_size", "16", "--logging_steps", "1", "--seed", "3"]
        subprocess.run(command, check=True)
        state = json.loads((out / "trainer_state.json").read_text())
        losses = [entry["loss"] for entry in state["log_history"] if "loss" in entry]
        norms = [entry["grad_norm"] for entry in state["log_history"] if "grad_norm" in entry]
        found[device] = losses, norms, read_weights(out / "model.safetensors")
    (losses, norms, weights), (its_losses, its_norms, its_weights) = found["cpu"], found[args.device]
    result = {
        "first_loss": [losses[0], its_losses[0]],
        "first_grad_norm": [norms[0], its_norms[0]],
        "largest_loss_difference": max(abs(x - y) for x, y in zip(losses, its_losses, strict=True)),
        "weights_relative_difference": relative(weights, its_weights),
    }
    print(json.dumps(result), file=sys.stderr)
    # Before the first update nothing but the order of sums differs.
    right = (abs(losses[0] / its_losses[0] - 1) < 1e-4 and abs(norms[0] / its_norms[0] - 1) < 1e-3
             and result["largest_loss_difference"] < 1e-2 and result["weights_relative_difference"] < 1e-3)
    if not right:
        sys.exit("the GPU does not compute what the CPU does; nothing was timed")
    return result


def read_weights(path):
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    return {name: memoryview(data)[8 + size :][slice(*entry["data_offsets"])].cast("f") for name, entry in header.items()}


def relative(ours, its):
    """The norm of the difference over the norm, of all weights together."""
    difference = size = 0.0
    for name, values in ours.items():
        for x, y in zip(values, its[name], strict=True):
            difference += (x - y) ** 2
            size += x * x
    return math.sqrt(difference / size)


# ---- fast


def speeds(args, model, record, note):
    """Tells `note` the speed of each engine at each shape."""
    for name, flags in [("berth-f32", []), ("berth-bf16", ["--bf16"])]:
        command = [args.berth, "bench", "--train", "--json", "--model_name_or_path", model, "--device", args.device,
                   "--shapes", args.shapes, "--steps", str(args.steps), *flags]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        shapes = json.loads(output)["shapes"]
        note(name, {shape: round(figures["tokens_per_second"]) for shape, figures in shapes.items()})
    try:
        import torch
        from transformers import BertForSequenceClassification
    except ImportError as missing:
        print(f"PyTorch is left out: {missing}", file=sys.stderr)
        return
    record["torch"] = torch.__version__
    compiled = {"torch-bf16": None, "torch-bf16-compile": "default", "torch-bf16-compile-graphs": "reduce-overhead"}
    for name, mode in compiled.items():
        try:
            speed = {
                shape: round(torch_speed(torch, BertForSequenceClassification, args, model, shape, mode))
                for shape in args.shapes.split(",")
            }
        except Exception as error:  # torch.compile needs a compiler of its own
            print(f"{name} is left out: {error}", file=sys.stderr)
            continue
        note(name, speed)


def torch_speed(torch, kind, args, model, shape, mode):
    sequences, length = map(int, shape.split("x"))
    torch.manual_seed(1)
    # Else what was compiled for the shape before is made to fit this one too.
    torch.compiler.reset()
    network = kind.from_pretrained(model, num_labels=2).to(args.device).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-5, weight_decay=0.01, fused=True)
    run = torch.compile(network, mode=mode) if mode else network
    labels = (torch.arange(sequences) % 2).to(args.device)

    def step():
        ids = torch.randint(5, network.config.vocab_size, (sequences, length), device=args.device)
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = run(input_ids=ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    seconds = []
    for i in range(WARM_UP + args.steps):
        torch.cuda.synchronize()
        begun = time.perf_counter()
        step()
        torch.cuda.synchronize()
        if i >= WARM_UP:
            seconds.append(time.perf_counter() - begun)
    return sequences * length / statistics.median(seconds)


def gpu_name():
    asked = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(asked, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "not told"


if __name__ == "__main__":
    main()
