"""Reads the event files of runs with TensorBoard itself and compares them with what temper wrote beside them.

    compare_tensorboard.py RUN...    each RUN written with --log.tensorboard true
"""

import json
import struct
import sys
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def float32(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


def compare(events, metrics, result):
    """Every number of metrics.jsonl and of the test part stands in the events, to float32, and nothing else does."""
    accumulator = EventAccumulator(str(events), size_guidance={"scalars": 0})
    accumulator.Reload()
    found = {tag: accumulator.Scalars(tag) for tag in accumulator.Tags()["scalars"]}
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    lines = [{name: value for name, value in line.items() if value is not None} for line in lines]  # kl at alpha 0
    tags = {"train/" + name for line in lines for name in line if name != "step"}
    tags |= {f"test/{name} {stage}" for name in ("nll", "accuracy", "ece", "brier") for stage in ("before", "after")}
    tags.add("test/temperature")
    assert set(found) == tags, set(found) ^ tags
    checked = 0
    for tag, scalars in found.items():
        if tag.startswith("train/"):
            expected = [(line["step"], float32(line[tag[6:]])) for line in lines if tag[6:] in line]
        elif tag == "test/temperature":
            expected = [(len(lines), float32(result["temperature"]))]
        else:
            name, stage = tag[5:].split()
            expected = [(len(lines), float32(result["test"][stage][name]))]
        assert [(each.step, each.value) for each in scalars] == expected, (events, tag)
        assert all(1.7e9 < each.wall_time for each in scalars)
        checked += len(expected)
    assert len(lines) > 1
    print(f"  {events}: {checked} values")


for run in map(Path, sys.argv[1:]):
    summary = json.loads((run / "summary.json").read_text())
    if "results" not in summary:
        compare(run / "tensorboard", run / "metrics.jsonl", summary)
        continue
    first = {}
    for result in summary["results"]:
        first.setdefault(result["name"], result)
    compare(run / "tensorboard/distilled", run / "metrics.jsonl", first["student, distilled"])
    compare(run / "tensorboard/hard-labels", run / "hard-labels-metrics.jsonl", first["student, hard labels"])
    compare(run / "tensorboard/teacher", run / "teacher-metrics.jsonl", first["teacher"])
