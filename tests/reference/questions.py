"""Questions on passages: windows and answers as run_qa of transformers' examples has them, beside Berth's."""
import gzip
import json

import numpy
import torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

from programs import run

LENGTH, STRIDE, N_BEST, LONGEST = 384, 128, 20, 30
TOLERANCE = 1e-4


def read(path, most):
    """The first questions of a file in SQuAD's form, each with its id and passage."""
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
        articles = json.load(file)["data"]
    rows = [
        {"id": qa["id"], "question": qa["question"], "context": paragraph["context"]}
        for article in articles for paragraph in article["paragraphs"] for qa in paragraph["qas"]
    ]
    return rows[:most]


def candidates(start, end, offsets):
    """Every span of a window that run_qa looks at, with its sum."""
    best = lambda logits: numpy.argsort(-logits, kind="stable")[:N_BEST]
    for i in best(start):
        for j in best(end):
            if offsets[i] and offsets[j] and i <= j < i + LONGEST:
                yield float(start[i] + end[j]), offsets[i][0], offsets[j][1], float(start[i]), float(end[j])


@torch.no_grad()
def by_transformers(folder, rows):
    """For each id the best spans: sum, text, start logit, end logit. And how far the sum of [CLS] exceeds the best."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForQuestionAnswering.from_pretrained(folder, dtype=torch.float32).eval()
    found, odds = {}, {}
    for row in rows:
        inputs = tokenizer(
            row["question"].lstrip(), row["context"], truncation="only_second", max_length=LENGTH, stride=STRIDE,
            return_overflowing_tokens=True, return_offsets_mapping=True,
        )
        spans, null = [], []
        for window in range(len(inputs["input_ids"])):
            names = ["input_ids", "attention_mask"]
            # DistilBERT has no token types.
            names += ["token_type_ids"] * (model.config.model_type == "bert")
            out = model(**{name: torch.tensor([inputs[name][window]]) for name in names})
            start, end = out.start_logits[0].numpy(), out.end_logits[0].numpy()
            kinds = inputs.sequence_ids(window)
            offsets = [o if kind == 1 else None for o, kind in zip(inputs["offset_mapping"][window], kinds)]
            null.append(float(start[0] + end[0]))
            spans += candidates(start, end, offsets)
        spans.sort(key=lambda span: -span[0])
        found[row["id"]] = [(s, row["context"][a:b], x, y) for s, a, b, x, y in spans]
        odds[row["id"]] = min(null) - spans[0][0] if spans else None
    return found, odds


def by_berth(programs, folder, file, most, work):
    """The files that `berth evaluate` writes."""
    out = work / f"answers-{folder.name}"
    report = run(programs / "berth", "evaluate", folder, "--task", "question-answering", "--validation_file", file,
                 "--max_eval_samples", most, "--max_seq_length", LENGTH, "--doc_stride", STRIDE,
                 "--version_2_with_negative", "true", "--null_score_diff_threshold", 1e30,
                 "--output_dir", out, "--json")
    read = lambda name: json.loads((out / name).read_text(encoding="utf-8"))
    return json.loads(report), read("eval_nbest_predictions.json"), read("eval_null_odds.json")


def compare(what, programs, folder, file, most, work):
    """Answers, their logits and the odds against them; prints a line and tells whether they agree."""
    rows = read(file, most)
    theirs, odds = by_transformers(folder, rows)
    report, ours, our_odds = by_berth(programs, folder, file, most, work)
    same, ties, apart, none = 0, 0, 0.0, 0
    for row in rows:
        spans = [entry for entry in ours[row["id"]] if entry["text"]]
        if not theirs[row["id"]]:
            none += 1
            continue
        total, text, start, end = theirs[row["id"]][0]
        best = spans[0]
        if best["text"] == text:
            same += 1
            apart = max(apart, abs(best["start_logit"] - start), abs(best["end_logit"] - end),
                        abs(our_odds[row["id"]] - odds[row["id"]]))
        elif abs(best["start_logit"] + best["end_logit"] - total) <= 2 * TOLERANCE:
            ties += 1
    spread = numpy.std([spans[0][2] for spans in theirs.values() if spans])
    fine = same + ties + none == len(rows) and ties <= len(rows) // 100 and apart <= 4 * TOLERANCE and spread > 0.02
    print(f"{what}: {len(rows)} questions, {same} with the same answer, {ties} tied, {none} without a candidate, "
          f"logits {apart:.1e} apart at most (spread {spread:.2f}), "
          f"exact match {report['eval_exact_match']:.2f}, F1 {report['eval_f1']:.2f}, {'fine' if fine else 'FAILED'}")
    return fine
