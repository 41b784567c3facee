#!/usr/bin/env python3
"""Seconds a training step takes and memory, by Berth and by PyTorch, side by side.

    train.py --berth target/release/berth --model BASE [--shapes 32x16,…] [--rounds 3] [--steps 3] [--core 1]
             [--engines torch-f32,…] [--record FILE.json] [--date YYYY-MM-DD]

A step is forward, backward, clipping at norm 1 and AdamW over all parameters of BASE with a head of two labels, dropout
as in its config.json, on sequences of one length without padding. Every engine has a process of its own, pinned to one
core and bound to one thread. In each round every engine takes its turn; a turn is some steps that don't count and
STEPS that do. What is printed and recorded is the median of all timed steps, the least, and the most memory that the
process held, without what it held before it read the model (for PyTorch: after its imports). A shape is measured from
the first to the last round before the next begins, so that one call for each shape adds to the same record.

With `--threads N` every engine has N threads, pinned to --core and the cores before it.

With `--profile target/release/berth-profile` the record also tells the core's measured peaks, and of Berth's steps the
rate of the matrix products, their share of the peak and the share of the rest; with several threads, how much faster
they make a step and how much a bare product, measured in turns.
"""
import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys

TORCH = {
    "torch-f32": {"fused": False, "bf16": False},
    "torch-f32-fused": {"fused": True, "bf16": False},
    "torch-bf16-fused": {"fused": True, "bf16": True},
}
BERTH = {"berth-f32": [], "berth-bf16": ["--bf16"]}
WARM_UP = 2


def shape_of(text):
    sequences, length = text.split("x")
    return int(sequences), int(length)


def memory(key, pid="self"):
    """VmRSS or VmHWM of a process, in units of 1,000,000 bytes."""
    with open(f"/proc/{pid}/status") as status:
        line = next(line for line in status if line.startswith(key + ":"))
    return int(line.split()[1]) * 1024 / 1e6


# ---- a PyTorch process: a shape a line in, the seconds of its steps out


def torch_worker(args):
    import time

    import torch
    from transformers import BertForSequenceClassification

    torch.set_num_threads(args.threads)
    torch.set_num_interop_threads(1)
    base = memory("VmHWM")
    model = BertForSequenceClassification.from_pretrained(args.model, num_labels=2).train()
    how = TORCH[args.worker]
    plain = lambda name: name.endswith("bias") or "LayerNorm" in name
    named = list(model.named_parameters())
    groups = [
        {"params": [p for n, p in named if not plain(n)], "weight_decay": 0.01},
        {"params": [p for n, p in named if plain(n)], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=5e-5, fused=True) if how["fused"] else torch.optim.AdamW(groups, lr=5e-5)

    def step(sequences, length):
        ids = torch.randint(0, model.config.vocab_size, (sequences, length))
        mask = torch.ones_like(ids)
        labels = torch.arange(sequences) % 2
        begun = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=how["bf16"]):
            loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return time.perf_counter() - begun

    for line in sys.stdin:
        shape, warm_up, steps = line.split()
        for _ in range(int(warm_up)):
            step(*shape_of(shape))
        seconds = [step(*shape_of(shape)) for _ in range(int(steps))]
        print(json.dumps({"seconds": seconds, "base_mb": base, "peak_mb": memory("VmHWM")}), flush=True)


class Torch:
    def __init__(self, name, args):
        command = [sys.executable, __file__, "--worker", name, "--model", args.model, "--threads", str(args.threads)]
        self.process = subprocess.Popen(
            pinned(args) + command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=one_thread(args)
        )
        self.warm_up = WARM_UP

    def turn(self, shape, steps):
        self.process.stdin.write(f"{shape} {self.warm_up} {steps}\n")
        self.process.stdin.flush()
        self.warm_up = 1
        return json.loads(self.process.stdout.readline())

    def end(self):
        self.process.stdin.close()
        self.process.wait()


# ---- Berth: a process a turn


class Berth:
    def __init__(self, name, args):
        self.args, self.flags = args, BERTH[name]

    def turn(self, shape, steps):
        command = [self.args.berth, "bench", "--train", "--json", "--model_name_or_path", self.args.model]
        command += ["--shapes", shape, "--steps", str(steps), "--threads", str(self.args.threads), *self.flags]
        done = subprocess.run(pinned(self.args) + command, stdout=subprocess.PIPE, text=True, check=True)
        report = json.loads(done.stdout)
        figures = report["shapes"][shape]
        return {"seconds": figures["seconds"], "base_mb": berth_base(self.args), "peak_mb": report["peak_rss_mb"]}

    def end(self):
        pass


def berth_base(args):
    """What the program holds when it has nothing to do."""
    script = f"import os, resource, subprocess; subprocess.run([{args.berth!r}, '--version'], stdout=subprocess.DEVNULL);"
    script += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    # The fork of a large process counts as the child's memory, so a small one asks.
    return int(subprocess.check_output([sys.executable, "-S", "-c", script])) * 1024 / 1e6


# ---- where Berth's time goes


def profile(shape, args):
    """What berth-profile says of a shape, by engine; without an engine whose instructions the core lacks."""
    found = {}
    for name, flags in BERTH.items():
        if name not in args.engines.split(","):
            continue
        command = [args.profile, args.model, shape, str(args.steps), *flags, "--threads", str(args.threads)]
        done = subprocess.run(pinned(args) + command, stdout=subprocess.PIPE, text=True, check=True)
        found[name] = json.loads(done.stdout)
    return found


