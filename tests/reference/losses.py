#!/usr/bin/env python3
"""Berth beside transformers, trained on the same batches from the same weights: losses and predictions.

    losses.py --model BASE --train train.tsv --dev dev.tsv [--epochs 3] [--threads 1] [--programs target/release]
              [--task_name cola]

Dropout is left out, since no two generators agree, and so is everything else that is random: both start
from a copy of BASE with dropout 0 and the classifier (and the pooler, where BASE has none) of one seed. They
train on the rows of a tab-separated file (a header with `sentence` and `label`; with `--task_name cola` CoLA's
files, which have none), 32 at a time in the file's order, with AdamW at 5e-5, weight decay 0.01 except on biases and layer norms, linear decay after a warm-up
over a tenth of the steps, and gradients clipped at 1. Then each labels the rows of dev.tsv.

Prints one line of JSON: the losses of the first 50 steps, how far apart they are, how many of the labels
differ, and the accuracy and Matthews correlation of both. The exit code is 1 when a loss differs in its first five digits, or more than two labels do. The
programs `berth` and `examples/logits` are built first, unless --programs names the folder where they are.
"""
import argparse
import json
import math
import pathlib
import sys
import tempfile

import torch
from transformers import AutoTokenizer, BertForSequenceClassification, get_scheduler, logging

from programs import build, logits, run

BATCH = 32
STEPS = 50
LABELS = 2


def write_base(model_dir, out):
    torch.manual_seed(1)
    model = BertForSequenceClassification.from_pretrained(
        model_dir, num_labels=LABELS, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(model_dir).save_pretrained(out)


def rows(path, task_name):
    with open(path, encoding="utf-8", newline="\n") as file:
        lines = [line.rstrip("\r\n").split("\t") for line in file]
    if task_name == "cola":
        text, label = 3, 1
    else:
        header = lines.pop(0)
        text, label = header.index("sentence"), header.index("label")
    return [(line[text], int(line[label])) for line in lines]


def encode(tokenizer, texts):
    return tokenizer(texts, truncation=True, max_length=128, padding=True, return_tensors="pt")


def train_with_transformers(base, data, epochs):
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = BertForSequenceClassification.from_pretrained(base).train()
    plain = lambda name: name.endswith("bias") or "LayerNorm" in name
    groups = [
        {"params": [p for n, p in model.named_parameters() if not plain(n)], "weight_decay": 0.01},
        {"params": [p for n, p in model.named_parameters() if plain(n)], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=5e-5)
    batches = [data[at : at + BATCH] for at in range(0, len(data), BATCH)] * epochs
    schedule = get_scheduler("linear", optimizer, math.ceil(0.1 * len(batches)), len(batches))
    losses = []
    for number, batch in enumerate(batches, 1):
        inputs = encode(tokenizer, [text for text, _ in batch])
        loss = model(**inputs, labels=torch.tensor([label for _, label in batch])).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if number % STEPS == 0:
            print(f"transformers: step {number} of {len(batches)}, loss {losses[-1]:.6f}", file=sys.stderr)
    return losses, model.eval()


@torch.no_grad()
def labels_by_transformers(base, model, texts):
    tokenizer = AutoTokenizer.from_pretrained(base)
    return [model(**encode(tokenizer, [text])).logits[0].argmax().item() for text in texts]


def train_with_berth(programs, base, train, task_name, epochs, threads, out):
    task = ["--task_name", task_name] if task_name else ["--task", "text-classification"]
    run(programs / "berth", "finetune", *task, "--model_name_or_path", base,
        "--train_file", train, "--num_train_epochs", epochs, "--train_sampling_strategy", "sequential",
        "--logging_steps", 1, "--save_strategy", "no", "--threads", threads, "--output_dir", out)
    history = json.loads((out / "trainer_state.json").read_text())["log_history"]
    return [entry["loss"] for entry in history if "loss" in entry]


def labels_by_berth(programs, folder, texts, work):
    file = work / "texts.txt"
    file.write_text("".join(text + "\n" for text in texts), encoding="utf-8")
    return [max(range(LABELS), key=row.__getitem__) for row in logits(programs, folder, file)]


def matthews(labels, gold):
    count = lambda a, b: sum((x, y) == (a, b) for x, y in zip(labels, gold, strict=True))
    tp, tn, fp, fn = count(1, 1), count(0, 0), count(1, 0), count(0, 1)
    below = math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    return (tp * tn - fp * fn) / below if below else 0.0


def five_digits(value):
    return f"{value:.4e}"


def agree(ours, theirs):
    """The same five digits, or as close as two roundings of one number can fall apart."""
    return five_digits(ours) == five_digits(theirs) or abs(ours - theirs) <= 1e-6 * abs(theirs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", required=True, type=pathlib.Path)
    parser.add_argument("--train", required=True, type=pathlib.Path)
    parser.add_argument("--dev", required=True, type=pathlib.Path)
    parser.add_argument("--task_name", choices=["cola"])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--programs", type=pathlib.Path)
    asked = parser.parse_args()
    logging.disable_progress_bar()
    torch.set_num_threads(asked.threads)
    programs = asked.programs.resolve() if asked.programs else build()
    with tempfile.TemporaryDirectory(prefix="berth-losses-") as work:
        work = pathlib.Path(work)
        base, out = work / "base", work / "out"
        write_base(asked.model, base)
        ours = train_with_berth(programs, base, asked.train.resolve(), asked.task_name, asked.epochs, asked.threads, out)
        theirs, model = train_with_transformers(base, rows(asked.train, asked.task_name), asked.epochs)
        dev = rows(asked.dev, asked.task_name)
        texts, gold = [text for text, _ in dev], [label for _, label in dev]
        our_labels = labels_by_berth(programs, out, texts, work)
        their_labels = labels_by_transformers(base, model, texts)
    different = sum(a != b for a, b in zip(our_labels, their_labels, strict=True))
    right = lambda labels: sum(a == b for a, b in zip(labels, gold)) / len(gold)
    same = all(map(agree, ours[:STEPS], theirs[:STEPS]))
    print(json.dumps({
        "steps": [len(ours), len(theirs)],
        "first_losses": [[five_digits(a), five_digits(b)] for a, b in zip(ours[:STEPS], theirs[:STEPS])],
        "first_losses_apart": max(abs(a - b) for a, b in zip(ours[:STEPS], theirs[:STEPS])),
        "all_losses_apart": max(abs(a - b) for a, b in zip(ours, theirs)),
        "dev_rows": len(dev),
        "dev_labels_different": different,
        "dev_accuracy": {"berth": right(our_labels), "transformers": right(their_labels)},
        "dev_matthews_correlation": {
            "berth": matthews(our_labels, gold), "transformers": matthews(their_labels, gold)
        },
    }))
    sys.exit(not (len(ours) == len(theirs) and same and different <= 2))


if __name__ == "__main__":
    main()
