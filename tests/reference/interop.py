#!/usr/bin/env python3
"""Checkpoints of Berth in transformers, and of transformers in Berth: the same logits.

    interop.py --base DIR [--table models/mr/dev.tsv] [--rows 200] [--programs target/release]
               [--sentences TRAIN.conllu DEV.conllu]
               [--squad DIR] [--questions 500] [--train_questions 500]

1. Berth fine-tunes the model in DIR (the folder that `berth fetch` prints) for a few steps.
   transformers loads the result, and both compute the logits of the table's sentences.
2. transformers makes a model of the same size with fresh weights, saves it, and Berth loads that; it
   is saved again under the old names (gamma, beta) and without the prefix `bert.`, in half precision, in
   bfloat16, and over several files. Then small models of other kinds: cased, a BERT of another shape, and
   DistilBERT with each of its heads.
3. With --sentences, the same for text tagging: Berth fine-tunes on the first 1,000 sentences of one file
   and both compute the logits of the first 500 of another; a fresh model of transformers follows. The
   words' tags by their first pieces are compared too.

4. With --squad, the folder of SQuAD's files: Berth fine-tunes a model for questions, and transformers makes
   one; both answer the first questions of dev, transformers by run_qa's windows and post-processing.

5. Berth fine-tunes on the table's sentences with any number of labels each, and transformers takes the model
   for one of that kind: the same logits, and the loss of its BCEWithLogitsLoss is Berth's eval_loss.

Every logit may differ by at most 1e-4 (in half precision the weights are rounded alike on both sides).
Prints one line for each comparison; the exit code is 1 when one failed. The programs are built first,
unless --programs names the folder where they are: `berth`, and `examples/logits`.
"""
import argparse
import gzip
import json
import pathlib
import shutil
import sys
import tempfile

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig, AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer, BertConfig,
    BertForQuestionAnswering, BertForSequenceClassification, BertForTokenClassification, DistilBertConfig,
    DistilBertForQuestionAnswering, DistilBertForSequenceClassification, DistilBertForTokenClassification, logging
)

import questions
from programs import ROOT, build, logits, run, tag_logits

TOLERANCE = 1e-4


def taken(model, inputs):
    """What the model takes of what a tokenizer gives: DistilBERT has no token types."""
    if model.config.model_type == "distilbert":
        inputs.pop("token_type_ids", None)
    return inputs


@torch.no_grad()
def transformers_logits(folder, texts):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    rows = []
    # One at a time: nothing is padded, as in Berth.
    for text in texts.read_text(encoding="utf-8").split("\n")[:-1]:
        inputs = taken(model, tokenizer(text, truncation=True, return_tensors="pt"))
        rows.append(model(**inputs).logits[0])
    return torch.stack(rows)


def compare(what, programs, folder, texts):
    ours = torch.tensor(logits(programs, folder, texts))
    theirs = transformers_logits(folder, texts)
    difference = (ours - theirs).abs().max().item()
    spread = theirs.std(dim=0).mean().item()
    # Logits that are all alike would prove nothing.
    fine = ours.shape == theirs.shape and difference <= TOLERANCE and spread > 0.02
    print(f"{what}: {len(ours)} rows, largest difference {difference:.1e} (spread {spread:.2f}), "
          f"{'fine' if fine else 'FAILED'}")
    return fine


