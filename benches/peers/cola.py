#!/usr/bin/env python3
"""The whole of CoLA, three epochs, fine-tuned by Berth's command line and by transformers with PyTorch, in turns.

    cola.py --berth target/release/berth --model BASE --data COLA [--threads 2] [--rounds 1] [--seed 1] [--max_steps N]
            [--record FILE.json] [--note TEXT] [--date YYYY-MM-DD]

COLA holds `in_domain_train.tsv` and `in_domain_dev.tsv`. Both train all of BASE and a head of two labels: AdamW at 5e-5,
weight decay 0.01 except on biases and LayerNorm, linear decay after a warm-up over a tenth of the steps, gradients
clipped at 1, dropout as in config.json, 32 shuffled rows a batch, padded to the longest (Berth packs them), 128 pieces
at most. Each has a process of its own with N threads on as many cores. Reported are the seconds of training alone, the
whole command's, the most memory it held, and the metrics on the dev rows. --max_steps N ends both after N steps, to try
the script out.
"""
import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time

from recipe import learn
from train import cpu, pinned, one_thread, versions

# ---- the transformers process


def rows(path):
    with open(path, encoding="utf-8", newline="\n") as file:
        columns = [line.rstrip("\r\n").split("\t") for line in file]
    return [(row[3], int(row[1])) for row in columns]


def padded(batch):
    import torch

    longest = max(len(ids) for ids, _ in batch)
    fill = lambda ids, value: ids + [value] * (longest - len(ids))
    return {
        "input_ids": torch.tensor([fill(ids, 0) for ids, _ in batch]),
        "attention_mask": torch.tensor([fill([1] * len(ids), 0) for ids, _ in batch]),
        "labels": torch.tensor([label for _, label in batch]),
    }


def matthews(predicted, gold):
    """The correlation of two lists of 0 and 1."""
    count = lambda p, g: sum(a == p and b == g for a, b in zip(predicted, gold, strict=True))
    tp, tn, fp, fn = count(1, 1), count(0, 0), count(1, 0), count(0, 1)
    below = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return (tp * tn - fp * fn) / below**0.5 if below else 0.0


def transformers_worker(args):
    import torch
    from transformers import AutoTokenizer, BertForSequenceClassification

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    encode = lambda data: [(tokenizer(t, truncation=True, max_length=128)["input_ids"], label) for t, label in data]
    train, dev = (encode(rows(os.path.join(args.data, f"in_domain_{part}.tsv"))) for part in ("train", "dev"))
    model = BertForSequenceClassification.from_pretrained(args.model, num_labels=2)
    seconds = learn(model, train, padded, args.seed, args.max_steps)
    model.eval()
    with torch.no_grad():
        labels = [model(**padded([row])).logits[0].argmax().item() for row in dev]
    gold = [label for _, label in dev]
    accuracy = sum(a == b for a, b in zip(labels, gold)) / len(gold)
    figures = {"train_seconds": seconds, "eval_matthews_correlation": matthews(labels, gold), "eval_accuracy": accuracy}
    print(json.dumps(figures))


# ---- the run


def by_transformers(args, _):
    command = [sys.executable, __file__, "--worker", "--model", args.model, "--data", args.data]
    command += ["--threads", str(args.threads), "--seed", str(args.seed), "--max_steps", str(args.max_steps)]
    return command, lambda printed: json.loads(printed.splitlines()[-1])


def by_berth(args, work):
    part = lambda name: os.path.join(args.data, f"in_domain_{name}.tsv")
    command = [args.berth, "finetune", "--task_name", "cola", "--train_file", part("train"), "--json"]
    command += ["--validation_file", part("dev"), "--model_name_or_path", args.model, "--seed", str(args.seed)]
    command += ["--threads", str(args.threads), "--save_strategy", "no", "--output_dir", os.path.join(work, "out")]
    if args.max_steps >= 0:
        command += ["--max_steps", str(args.max_steps)]

    def figures(printed):
        results = json.loads(printed)
        metrics = {name: results[name] for name in ("eval_matthews_correlation", "eval_accuracy")}
        return {"train_seconds": results["train_runtime"]} | metrics

    return command, figures


def timed(engine, args):
    """Runs an engine's command; its figures, with what the whole command took."""
    with tempfile.TemporaryDirectory(prefix="cola-") as work:
        command, figures = engine(args, work)
        begun = time.perf_counter()
        process = subprocess.Popen(pinned(args) + command, stdout=subprocess.PIPE, text=True, env=one_thread(args))
        printed = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begun
        if status != 0:
            sys.exit(f"{command[0]} ended with status {status}")
        whole = {"command_seconds": seconds, "peak_rss_mb": usage.ru_maxrss * 1024 / 1e6}
        return {name: round(value, 4) for name, value in (figures(printed) | whole).items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--berth")
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--max_steps", type=int, default=-1)
    parser.add_argument("--core", type=int, default=os.cpu_count() - 1)
    parser.add_argument("--record")
    parser.add_argument("--note", default="", help="what a reader of the record should know of the machine")
    parser.add_argument("--date", default=str(datetime.date.today()))
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return transformers_worker(args)
    engines = {"berth-f32": by_berth, "torch-f32": by_transformers}
    runs = {name: [] for name in engines}
    for _ in range(args.rounds):
        for name, engine in engines.items():
            runs[name].append(timed(engine, args))
            print(name, runs[name][-1], file=sys.stderr)
    least = {name: min(run["train_seconds"] for run in turns) for name, turns in runs.items()}
    record = {"date": args.date, "cpu": cpu(), "threads": args.threads, "versions": versions(args), "note": args.note}
    record |= {"seed": args.seed, "max_steps": args.max_steps, "runs": runs}
    record["torch_by_berth"] = round(least["torch-f32"] / least["berth-f32"], 3)
    print(json.dumps(record, indent=1))
    if args.record:
        with open(args.record, "w") as file:
            json.dump(record, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    main()
