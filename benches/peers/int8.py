#!/usr/bin/env python3
"""What ONNX Runtime's dynamic int8 changes in a fine-tuned checkpoint's answers, for comparison with `berth quantize`.

    int8.py CHECKPOINT --task TASK --data DIR [--max_samples N] [--threads 1]

TASK is mr, cola, sick, rte, stsb, ewt, wnut17 or squad; DIR holds its files as published. The checkpoint is exported with
torch in f32 and quantized by `quantize_dynamic(per_channel=True, weight_type=QInt8)`; both run in ONNX Runtime on the dev
rows, one at a time, nothing padded. Sums of products are exact, as ONNX Runtime has them by itself where the processor has
VNNI; elsewhere it would add pairs in 16 bits, with saturation. Printed is one JSON line: how many answers there are, how many
of int8's are f32's, and the metric of both. Answers count as `berth quantize` counts them: the best label, the tag of a
word, the text of an answer, a number that differs by at most 2 % of the labels' range.
"""
import argparse
import collections
import json
import pathlib
import re
import string
import tempfile

import numpy
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.shape_inference import quant_pre_process
from transformers import (
    AutoModelForQuestionAnswering, AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer
)

from published import TABLES, path_in, questions, sentences, table

DEV = {
    "mr": ["dev.tsv"], "cola": ["in_domain_dev.tsv", "dev.tsv"], "sick": ["SICK_trial.txt"], "rte": ["dev.tsv"],
    "stsb": ["sts-dev.csv"], "ewt": ["en_ewt-ud-dev.conllu"], "wnut17": ["emerging.dev.conll"],
    "squad": ["dev-v1.1.public.json", "dev-v1.1.json"],
}
N_BEST, LONGEST = 20, 30
NAMES = ["input_ids", "attention_mask", "token_type_ids"]


def model_of(task, folder):
    kinds = {
        "ewt": AutoModelForTokenClassification, "wnut17": AutoModelForTokenClassification,
        "squad": AutoModelForQuestionAnswering,
    }
    kind = kinds.get(task, AutoModelForSequenceClassification)
    return kind.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()


def exported(model, work):
    """The model in f32 and in int8, as files."""
    outputs = ["start_logits", "end_logits"] if hasattr(model, "qa_outputs") else ["logits"]

    class Plain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, input_ids, attention_mask, token_type_ids):
            out = self.model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
            return tuple(out[name] for name in outputs)

    plain, ready, small = (work / f"{name}.onnx" for name in ("f32", "ready", "int8"))
    ones = torch.ones(1, 16, dtype=torch.long)
    dynamic = {name: {1: "tokens"} for name in NAMES}
    if outputs != ["logits"] or type(model).__name__.endswith("TokenClassification"):
        dynamic |= {name: {1: "tokens"} for name in outputs}
    torch.onnx.export(
        Plain().eval(), (ones, ones, torch.zeros_like(ones)), plain, input_names=NAMES, output_names=outputs,
        dynamic_axes=dynamic, opset_version=17, dynamo=False,
    )
    quant_pre_process(plain, ready, skip_symbolic_shape=True)
    quantize_dynamic(ready, small, per_channel=True, weight_type=QuantType.QInt8)
    return plain, small


