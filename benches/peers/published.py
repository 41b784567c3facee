"""The data sets of the accuracy table as their publishers wrote them, for the scripts of this folder.

A row is (inputs, gold): the inputs are the texts that a tokenizer takes, or words with `words=True`."""
import gzip
import json
import pathlib

# The columns of the texts and of the label, and whether the file begins with names.
TABLES = {
    "mr": ((0,), 1, True),
    "cola": ((3,), 1, False),
    "sick": ((1, 2), 4, True),
    "rte": ((1, 2), 3, True),
    "stsb": ((5, 6), 4, False),
}


def lines(path):
    """The lines of a file, packed or not, without their ends."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8", newline="\n") as file:
        return [line.rstrip("\r\n") for line in file]


def table(task, path):
    """Rows of a tab-separated file: texts, and the label as it is written there."""
    texts, label, named = TABLES[task]
    rows = [line.split("\t") for line in lines(path)][named:]
    return [(tuple(row[i] for i in texts), row[label]) for row in rows]


def sentences(path):
    """Words and tags of a CoNLL-U file (UPOS, ranges and empty nodes left out) or of two columns."""
    universal = ".conllu" in path.suffixes
    found, words, tags = [], [], []
    for line in [*lines(path), ""]:
        fields = line.split("\t")
        if not line.strip():
            if words:
                found.append((words, tags))
            words, tags = [], []
        elif not universal:
            words.append(fields[0])
            tags.append(fields[-1])
        elif fields[0].isdigit():
            words.append(fields[1])
            tags.append(fields[3])
    return found


def questions(path, most):
    """The first questions of a file in SQuAD's form."""
    articles = json.loads("\n".join(lines(path)))["data"]
    rows = [
        (qa["question"].lstrip(), paragraph["context"], [answer["text"] for answer in qa["answers"]])
        for article in articles for paragraph in article["paragraphs"] for qa in paragraph["qas"]
    ]
    return rows[:most]


def path_in(folder, *names):
    """The first of the names that is there, packed or not."""
    for name in names:
        for path in (pathlib.Path(folder) / name, pathlib.Path(folder) / f"{name}.gz"):
            if path.exists():
                return path
    raise SystemExit(f"{folder}: none of {', '.join(names)}")