def sentences_of(path, most):
    """The words of the first sentences of a CoNLL-U file, and their lines."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        blocks = file.read().split("\n\n")[:most]
    rows = [[line.split("\t") for line in block.split("\n") if line[:1].isdigit()] for block in blocks]
    return [[row[1] for row in block if row[0].isdigit()] for block in rows], "\n\n".join(blocks) + "\n\n"


@torch.no_grad()
def compare_tags(what, programs, folder, dev, work):
    words, lines = sentences_of(dev, 500)
    file = work / "dev.conllu"
    file.write_text(lines, encoding="utf-8")
    ours = tag_logits(programs, folder, file)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForTokenClassification.from_pretrained(folder, dtype=torch.float32).eval()
    difference, same, tags = 0.0, 0, 0
    fine = len(ours) == len(words)
    for row, sentence in zip(ours, words):
        inputs = tokenizer(sentence, is_split_into_words=True, truncation=True, return_tensors="pt")
        of_words = inputs.word_ids()
        theirs = model(**taken(model, inputs)).logits[0]
        found = torch.tensor(row["logits"]).reshape(-1, model.config.num_labels)
        first = [i for i, word in enumerate(of_words)
                 if word is not None and (i == 0 or of_words[i - 1] != word)]
        if found.shape != theirs.shape or first != row["first"]:
            fine = False
            continue
        difference = max(difference, (found - theirs).abs().max().item())
        same += (found.argmax(-1) == theirs.argmax(-1))[first].sum().item()
        tags += len(first)
    fine &= difference <= TOLERANCE and same == tags
    print(f"{what}: {len(ours)} sentences, largest difference {difference:.1e}, "
          f"{same} of {tags} words with the same tag, {'fine' if fine else 'FAILED'}")
    return fine


def tagger(programs, base, train, work):
    """A checkpoint for tagging that Berth wrote."""
    out = work / "tagger"
    run(programs / "berth", "finetune", "--task", "token-classification", "--train_file", train,
        "--max_train_samples", 1000, "--num_train_epochs", 1, "--model_name_or_path", base,
        "--output_dir", out)
    return out


def draw(model):
    """Draws every parameter: fresh biases are zero and fresh norms one, which would hide one that is not read."""
    for parameter in model.parameters():
        mean = 1.0 if parameter.dim() == 1 and parameter.mean() > 0.5 else 0.0
        torch.nn.init.normal_(parameter, mean, parameter.shape[-1] ** -0.5)


def taggers_of_transformers(like, work):
    """Checkpoints for tagging that transformers wrote, with fresh weights."""
    torch.manual_seed(4)
    config = AutoConfig.from_pretrained(like)
    labels = {"id2label": config.id2label, "label2id": config.label2id}
    for what, model in [
        ("tags", BertForTokenClassification(config)),
        ("tags, DistilBERT", DistilBertForTokenClassification(small(DistilBertConfig, **labels))),
    ]:
        draw(model)
        path = work / f"tagger-{model.config.model_type}"
        model.save_pretrained(path)
        AutoTokenizer.from_pretrained(like).save_pretrained(path)
        yield f"transformers to Berth, {what}", path


def small(kind, **other):
    """A small shape of a family."""
    if kind is DistilBertConfig:
        return kind(dim=64, n_layers=2, n_heads=4, hidden_dim=128, **other)
    return kind(hidden_size=64, num_hidden_layers=3, num_attention_heads=2, intermediate_size=96, **other)


def families(like, work):
    """Checkpoints of other kinds that transformers wrote, with fresh weights."""
    torch.manual_seed(6)
    labels = {"num_labels": 3}
    for what, kind, config, cased in [
        ("another shape", BertForSequenceClassification, small(BertConfig, **labels), False),
        ("cased", BertForSequenceClassification, small(BertConfig, **labels), True),
        ("DistilBERT", DistilBertForSequenceClassification, small(DistilBertConfig, **labels), False),
        ("DistilBERT, sinusoidal positions", DistilBertForSequenceClassification,
         small(DistilBertConfig, sinusoidal_pos_embds=True, **labels), False),
    ]:
        model = kind(config)
        draw(model)
        path = work / f"family-{what.replace(' ', '-')}"
        model.save_pretrained(path)
        AutoTokenizer.from_pretrained(like, do_lower_case=not cased).save_pretrained(path)
        yield f"transformers to Berth, {what}", path


def finetuned(programs, base, table, work):
    """A checkpoint that Berth wrote."""
    out = work / "finetuned"
    run(programs / "berth", "finetune", "--task_name", "mr", "--train_file", table,
        "--max_train_samples", 320, "--num_train_epochs", 3, "--learning_rate", 2e-4,
        "--model_name_or_path", base, "--output_dir", out)
    return out


def made_by_transformers(like, work):
    """Checkpoints that transformers wrote, and older forms of one."""
    torch.manual_seed(3)
    names = ["no", "maybe", "yes"]
    config = AutoConfig.from_pretrained(
        like, id2label=dict(enumerate(names)), label2id={name: i for i, name in enumerate(names)}
    )
    model = BertForSequenceClassification(config)
    draw(model)
    tokenizer = AutoTokenizer.from_pretrained(like)

    def folder(name):
        path = work / name
        model.save_pretrained(path)
        tokenizer.save_pretrained(path)
        return path

    yield "transformers to Berth", folder("saved")
    old = folder("old-names")
    weights = load_file(old / "model.safetensors")
    renamed = {
        name.removeprefix("bert.")
            .replace("LayerNorm.weight", "LayerNorm.gamma")
            .replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in weights.items()
    }
    save_file(renamed, old / "model.safetensors", metadata={"format": "pt"})
    yield "transformers to Berth, old names", old
    parts = work / "parts"
    model.save_pretrained(parts, max_shard_size="20MB")
    tokenizer.save_pretrained(parts)
    yield f"transformers to Berth, {len(list(parts.glob('*.safetensors')))} files", parts
    model.half()
    yield "transformers to Berth, half precision", folder("half")
    model.bfloat16()
    yield "transformers to Berth, bfloat16", folder("bfloat16")


def several_labels(sentence, label):
    """Labels of a sentence of which any number may go."""
    words = sentence.split()
    return [name for name, goes in
            [("comma", "," in words), ("long", len(words) > 20), ("positive", label == "1")] if goes]


@torch.no_grad()
def compare_several(programs, base, table, texts, work):
    rows = [line.split("\t") for line in table.read_text(encoding="utf-8").split("\n")[1:-1]]
    rows = [(sentence, several_labels(sentence, label)) for sentence, label in rows]
    measured = texts.read_text(encoding="utf-8").count("\n")
    files = {"dev": rows[:measured], "train": rows[measured:][:480]}
    for name, of in files.items():
        lines = (json.dumps({"text": text, "label": labels}) + "\n" for text, labels in of)
        (work / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    out = work / "several"
    told = run(programs / "berth", "finetune", "--task", "text-classification", "--train_file", work / "train.jsonl",
               "--validation_file", work / "dev.jsonl", "--num_train_epochs", 3, "--learning_rate", 2e-4,
               "--model_name_or_path", base, "--output_dir", out, "--json")
    ours = json.loads(told)["eval_loss"]
    fine = compare("Berth to transformers, several labels", programs, out, texts)
    tokenizer = AutoTokenizer.from_pretrained(out)
    model = BertForSequenceClassification.from_pretrained(out, dtype=torch.float32).eval()
    fine &= model.config.problem_type == "multi_label_classification"
    losses = []
    for text, labels in files["dev"]:
        gold = torch.tensor([[float(name in labels) for name in sorted(model.config.label2id)]])
        inputs = tokenizer(text, truncation=True, max_length=128, return_tensors="pt")
        losses.append(model(**inputs, labels=gold).loss.item())
    theirs = sum(losses) / len(losses)
    fine &= abs(ours - theirs) < 1e-5
    print(f"the same, loss: {ours:.7f} by Berth, {theirs:.7f} by transformers, {'fine' if fine else 'FAILED'}")
    return fine


def for_questions(programs, base, asked, work):
    """A model for questions that Berth trained, and random ones that transformers made."""
    train, dev = asked.squad / "train-v1.1.json.gz", asked.squad / "dev-v1.1.public.json.gz"
    ours = work / "questions"
    run(programs / "berth", "finetune", "--task", "question-answering", "--train_file", train,
        "--max_train_samples", asked.train_questions, "--num_train_epochs", 2, "--per_device_train_batch_size", 16,
        "--learning_rate", 1e-4, "--model_name_or_path", base, "--output_dir", ours)
    yield "Berth to transformers, questions", ours, dev, asked.questions
    torch.manual_seed(5)
    for what, model in [
        ("questions", BertForQuestionAnswering(AutoConfig.from_pretrained(ours))),
        ("questions, DistilBERT", DistilBertForQuestionAnswering(small(DistilBertConfig))),
    ]:
        draw(model)
        theirs = work / f"questions-{model.config.model_type}"
        model.save_pretrained(theirs)
        AutoTokenizer.from_pretrained(ours).save_pretrained(theirs)
        yield f"transformers to Berth, {what}", theirs, dev, min(asked.questions, 50)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--base", required=True, type=pathlib.Path)
    arguments.add_argument("--table", type=pathlib.Path, default=ROOT / "models/mr/dev.tsv")
    arguments.add_argument("--rows", type=int, default=200)
    arguments.add_argument("--programs", type=pathlib.Path)
    arguments.add_argument("--sentences", nargs=2, type=pathlib.Path)
    arguments.add_argument("--squad", type=pathlib.Path)
    arguments.add_argument("--questions", type=int, default=500)
    arguments.add_argument("--train_questions", type=int, default=500)
    asked = arguments.parse_args()
    logging.disable_progress_bar()
    programs = asked.programs.resolve() if asked.programs else build()
    work = pathlib.Path(tempfile.mkdtemp(prefix="berth-interop-"))
    try:
        texts = work / "texts.txt"
        lines = asked.table.read_text(encoding="utf-8").split("\n")[1 : asked.rows + 1]
        texts.write_text("".join(line.split("\t")[0] + "\n" for line in lines), encoding="utf-8")
        table, base = asked.table.resolve(), asked.base.resolve()
        ours = finetuned(programs, base, table, work)
        fine = compare("Berth to transformers", programs, ours, texts)
        for what, folder in [*made_by_transformers(ours, work), *families(ours, work)]:
            fine &= compare(what, programs, folder, texts)
        fine &= compare_several(programs, base, table, texts, work)
        if asked.sentences:
            train, dev = (path.resolve() for path in asked.sentences)
            ours = tagger(programs, base, train, work)
            fine &= compare_tags("Berth to transformers, tags", programs, ours, dev, work)
            for what, theirs in taggers_of_transformers(ours, work):
                fine &= compare_tags(what, programs, theirs, dev, work)
        if asked.squad:
            for what, folder, dev, most in for_questions(programs, base, asked, work):
                fine &= questions.compare(what, programs, folder, dev, most, work)
    finally:
        shutil.rmtree(work)
    sys.exit(not fine)


if __name__ == "__main__":
    main()
