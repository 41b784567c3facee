#!/usr/bin/env python3
"""Fine-tunes a tagger with transformers and PyTorch; entity F1 as seqeval counts it, one JSON line a seed.

    finetune_tags.py --model BASE --train_file wnut17train.conll --validation_file emerging.dev.conll --seeds 1 2 3 [--threads 1]

The other side of Berth's figures on WNUT-17, by the recipe of all rows: AdamW at 5e-5, weight decay 0.01 except on biases
and LayerNorm, linear decay after a warm-up over a tenth of the steps, gradients clipped at 1, dropout as in config.json,
3 epochs of 32 shuffled sentences, padded to the longest, 128 pieces at most. A word's first piece carries its label, as in
run_ner; words beyond the 128 pieces count as O.
"""
import argparse
import json
import pathlib

import torch
from seqeval.metrics import accuracy_score, f1_score, precision_score, recall_score
from transformers import AutoTokenizer, BertForTokenClassification

from published import sentences
from recipe import learn

LENGTH, IGNORED = 128, -100


def encoded(tokenizer, rows, names):
    """Ids, and the label of each piece that is a word's first."""
    found = []
    for words, tags in rows:
        inputs = tokenizer(words, is_split_into_words=True, truncation=True, max_length=LENGTH)
        labels, before = [], None
        for word in inputs.word_ids():
            labels.append(IGNORED if word is None or word == before else names.index(tags[word]))
            before = word
        found.append((inputs["input_ids"], labels))
    return found


def padded(batch):
    longest = max(len(ids) for ids, _ in batch)
    fill = lambda values, value: values + [value] * (longest - len(values))
    return {
        "input_ids": torch.tensor([fill(ids, 0) for ids, _ in batch]),
        "attention_mask": torch.tensor([fill([1] * len(ids), 0) for ids, _ in batch]),
        "labels": torch.tensor([fill(labels, IGNORED) for _, labels in batch]),
    }


@torch.no_grad()
def measured(model, rows, dev, names):
    model.eval()
    predicted = []
    for (ids, labels), (words, _) in zip(rows, dev, strict=True):
        best = model(input_ids=torch.tensor([ids])).logits[0].argmax(-1).tolist()
        tags = [names[tag] for tag, label in zip(best, labels, strict=True) if label != IGNORED]
        predicted.append(tags + ["O"] * (len(words) - len(tags)))
    gold = [tags for _, tags in dev]
    metrics = {"f1": f1_score, "precision": precision_score, "recall": recall_score, "accuracy": accuracy_score}
    return {f"eval_{name}": round(float(metric(gold, predicted)), 6) for name, metric in metrics.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--train_file", required=True, type=pathlib.Path)
    parser.add_argument("--validation_file", required=True, type=pathlib.Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    train, dev = sentences(args.train_file), sentences(args.validation_file)
    names = sorted({tag for _, tags in train + dev for tag in tags})
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    for seed in args.seeds:
        torch.manual_seed(seed)
        model = BertForTokenClassification.from_pretrained(args.model, num_labels=len(names))
        seconds = round(learn(model, encoded(tokenizer, train, names), padded, seed), 1)
        figures = measured(model, encoded(tokenizer, dev, names), dev, names)
        print(json.dumps({"seed": seed, **figures, "train_runtime": seconds}), flush=True)


if __name__ == "__main__":
    main()
