"""Virtual instruments around an exclusive-or network, and the sections of the drivers that reach them."""

import sys
import types
from contextlib import contextmanager

import numpy as np
import yaml

from emulators.bench.arc_two import ArcTwo
from emulators.bench.lines import Writing
from emulators.bench.plant import CrossbarPlant
from emulators.config import CellsConfig
from substrate import load_experiment

SIZES = (2, 4, 2)
OVERRIDES = [
    f"network.layers={list(SIZES)}",
    "network.initial.scale=0.6",
    "writing.mode=accumulate",
    "writing.largest_burst=60",
    "homeostasis.strength=0.0",
    "nudge.amplitude=0.7",
    "nudge.samples_per_period=8",
    "training.learning_rate=0.2",
]
"""What makes the shipped experiment small enough for a bench: the same on every backend."""

CELLS = {"law": "ohmic", "window_siemens": [1.0e-6, 1.0e-4]}
UPDATE = {"law": "constant", "step": 0.01, "cycle_spread": 0.1}
STEP = 0.01 * 0.5 * 9.9e-5
EMULATOR = {"backend": "emulator", "cells": CELLS, "update": UPDATE}
NUDGE_SIEMENS = 2.0e-6
PULSE = {"volts": 1.5, "seconds": 1.05e-2}
"""A nominal pulse lasts as long as one of a 2400 that is told 10 ms."""


def experiment(section, folder, overrides=(), name="experiment.yaml"):
    """The exclusive-or experiment of ``OVERRIDES`` with another ``substrate`` section, as a file that is loaded."""
    text = yaml.safe_load(load_experiment("xor", []).to_yaml())
    text["substrate"] = section
    path = folder / name
    path.write_text(yaml.safe_dump(text))
    return load_experiment(str(path), [*OVERRIDES, *overrides])


def planes():
    """(name, rows, columns) of every plane of the network's arrays."""
    inputs, hidden, outputs = SIZES
    couplings = {
        "input-hidden1": (inputs + 1, hidden),
        "hidden1-output": (hidden + 1, outputs),
        "output-hidden1": (outputs, hidden),
    }
    return [(f"{name}{sign}", *shape) for name, shape in couplings.items() for sign in "+-"]


def lines():
    """Columns of the matrix by plane, counted through."""
    found, next_line = {}, 1
    for name, rows, columns in planes():
        at = list(range(next_line, next_line + rows + columns))
        found[name] = {"rows": at[:rows], "columns": at[rows:]}
        next_line += rows + columns
    return found


def nodes():
    return [f"hidden1.{index}" for index in range(SIZES[1])] + [f"output.{index}" for index in range(SIZES[2])]


def bench_file(seed=0, **sections):
    """What ``VirtualBench`` takes."""
    matrix = {}
    for name, columns in lines().items():
        matrix |= {f"out{at}": f"{name}.row{index}" for index, at in enumerate(columns["rows"])}
        matrix |= {f"out{at}": f"{name}.col{index}" for index, at in enumerate(columns["columns"])}
    names = nodes()

    def scope(part):
        wired = {index + 1: node for index, node in enumerate(part)}
        return {"model": "keysight-dsox3024t", "channels": wired | {4: "clock.1"}}

    def smu(row):
        return {"model": "keithley-2400", "channels": {"hi": f"matrix.in{row}"}}

    def nudge(node):
        return {"terminal": node, "transconductance_siemens": NUDGE_SIEMENS}

    return {
        "seed": seed,
        "network": {"family": "current_mode", "layers": list(SIZES)},
        "substrate": EMULATOR,
        "writing": PULSE,
        "instruments": {
            "inputs": {"model": "keysight-33512b", "channels": {1: "input0", 2: "input1"}},
            "nudges": {
                "model": "keysight-33512b",
                "channels": {1: nudge("output.0"), 2: nudge("output.1")},
                "options": {"external_reference": True},
            },
            "clock": {"model": "keysight-33512b"},
            "left": scope(names[:3]),
            "right": scope(names[3:]),
            "drive": smu(1),
            "sense": smu(2),
            "bias": smu(3),
            "matrix": {"model": "keysight-b2201a", "channels": matrix},
        },
        "grounds": ["matrix.in14"],
        **sections,
    }


