"""One engine in a process of its own. Answers a command a line as `berth-peer` does; see there.

    python worker.py ENGINE PEERS_DIR
"""

import gc
import importlib.metadata
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

EMPTY_CALLS = 200


def memory():
    """The process's memory in units of 1,000,000 bytes, now and at most."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return [int(fields[name].split()[0]) * 1024 / 1e6 for name in ("VmRSS", "VmHWM")]


class OnnxRuntime:
    """One session for every length."""

    def __init__(self, folder):
        import onnxruntime as ort

        self.ort, self.path = ort, folder / "onnxruntime" / "int8.onnx"
        self.name = "ONNX Runtime " + ort.__version__

    def session(self, model):
        options = self.ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.set(options)
        return self.ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def set(self, options):
        """What else is asked of a session."""

    def load(self, length):
        self.model = self.session(str(self.path))

    def prepare(self, ids):
        return self.bound(self.model, "ids", np.array([ids], dtype=np.int64), "hidden")

    def bound(self, session, name, value, output):
        binding = session.io_binding()
        binding.bind_cpu_input(name, value)
        binding.bind_output(output, "cpu")
        run = lambda: session.run_with_iobinding(binding)
        return run, lambda: binding.copy_outputs_to_cpu()[0]

    def empty(self):
        from onnx import TensorProto, helper

        fact = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1])
        node = helper.make_node("Identity", ["a"], ["b"])
        graph = helper.make_graph([node], "empty", [fact("a")], [fact("b")])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        session = self.session(model.SerializeToString())
        return self.bound(session, "a", np.zeros(1, np.float32), "b")[0]


class OpenVino:
    """One compiled model for each length, so that every shape is known."""

    def __init__(self, folder):
        import openvino as ov

        self.ov, self.core, self.path = ov, ov.Core(), folder / "openvino" / "int8.xml"
        self.name = "OpenVINO " + ov.__version__.split("-")[0]
        self.models = {}

    def compiled(self, model):
        settings = {
            "INFERENCE_PRECISION_HINT": os.environ.get("PEER_PRECISION", "bf16"),
            "INFERENCE_NUM_THREADS": 1,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
        }
        return self.core.compile_model(model, "CPU", settings).create_infer_request()

    def load(self, length):
        model = self.core.read_model(self.path)
        model.reshape([1, length])
        self.models[length] = self.compiled(model)

    def prepare(self, ids):
        if len(ids) not in self.models:
            self.load(len(ids))
        request = self.models[len(ids)]
        self.tensor = self.ov.Tensor(np.array([ids], dtype=np.int64))
        request.set_input_tensor(self.tensor)
        return request.infer, lambda: request.get_output_tensor().data

    def empty(self):
        from openvino import opset13

        value = opset13.parameter([1], np.float32)
        return self.compiled(self.ov.Model([opset13.relu(value)], [value])).infer


class LiteRt:
    """One file and interpreter for each length."""

    def __init__(self, folder):
        from ai_edge_litert.interpreter import Interpreter

        self.kind, self.folder = Interpreter, folder / "litert"
        self.name = "LiteRT " + importlib.metadata.version("ai-edge-litert")
        self.models = {}

    def load(self, length):
        interpreter = self.kind(str(self.folder / f"{length}.tflite"), num_threads=1)
        interpreter.allocate_tensors()
        self.models[length] = interpreter

    def prepare(self, ids):
        if len(ids) not in self.models:
            self.load(len(ids))
        interpreter = self.models[len(ids)]
        place = interpreter.get_input_details()[0]
        output = interpreter.get_output_details()[0]["index"]
        value = np.array([ids], dtype=place["dtype"])
        interpreter.set_tensor(place["index"], value)
        return interpreter.invoke, lambda: interpreter.get_tensor(output)

    def empty(self):
        path = self.folder / "empty.tflite"
        if not path.exists():
            return None
        interpreter = self.kind(str(path), num_threads=1)
        interpreter.allocate_tensors()
        return interpreter.invoke


class ExactOnnxRuntime(OnnxRuntime):
    """The same with sums of 32 bits: without dot products of bytes it adds two products in 16 bits otherwise, which
    saturate."""

    def __init__(self, folder):
        super().__init__(folder)
        self.name += ", exact sums"

    def set(self, options):
        options.add_session_config_entry("session.x64quantprecision", "1")


ENGINES = {"onnxruntime": OnnxRuntime, "onnxruntime-exact": ExactOnnxRuntime, "openvino": OpenVino, "litert": LiteRt}


def timed(run, count):
    times = []
    for _ in range(count):
        start = time.perf_counter_ns()
        run()
        times.append(time.perf_counter_ns() - start)
    return times


def answer(engine, command):
    operation = command["op"]
    if operation == "load":
        before, _ = memory()
        start = time.perf_counter()
        engine.load(command["length"])
        ms = (time.perf_counter() - start) * 1e3
        empty = engine.empty()
        empty_ns = int(np.median(timed(empty, EMPTY_CALLS))) if empty else 0
        return {"load_ms": ms, "base_mb": before, "engine": engine.name, "empty_ns": empty_ns}
    if operation == "rss":
        now, most = memory()
        return {"now_mb": now, "peak_mb": most}
    run, result = engine.prepare(command["ids"])
    if operation == "time":
        timed(run, command["warm"])
        return {"ns": timed(run, command["count"])}
    if operation == "states":
        run()
        return {"states": np.asarray(result(), dtype=np.float64).ravel().tolist()}
    raise ValueError(operation)


def main():
    engine = ENGINES[sys.argv[1]](Path(sys.argv[2]))
    gc.disable()
    for line in sys.stdin:
        print(json.dumps(answer(engine, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
