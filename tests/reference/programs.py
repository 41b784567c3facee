"""Berth's programs, built and run for the scripts of this folder."""
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def run(*command):
    """Runs a command in the root of the project; what it printed. Ends the script where it fails."""
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stderr}")
    return done.stdout


def logits(programs, folder, texts):
    """The logits of the checkpoint in `folder` by Berth, a list for each line of the file `texts`."""
    lines = run(programs / "examples" / "logits", folder, texts).splitlines()
    return [json.loads(line) for line in lines]


def tag_logits(programs, folder, sentences):
    """The same for a checkpoint that tags: for each sentence its logits and the positions of the first pieces."""
    lines = run(programs / "examples" / "logits", folder, sentences, "token-classification").splitlines()
    return [json.loads(line) for line in lines]


def build():
    """Builds `berth` and `examples/logits`; the folder where they are."""
    run("cargo", "build", "--release", "--workspace", "--bins", "--examples")
    metadata = json.loads(run("cargo", "metadata", "--no-deps", "--format-version", 1))
    return pathlib.Path(metadata["target_directory"]) / "release"
