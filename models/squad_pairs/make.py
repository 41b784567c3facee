"""Makes train.tsv and dev.tsv of SQuAD 1.1's files: python3 make.py TRAIN.json DEV.json, each may be .gz.

A row is a question, a passage, and whether the passage answers it. Every question stands once: with its own
passage, or with another paragraph of the same article that has none of its answers. The SHA-256 of the
question's id says which, and which questions are taken; so the same files give the same rows.
"""

import gzip
import hashlib
import json
import sys

LONGEST = 360  # characters of a passage
ROWS = {"train": 1600, "dev": 400}


def number(*parts):
    return int.from_bytes(hashlib.sha256("\n".join(parts).encode()).digest()[:8])


def line(text):
    return " ".join(text.split())


def read(path):
    opened = gzip.open if path.endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8") as file:
        return json.load(file)["data"]


def pairs(articles):
    """Each question with a number that orders them, and its row."""
    for article in articles:
        short = [p for p in article["paragraphs"] if len(p["context"]) <= LONGEST]
        for paragraph in short:
            for asked in paragraph["qas"]:
                answers = {answer["text"].lower() for answer in asked["answers"]}
                others = [p["context"] for p in short if p is not paragraph]
                others = [c for c in others if not any(a in c.lower() for a in answers)]
                if not others:
                    continue
                draw = number("pair", asked["id"])
                own = draw % 2 == 0
                context = paragraph["context"] if own else others[draw // 2 % len(others)]
                label = "answerable" if own else "not_answerable"
                yield number("take", asked["id"]), label, [line(asked["question"]), line(context), label]


def write(name, articles):
    rows, left = [], {label: ROWS[name] // 2 for label in ("answerable", "not_answerable")}
    for _, label, row in sorted(pairs(articles)):
        if left[label] > 0:
            left[label] -= 1
            rows.append(row)
    with open(f"{name}.tsv", "w", encoding="utf-8", newline="\n") as file:
        file.write("question\tcontext\tlabel\n")
        file.writelines("\t".join(row) + "\n" for row in rows)


if __name__ == "__main__":
    for name, path in zip(("train", "dev"), sys.argv[1:3], strict=True):
        write(name, read(path))