def add_profile(record, shape, args):
    for name, told in profile(shape, args).items():
        part = "shapes" if args.threads == 1 else "scaling"
        figures = {key: value if isinstance(value, list) else round(value, 4) for key, value in told[part][shape].items()}
        record["shapes"][shape][name]["profile"] = figures
        peaks = record.setdefault("peaks_gops", {})
        for instruction, rate in told.get("peaks_gops", {}).items():
            peaks[instruction] = round(max(rate, peaks.get(instruction, 0)), 1)


# ---- the run


def pinned(args):
    cores = ",".join(str(args.core - i) for i in range(args.threads))
    return ["taskset", "-c", cores]


def one_thread(args):
    return os.environ | {name: str(args.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}


def measure(shape, args):
    names = args.engines.split(",")
    engines = {name: (Torch if name in TORCH else Berth)(name, args) for name in names}
    turns = {name: [] for name in names}
    for _ in range(args.rounds):
        for name in names:
            turns[name].append(engines[name].turn(shape, args.steps))
    for engine in engines.values():
        engine.end()
    return {name: summary(turns[name]) for name in names}


def summary(turns):
    seconds = [second for turn in turns for second in turn["seconds"]]
    last = turns[-1]
    return {
        "median_seconds": round(statistics.median(seconds), 4),
        "least_seconds": round(min(seconds), 4),
        "steps": len(seconds),
        "peak_over_base_mb": round(last["peak_mb"] - last["base_mb"], 1),
        "base_mb": round(last["base_mb"], 1),
    }


def versions(args):
    script = "import torch, transformers; print(torch.__version__, transformers.__version__)"
    torch, transformers = subprocess.check_output([sys.executable, "-c", script], text=True).split()
    berth = subprocess.check_output([args.berth, "--version"], text=True).split()[-1]
    return {"berth": berth, "torch": torch, "transformers": transformers, "python": platform.python_version()}


def cpu():
    with open("/proc/cpuinfo") as info:
        lines = [line.split(":", 1) for line in info if ":" in line]
    first = {}
    for key, value in lines:
        first.setdefault(key.strip(), value.strip())
    return f"{first.get('model name')} (family {first.get('cpu family')}, model {first.get('model')})"


def table(record):
    rows = ["| shape | engine | s a step, median (least) | MB over base | torch-f32 / it |", "|---|---|---|---|---|"]
    for shape, engines in record["shapes"].items():
        against = engines.get("torch-f32", {}).get("median_seconds")
        for name, figures in engines.items():
            ratio = f"{against / figures['median_seconds']:.2f}" if against else ""
            rows.append(
                f"| {shape} | {name} | {figures['median_seconds']:.3f} ({figures['least_seconds']:.3f}) "
                f"| {figures['peak_over_base_mb']:.0f} | {ratio} |"
            )
    return "\n".join(rows + ["", *shares(record)])


def shares(record):
    """Where Berth's time goes, a row a shape and engine."""
    profiles = [
        (shape, name, figures["profile"])
        for shape, engines in record["shapes"].items()
        for name, figures in engines.items()
        if "profile" in figures
    ]
    if not profiles:
        return []
    if record["threads"] > 1:
        rows = ["| shape | engine | steps faster | products faster | the first by the second |", "|---|---|---|---|---|"]
        line = "| {} | {} | {steps:.2f} | {products:.2f} | {steps_by_products:.2f} |"
    else:
        peaks = ", ".join(f"{name} {rate:.0f}" for name, rate in record["peaks_gops"].items())
        rows = [f"Peaks of the core, in billions a second: {peaks}", ""]
        rows += ["| shape | engine | GFLOP/s of products | of the peak | all the rest |", "|---|---|---|---|---|"]
        line = "| {} | {} | {gflops:.1f} | {of_peak:.0%} | {rest:.0%} |"
    return rows + [line.format(shape, name, **figures) for shape, name, figures in profiles]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--berth")
    parser.add_argument("--model", required=True)
    parser.add_argument("--shapes", default="32x16,32x64,32x128,8x384")
    parser.add_argument("--engines", default=",".join([*TORCH, *BERTH]))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--core", type=int, default=os.cpu_count() - 1)
    parser.add_argument("--profile", help="the program berth-profile")
    parser.add_argument("--record")
    parser.add_argument("--note", default="", help="what a reader of the record should know of the machine")
    parser.add_argument("--date", default=str(datetime.date.today()))
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return torch_worker(args)
    record = {"date": args.date, "cpu": cpu(), "threads": args.threads, "versions": versions(args)}
    record |= {"note": args.note, "shapes": {}}
    if args.record and os.path.exists(args.record):
        with open(args.record) as file:
            before = json.load(file)
        record |= {key: before[key] for key in ("shapes", "peaks_gops") if key in before}
    for shape in args.shapes.split(","):
        record["shapes"][shape] = measure(shape, args)
        if args.profile:
            add_profile(record, shape, args)
        if args.record:
            with open(args.record, "w") as file:
                json.dump(record, file, indent=1)
                file.write("\n")
    print(table(record))


if __name__ == "__main__":
    main()
