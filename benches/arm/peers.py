"""Counts what a query costs other engines on emulated ARM cores, in the way of count.py.

    python3 benches/arm/peers.py --root ROOT --models PEERS_DIR [--json OUT]

ROOT holds an arm64 Python with the engines' wheels, PEERS_DIR what benches/peers/make.py made. On Debian 12:

    mkdir ROOT && cd ROOT && apt-get download libc6:arm64 libgcc-s1:arm64 libstdc++6:arm64 zlib1g:arm64 \\
        libexpat1:arm64 libffi8:arm64 python3.11-minimal:arm64 libpython3.11-minimal:arm64 libpython3.11-stdlib:arm64
    for package in *.deb; do dpkg-deb -x "$package" .; done
    pip download --no-deps --only-binary=:all: --python-version 3.11 --platform manylinux_2_28_aarch64 \\
        --platform manylinux_2_27_aarch64 --platform manylinux2014_aarch64 onnxruntime==1.23.2 ai-edge-litert numpy \\
        flatbuffers protobuf packaging typing_extensions
    for wheel in *.whl; do unzip -q "$wheel" -d site; done

A count is the difference of a run with three queries and one with a single query, halved. Beside it stands the cosine
of the answer and the f32 reference's: an engine that takes a way through its kernels that qemu gets wrong shows here.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

ENGINES = ["onnxruntime", "litert"]
# Who makes the core, and which it is: LiteRT asks /proc/cpuinfo and not the processor.
PARTS = {"cortex-a72": 0xD08, "cortex-a76": 0xD0B, "max,sve=off,sme=off": 0xD47}


def query(engine, folder, tokens, times):
    """On the emulated core: as many queries of one length; prints the last answer's cosine."""
    import numpy as np

    ids = json.loads((folder / "ids.json").read_text())[tokens]
    if engine == "onnxruntime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(folder / "onnxruntime" / "int8.onnx", options)
        for _ in range(times):
            (hidden,) = session.run(None, {"ids": np.array([ids], dtype=np.int64)})
    else:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(folder / "litert" / f"{tokens}.tflite"), num_threads=1)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.array([ids], dtype=np.int32))
        for _ in range(times):
            interpreter.invoke()
        hidden = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    there = np.load(folder / "reference.npz")[tokens].ravel()
    here = hidden.ravel()
    print(f"{here @ there / np.linalg.norm(here) / np.linalg.norm(there):.5f}")


def tell_core(root, part):
    """What the emulated machine's /proc/cpuinfo says."""
    folder = root / "proc"
    folder.mkdir(exist_ok=True)
    # As many processors as there are here: ONNX Runtime counts them elsewhere and looks up each.
    with open(folder / "cpuinfo", "w") as file:
        for number in range(os.cpu_count()):
            print(f"processor : {number}", "Features : fp asimd", "CPU implementer : 0x41", sep="\n", file=file)
            print("CPU architecture: 8", "CPU variant : 0x0", f"CPU part : {part:#x}", sep="\n", file=file)
            print("CPU revision : 0", end="\n\n", file=file)


def run(library, out, root, core, arguments):
    """One run's counts, and what it printed."""
    python = root / "usr" / "bin" / "python3.11"
    places = ["-L", root, "-E", f"PYTHONHOME={root / 'usr'}", "-E", f"PYTHONPATH={root / 'site'}"]
    emulator = ["qemu-aarch64", "-cpu", core, "-plugin", f"{library},out={out}", *places]
    command = [*emulator, python, __file__, "query", *arguments]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    return json.loads(out.read_text())["instructions"], done.stdout.strip()


def main():
    from count import LENGTHS, plugin

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, type=pathlib.Path)
    parser.add_argument("--models", required=True, type=pathlib.Path)
    parser.add_argument("--engines", nargs="+", default=ENGINES)
    parser.add_argument("--cores", nargs="+", default=list(PARTS))
    parser.add_argument("--lengths", nargs="+", type=int, default=LENGTHS)
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    root, models = options.root.resolve(), options.models.resolve()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        library = plugin(folder)
        for core in options.cores:
            tell_core(root, PARTS[core])
            for engine in options.engines:
                for tokens in options.lengths:
                    counts = {
                        times: run(library, folder / "counts.json", root, core, [engine, models, tokens, times])
                        for times in (1, 3)
                    }
                    instructions, cosine = (counts[3][0] - counts[1][0]) // 2, counts[3][1]
                    row = {"instructions": instructions, "cosine": float(cosine)}
                    found.setdefault(core.split(",")[0], {})[f"{engine} {tokens}"] = row
                    print(f"{core}, {engine}, {tokens} tokens: {instructions / 1e6:.2f} M, {cosine}", flush=True)
                    if options.json:
                        options.json.write_text(json.dumps({"counts": found}, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["query"]:
        query(sys.argv[2], pathlib.Path(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
    else:
        main()