def wiring(resources):
    """The drivers' wiring file for the same."""
    models = {
        **dict.fromkeys(("inputs", "nudges", "clock"), "keysight-33500b"),
        **dict.fromkeys(("left", "right"), "keysight-infiniivision"),
        **dict.fromkeys(("drive", "sense", "bias"), "keithley-2400"),
        "matrix": "keysight-b2200",
    }
    names = nodes()
    return {
        "instruments": {name: {"model": model, "address": resources[name]} for name, model in models.items()},
        "inputs": ["inputs.1", "inputs.2"],
        "nudges": {f"output.{index}": {"port": f"nudges.{index + 1}", "siemens": NUDGE_SIEMENS} for index in range(2)},
        "nodes": {node: f"left.{index + 1}" for index, node in enumerate(names[:3])}
        | {node: f"right.{index + 1}" for index, node in enumerate(names[3:])},
        "reference": {"port": "clock.1", "seen": {"left": 4, "right": 4}, "phase_locked": True},
        "cells": {
            "matrix": "matrix",
            "drive": {"instrument": "drive", "row": 1},
            "sense": {"instrument": "sense", "row": 2},
            "bias": [{"instrument": "bias", "row": 3}],
            "ground_row": 14,
            "lines": lines(),
            "pulses": {"window_siemens": CELLS["window_siemens"], "step_siemens": [STEP, STEP]},
        },
    }


def bench_section(resources, folder):
    """The ``substrate`` section, its wiring file written."""
    path = folder / "wiring.yaml"
    path.write_text(yaml.safe_dump(wiring(resources)))
    return {"backend": "bench", "wiring": str(path)}


def driven(bench):
    """What the instruments of a bench put out now: channels that are on at other than 0 V, closed relays."""
    with bench.lock:
        now = np.array([bench.clock.seconds, bench.clock.seconds + 1.3e-4])
        nodes = [f"{name}.{port}" for name in ("inputs", "nudges", "clock") for port in (1, 2)]
        nodes += [f"{name}.hi" for name in ("drive", "sense", "bias")]
        loud = [node for node, volts in zip(nodes, bench.fixture.volts(nodes, now).T, strict=True) if np.any(volts)]
        on = [name for name in ("drive", "sense", "bias") if bench.instruments[name].value("output")]
        on += [f"{name}.{n}" for name in ("inputs", "nudges", "clock") for n in (1, 2)
               if bench.instruments[name].value("output", n)]  # fmt: skip
        return loud + on + sorted(bench.instruments["matrix"]._closed)


ARC_SHAPE = (10, 8)
ARC_LIBRARY = "virtual_arc2"


@contextmanager
def arc_two(seed=0, **noise):
    """An emulated ArC TWO as a module of pyarc2's form; gives the instrument."""
    plant = CrossbarPlant(
        "arc",
        ARC_SHAPE,
        np.random.default_rng(seed),
        cells=CellsConfig.model_validate(CELLS),
        update=UPDATE,
        writing=Writing(volts=1.5, seconds=1.0e-4),
    )
    board = ArcTwo(plant, np.random.default_rng(seed + 1), **noise)
    module = types.ModuleType(ARC_LIBRARY)
    module.find_ids = lambda: [0]
    module.Instrument = lambda port, firmware: board
    sys.modules[ARC_LIBRARY] = module
    try:
        yield board
    finally:
        del sys.modules[ARC_LIBRARY]


def arc_section():
    """The ``substrate`` section of that board; its readings are noisy to some 3e-3 of an activity unit."""
    return {
        "backend": "arc-two",
        "library": ARC_LIBRARY,
        "shape": list(ARC_SHAPE),
        "window_siemens": CELLS["window_siemens"],
        "step_siemens": [STEP, STEP],
        "loop": {"settle": {"tolerance": 0.02, "damping": 1.0, "least_passes": 6, "passes": 12, "mixed": False}},
    }
