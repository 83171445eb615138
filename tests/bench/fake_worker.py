"""Speaks the worker's protocol, and behaves as the contender's name says."""

import json
import os
import signal
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    spec = json.load(file)
name, pace = spec["name"], 0.001
if name == "openvino-fp32":  # never opens
    print("Traceback", file=sys.stderr)
    print("ImportError: no such library", file=sys.stderr)
    sys.exit(3)
if name == "openvino-bf16":
    print(json.dumps({"opened": [{"error": "this processor has no bf16"}]}), flush=True)
    sys.exit(0)
opened = {"options": {}, "pace": 0.0, "open_seconds": 0.5, "first_seconds": 0.25, "about": {"runs": "fast"}}
print(
    json.dumps({"opened": [opened | {"agreement": {"correlation": 1.0, "error": 0.0}}] * len(spec["nets"])}), flush=True
)
for line in sys.stdin:
    if line.startswith("memory"):
        print(json.dumps({"resident": 2**20, "peak": 3 * 2**20}), flush=True)
        continue
    if name == "onnxruntime-fp32":  # dies in its first turn
        os.kill(os.getpid(), signal.SIGSEGV)
    pace = 0.001 if name == "bnn_tasks" else 0.005
    limit = 4e9 if name == "bnn_tasks-sums" else None
    print(json.dumps({"seconds": [pace, pace, 2 * pace], "limit": limit}), flush=True)