def runner(path, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    wanted = {given.name for given in session.get_inputs()}

    def run(inputs, window=None):
        row = lambda name: inputs[name] if window is None else inputs[name][window]
        feed = {name: numpy.array([row(name)], dtype=numpy.int64) for name in NAMES if name in wanted}
        return [out[0] for out in session.run(None, feed)]

    return run


def classify(tokenizer, run, texts, arguments):
    (logits,) = run(tokenizer(*texts, truncation=True, max_length=arguments["max_seq_length"]))
    return float(logits[0]) if len(logits) == 1 else int(logits.argmax())


def tag(tokenizer, run, words, arguments):
    """The tag of each word; none for those that were cut."""
    inputs = tokenizer(words, is_split_into_words=True, truncation=True, max_length=arguments["max_seq_length"])
    best = run(inputs)[0].argmax(-1)
    first = {}
    for at, word in enumerate(inputs.word_ids()):
        if word is not None:
            first.setdefault(word, int(best[at]))
    return [first.get(word) for word in range(len(words))]


def answer(tokenizer, run, question, passage, arguments):
    """The text of the best span, as run_qa has it."""
    inputs = tokenizer(
        question, passage, truncation="only_second", max_length=arguments["max_seq_length"],
        stride=arguments["doc_stride"], return_overflowing_tokens=True, return_offsets_mapping=True,
    )
    best = (-numpy.inf, "")
    for window, offsets in enumerate(inputs["offset_mapping"]):
        start, end = run(inputs, window)
        inside = [kind == 1 for kind in inputs.sequence_ids(window)]
        for i in numpy.argsort(-start, kind="stable")[:N_BEST]:
            for j in numpy.argsort(-end, kind="stable")[:N_BEST]:
                if inside[i] and inside[j] and i <= j < i + LONGEST and start[i] + end[j] > best[0]:
                    best = (start[i] + end[j], passage[offsets[i][0] : offsets[j][1]])
    return best[1]


def compared(task, rows, f32, int8):
    """Pairs of answers as single decisions, with whether they count as the same."""
    if task in ("ewt", "wnut17"):
        return [a == b for x, y in zip(f32, int8) for a, b in zip(x, y) if a is not None]
    if task == "stsb":
        gold = [float(value) for _, value in rows]
        near = 0.02 * (max(gold) - min(gold))
        return [abs(a - b) <= near for a, b in zip(f32, int8)]
    return [a == b for a, b in zip(f32, int8)]


def metric(task, rows, answers, config):
    """The row's figure in the table of accuracy."""
    from scipy.stats import spearmanr
    from seqeval.metrics import f1_score
    from sklearn.metrics import accuracy_score, matthews_corrcoef

    gold, names = [row[-1] for row in rows], config.id2label
    if task == "stsb":
        return {"eval_spearmanr": float(spearmanr([float(value) for value in gold], answers)[0])}
    if task in TABLES:
        # By name, or by number where the file has numbers.
        ids = {name.lower(): label for name, label in config.label2id.items()}
        gold = [int(label) if label.isdigit() else ids[label.lower()] for label in gold]
    if task == "cola":
        return {"eval_matthews_correlation": float(matthews_corrcoef(gold, answers))}
    if task == "wnut17":
        told = [[names.get(tag, "O") for tag in row] for row in answers]
        return {"eval_f1": float(f1_score(gold, told))}
    if task == "ewt":
        pairs = [(names.get(a), g) for row, tags in zip(answers, gold) for a, g in zip(row, tags) if a is not None]
        return {"eval_accuracy": sum(a == g for a, g in pairs) / len(pairs)}
    if task == "squad":
        return score(gold, answers)
    return {"eval_accuracy": float(accuracy_score(gold, answers))}


def words(text):
    """What SQuAD's script compares: words without case, punctuation and articles."""
    bare = "".join(c for c in text.lower() if c not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", bare).split()


def exact(gold, answer):
    return float(words(gold) == words(answer))


def overlap(gold, answer):
    """F1 over words."""
    gold, answer = collections.Counter(words(gold)), collections.Counter(words(answer))
    if not gold or not answer:
        return float(gold == answer)
    return 2 * (gold & answer).total() / (gold.total() + answer.total())


def score(gold, answers):
    """Exact match and F1 as SQuAD's script counts them."""
    over = lambda count: 100 * sum(max(count(g, a) for g in texts) for texts, a in zip(gold, answers)) / len(gold)
    return {"eval_exact_match": over(exact), "eval_f1": over(overlap)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=pathlib.Path)
    parser.add_argument("--task", required=True, choices=DEV)
    parser.add_argument("--data", required=True, type=pathlib.Path)
    parser.add_argument("--max_samples", type=int)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    arguments = json.loads((args.checkpoint / "training_args.json").read_text())
    dev = path_in(args.data, *DEV[args.task])
    if args.task in TABLES:
        rows, ask = table(args.task, dev), lambda row, run: classify(tokenizer, run, row[0], arguments)
    elif args.task == "squad":
        rows = questions(dev, args.max_samples)
        ask = lambda row, run: answer(tokenizer, run, row[0], row[1], arguments)
    else:
        rows, ask = sentences(dev), lambda row, run: tag(tokenizer, run, row[0], arguments)
    rows = rows[: args.max_samples]
    tokenizer = AutoTokenizer.from_pretrained(args.checkpoint)
    model = model_of(args.task, args.checkpoint)
    with tempfile.TemporaryDirectory(prefix="int8-") as work:
        runs = [runner(path, args.threads) for path in exported(model, pathlib.Path(work))]
        f32, int8 = ([ask(row, run) for row in rows] for run in runs)
    same = compared(args.task, rows, f32, int8)
    measured = [metric(args.task, rows, answers, model.config) for answers in (f32, int8)]
    figures = {"answers": len(same), "same": sum(same), "f32": measured[0], "int8": measured[1]}
    print(json.dumps({"task": args.task, "onnxruntime": onnxruntime.__version__, **figures}))


if __name__ == "__main__":
    main()
