#!/usr/bin/env python3
"""The losses of the first steps of a fine-tuning by Hugging Face transformers, to hold Berth's against.

    losses.py --model BASE --data train.tsv --base OUT [--steps 50]

Dropout is left out, since no two generators agree, and so is everything else that is random: the script first writes
to OUT a copy of BASE with dropout 0 and a classifier (a pooler too where BASE has none). Then it trains on the rows of
a tab-separated file (a header with `sentence` and `label`), 32 at a time in the file's order, with AdamW at 5e-5, weight
decay 0.01 except on biases and layer norms, linear decay after a warm-up over a tenth of the steps, and gradients
clipped at 1. It prints one line of JSON. Berth does the same with

    berth finetune --task text-classification --model_name_or_path OUT --train_file train.tsv --output_dir D \\
        --train_sampling_strategy sequential --max_steps 50 --logging_steps 1

and leaves its losses in the log_history of D/trainer_state.json.
"""
import argparse
import json
import math

import torch
from transformers import AutoTokenizer, BertForSequenceClassification, get_scheduler

BATCH = 32


def write_base(model_dir, out):
    torch.manual_seed(1)
    model = BertForSequenceClassification.from_pretrained(
        model_dir, num_labels=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(model_dir).save_pretrained(out)


def rows(path):
    with open(path, encoding="utf-8", newline="\n") as file:
        header, *lines = [line.rstrip("\r\n").split("\t") for line in file]
    text, label = header.index("sentence"), header.index("label")
    return [(line[text], int(line[label])) for line in lines]


def train(folder, data, steps):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = BertForSequenceClassification.from_pretrained(folder).train()
    plain = lambda name: name.endswith("bias") or "LayerNorm" in name
    groups = [
        {"params": [p for n, p in model.named_parameters() if not plain(n)], "weight_decay": 0.01},
        {"params": [p for n, p in model.named_parameters() if plain(n)], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=5e-5)
    schedule = get_scheduler("linear", optimizer, math.ceil(0.1 * steps), steps)
    losses, norms = [], []
    for step in range(steps):
        batch = data[step * BATCH : (step + 1) * BATCH]
        inputs = tokenizer([t for t, _ in batch], truncation=True, max_length=128, padding=True, return_tensors="pt")
        loss = model(**inputs, labels=torch.tensor([label for _, label in batch])).loss
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)))
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return {"losses": losses, "grad_norms": norms}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--base", required=True)
    parser.add_argument("--steps", type=int, default=50)
    args = parser.parse_args()
    write_base(args.model, args.base)
    print(json.dumps(train(args.base, rows(args.data), args.steps)))
