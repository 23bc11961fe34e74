"""Every key of the emulator's section changes what a device does, or is refused by its name where it is given."""

import hashlib
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, get_args

import numpy as np
import pytest
import yaml
from pydantic import BaseModel

from emulators.config import EmulatorConfig
from emulators.substrate import backend
from substrate import load_experiment
from substrate.capabilities import HeldNudge, Nudge, WriteRequest
from substrate.errors import InputError, SubstrateError
from substrate.experiment.config import Experiment
from substrate.network import Network
from substrate.tones import SamplingPlan

CURRENT: dict[str, Any] = {"layers": [4, 3, 3]}
RESISTIVE: dict[str, Any] = {"family": "resistive", "layers": [4, 4, 3]}
PULSES = {"law": "soft_bounds", "step": 0.02, "step_spread": 0.1, "bound_spread": 0.1, "cycle_spread": 0.1}
SLOW = {"time_constant_seconds": 1.0e-4}

FORMING = {"threshold_volts": 1.7, "pulse_volts": 1.8}
ENDURANCE = {"characteristic_pulses": 8.0}
TILES = {"rows": 3, "columns": 2}

DEVICES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "ideal": (CURRENT, {}),
    "slow": (CURRENT, {"neurons": SLOW}),
    "transient": (CURRENT, {"neurons": SLOW, "solver": {"steady_state": "transient", "residual": 1.0e-5}}),
    "sweeps": (CURRENT, {"solver": {"relaxation": "sweeps"}}),
    "pulsed": (
        CURRENT,
        {
            "cells": {"disturb": {}, "endurance": ENDURANCE},
            "update": {**PULSES, "retention": {"law": "leak", "time_constant_seconds": 100.0}},
            "wires": {"segment_ohms": 5.0, "source_ohms": 20.0, "sense_ohms": 20.0},
            "tiles": TILES,
            "temperature": {"temperature_kelvin": 320.0, "retention_activation_electronvolts": 0.1},
        },
    ),
    "noisy": (
        CURRENT,
        {
            "converters": {"dac_bits": 8, "adc_bits": 8, "adc_noise_volts": 1.0e-4},
            "noise": {
                "white": {"thermal_bandwidth_hz": 1.0e6, "shot_bandwidth_hz": 1.0e6},
                "reading_flicker": {"white_volts_per_root_hertz": 1.0e-4},
                "mains": {"volts": 1.0e-3},
                "cell_flicker": {"relative_at_one_hertz": 0.01},
                "telegraph": {"fraction": 0.5, "amplitude": 0.2},
                "read_disturb": {"fraction_per_reading": 1.0e-3},
            },
        },
    ),
    "formed": (CURRENT, {"cells": {"forming": FORMING}}),
    "digital": ({"layers": [4, 2, 2]}, {"tiles": {"rows": 2, "columns": 2, "summation": "digital", "adc_bits": 6}}),
    "one-sided": (CURRENT, {"update": {"law": "one_sided", "step": 0.02}}),
    "resistive": (RESISTIVE, {"neurons": {"time_constant_seconds": 1.0e-6}, "diodes": {"law": "ideal"}}),
    "Shockley": (
        RESISTIVE,
        {"neurons": {"node_farads": 1.0e-9}, "diodes": {"law": "shockley", "saturation_amperes": 1.0e-7}},
    ),
    "resistive, no hidden layer": ({**RESISTIVE, "layers": [4, 3]}, {"diodes": {"law": "shockley"}}),
    "feedforward": ({"family": "feedforward", "layers": [4, 3, 3]}, {}),
    "feedback paths": (
        CURRENT,
        {
            "feedback_paths": {
                "cells": {"disturb": {}, "endurance": ENDURANCE},
                "update": PULSES,
                "wires": {"segment_ohms": 5.0, "source_ohms": 20.0, "sense_ohms": 20.0},
            }
        },
    ),
}
"""Networks and sections."""

VALUES: dict[str, Any] = {
    "cells.law": "sinh",
    "cells.alpha": 1.0,
    "cells.forward_alpha": 1.0,
    "cells.reverse_alpha": 1.0,
    "cells.series_ohms": 100.0,
    "cells.gate_overdrive_volts": 1.0,
    "cells.transconductance": 1.0e-3,
    "cells.channel_length_modulation": 0.1,
    "cells.memristor.law": "sinh",
    "cells.memristor.alpha": 1.0,
    "cells.memristor.forward_alpha": 1.0,
    "cells.memristor.reverse_alpha": 1.0,
    "cells.window_siemens": [2.0e-6, 0.9e-4],
    "cells.unit_siemens": 3.0e-5,
    "cells.spread": 0.3,
    "cells.stuck": 0.4,
    "cells.disturb.scheme": "third",
    "cells.disturb.write_volts": 1.4,
    "cells.disturb.volts_per_decade": 3.0,
    "cells.disturb.wire_loss": True,
    "cells.forming.pristine_siemens": 1.0e-7,
    "cells.forming.threshold_volts": 1.75,
    "cells.forming.threshold_spread": 0.5,
    "cells.forming.pulse_volts": 1.65,
    "cells.forming.compliance_amperes": 1.0e-5,
    "cells.endurance.characteristic_pulses": 4.0,
    "cells.endurance.weibull_shape": 0.7,
    "wires.segment_ohms": 10.0,
    "wires.source_ohms": 10.0,
    "wires.sense_ohms": 10.0,
    "wires.refresh": 4,
    "tiles.rows": 2,
    "tiles.columns": 1,
    "tiles.summation": "digital",
    "tiles.adc_bits": 5,
    "tiles.adc_range_amperes": 2.0e-4,
    "neurons.volts_per_unit": 0.21,
    "neurons.gain_spread": 0.1,
    "neurons.offset_spread": 0.1,
    "neurons.saturation_spread": 0.1,
    "neurons.time_constant_seconds": 2.0e-6,
    "neurons.node_farads": 3.0e-10,
    "neurons.line_farads": 3.0e-10,
    "neurons.amplifier_bandwidth_hz": 1.0e5,
    "neurons.time_constant_spread": 0.3,
    "neurons.noise": 0.1,
    "diodes.law": "shockley",
    "diodes.knee_volts": 0.01,
    "diodes.saturation_amperes": 1.0e-6,
    "diodes.emission": 1.5,
    "diodes.thermal_volts": 0.03,
    "converters.dac_bits": 7,
    "converters.dac_range_volts": 0.27,
    "converters.adc_bits": 7,
    "converters.adc_range_volts": 0.27,
    "converters.adc_noise_volts": 1.0e-3,
    "limits.read_volts": 0.28,
    "limits.write_volts": 1.9,
    "limits.current_amperes": 2.0e-3,
    "solver.relaxation": "sweeps",
    "solver.sweeps.free": 6,
    "solver.sweeps.nudged": 6,
    "solver.sweeps.time_constants": 0.5,
    "solver.sweeps.tolerance": 1.0e-30,
    "solver.precision": "float32",
    "solver.residual": 1.0e-3,
    "solver.quasi_static": 0.0,
    "solver.steady_state": "transient",
    "solver.settle_periods": 4,
    "solver.settle_tolerance": 1.0e-13,
    "noise.white.thermal_bandwidth_hz": 2.0e6,
    "noise.white.shot_bandwidth_hz": 2.0e6,
    "noise.white.shot_fano": 0.5,
    "noise.reading_flicker.white_volts_per_root_hertz": 2.0e-4,
    "noise.reading_flicker.corner_hz": 2.0e3,
    "noise.reading_flicker.lowest_hz": 1.0,
    "noise.reading_flicker.highest_hz": 1.0e6,
    "noise.mains.volts": 2.0e-3,
    "noise.mains.frequency_hz": 60.0,
    "noise.mains.spread": 0.2,
    "noise.cell_flicker.relative_at_one_hertz": 0.02,
    "noise.cell_flicker.lowest_hz": 0.1,
    "noise.cell_flicker.highest_hz": 1.0e4,
    "noise.telegraph.fraction": 0.9,
    "noise.telegraph.amplitude": 0.3,
    "noise.telegraph.amplitude_spread": 0.5,
    "noise.telegraph.capture_hz": 100.0,
    "noise.telegraph.emission_hz": 1.0,
    "noise.telegraph.rate_decades": 2.0,
    "noise.read_disturb.fraction_per_reading": 2.0e-3,
    "noise.read_disturb.attractor": -1.0,
    "temperature.temperature_kelvin": 330.0,
    "temperature.reference_kelvin": 290.0,
    "temperature.conductance_per_kelvin": 1.0e-3,
    "temperature.retention_activation_electronvolts": 0.2,
    "operation.settle_seconds": 2.0e-5,
    "operation.reading_seconds": 2.0e-6,
    "operation.reading_volts": 0.1,
    "operation.pulse_volts": 1.2,
    "operation.pulse_seconds": 2.0e-7,
    "operation.pulses_at_once": "line",
    "operation.unselected": "third",
    "operation.neuron_watts": 1.0e-6,
}
VALUES |= {
    f"feedback_paths.{key}": value
    for key, value in VALUES.items()
    if key.startswith(("cells.", "wires.")) and key != "cells.unit_siemens"
}
"""A value other than the default of every key."""

SILENT = {("digital", "solver.residual"), ("resistive, no hidden layer", "solver.residual")} | {
    (device, f"{where}cells.spread") for device in DEVICES for where in ("", "feedback_paths.")
}
"""What is let pass: a tolerance that the rounding or the very first step goes beyond; and the spread, which acts where
cells are formed."""

COSTLY = ("slow", "transient", "digital", "pulsed", "Shockley", "feedback paths")
ALIKE = ("noise.", "operation.", "limits.", "cells.memristor")
"""Keys that are the same for all networks, and are not tried on these."""


def keys_of(section: type[BaseModel], path: str = "") -> Iterator[str]:
    """Paths of all keys of a section."""
    for name, field in section.model_fields.items():
        below = [
            part
            for part in (field.annotation, *get_args(field.annotation))
            if isinstance(part, type) and issubclass(part, BaseModel)
        ]
        if below:
            yield from keys_of(below[0], f"{path}{name}.")
        else:
            yield f"{path}{name}"


def changed(section: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """The section with another value of one key."""
    name, _, rest = key.partition(".")
    others = {"tiles": TILES, "forming": FORMING, "endurance": ENDURANCE}.get(name, {})
    return {**section, name: changed(section.get(name, others), rest, value) if rest else value}


def without(section: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The section without a key."""
    name, _, rest = key.partition(".")
    others = {one: below for one, below in section.items() if one != name}
    return {**others, name: without(section[name], rest)} if rest else others


def experiment(network: Mapping[str, Any], section: Mapping[str, Any], *overrides: str) -> Experiment:
    resistive = network.get("family") == "resistive"
    rule = {"feedforward": "backpropagation", "resistive": "ep"}.get(network.get("family", ""), "ep")
    tree = {
        "experiment": "walked",
        "data": {"name": "iris"},
        "network": dict(network),
        "substrate": {"backend": "emulator", **section},
        "rule": {"name": rule},
        "cost": {"targets": [0.0, 1.0] if resistive else [-0.7, 0.7]},
    }
    if rule == "ep":
        tree["nudge"] = {"amplitude": 0.3}
    return load_experiment("walked", overrides, text=yaml.safe_dump(tree))


def does(section: Mapping[str, Any], network: Network) -> str:
    """A digest of all that a device of a section does, whatever an experiment file with it would be told."""
    return _digest(yaml.safe_dump({"backend": "emulator", **section}), network)


@cache
def _digest(section: str, network: Network) -> str:
    resolved = backend.resolve(yaml.safe_load(section), network)
    device = backend.build(resolved, network, np.random.default_rng(5))
    # One that a network of 0.1 ms keeps up with, and one that it does not.
    exact = resolved["solver"]["steady_state"] == "exact"
    tones = ((10.0,) if exact else ()) + ((1000.0,) if device.capabilities.highest_frequency_hz < np.inf else ())
    rng, found = np.random.default_rng(6), hashlib.sha256()

    def told(values: Any) -> None:
        found.update(values.tobytes() if isinstance(values, np.ndarray) else repr(values).encode())

    told(device.capabilities)
    told(device.outlay)
    low, high = 2.0e-6, 0.9e-4
    inputs = rng.uniform(-0.2, 0.2, (3, network.input_size))
    unit = device.scale.unit_amperes
    push = 0.05 * unit * rng.standard_normal((3, network.node_count))
    with device:
        for _ in range(3):
            for coupling in network.arrays:
                own = device.capabilities.of(coupling.name)
                counts = rng.integers(0 if own.resets else -5, 6, coupling.cell_shape)
                target = rng.uniform(low, high, coupling.cell_shape)
                pulsed = {"pulses": counts} if own.pulses else {"target_siemens": target}
                report = device.write_cells(WriteRequest(coupling.name, **pulsed))
                told(report.pulses)
                told(report.failed)
                if own.resets:
                    device.write_cells(WriteRequest(coupling.name, reset=counts == 5))
        for seconds in (0.0, 30.0):
            device.wait(seconds)
            device.hold(inputs)
            records = [device.settle()]
            records += [device.nudge(Nudge(push), SamplingPlan(tone, 1, 6, 2)) for tone in tones]
            for record in (*records, device.settle_nudged(HeldNudge(push[:, None, :]))):
                for values in (record.volts, record.settled, record.saturated, record.residual):
                    told(values)
        for coupling in network.arrays:
            if device.capabilities.forward_products:
                for way, lines in zip(("forward", "backward"), coupling.shape, strict=True):
                    told(device.products(coupling.name, rng.uniform(-0.2, 0.2, (2, lines)), way))
            told(device.read_cells(coupling.name))
        for values in (device.ledger.joules, device.ledger.seconds, device.ledger.elapsed_seconds):
            told(values)
    return found.hexdigest()


def refusal(network: Mapping[str, Any], section: Mapping[str, Any]) -> str:
    """What an experiment of this section is told; empty: nothing."""
    try:
        experiment(network, section)
    except InputError as error:
        return str(error)
    return ""


def test_there_is_a_value_for_every_key() -> None:
    assert set(VALUES) == set(keys_of(EmulatorConfig)) - {"backend", "update", "feedback_paths.update"}


@pytest.mark.parametrize("name", DEVICES)
def test_every_key_acts_or_is_refused(name: str) -> None:
    network, section = DEVICES[name]
    assert not refusal(network, section)
    topology = experiment(network, section).topology()
    before = does(section, topology)
    wrong = []
    for key, value in VALUES.items():
        other = changed(section, key, value)
        if other == section or (name in COSTLY and key.startswith(ALIKE)):
            continue
        # On devices that have none they are refused as a whole, or act as they do on the one that has them.
        if key.startswith("feedback_paths.") and name not in ("feedback paths", "ideal", "feedforward"):
            continue
        said = refusal(network, other)
        if said and "leave" not in said:
            # It does not go with the device, or not with this value.
            continue
        idle = f"substrate.{key}:" in said
        try:
            # What stands beside it may act.
            same = does(other, topology) == (does(without(other, key), topology) if idle else before)
        except SubstrateError:
            # There is no such device, or it lacks what it was asked for.
            continue
        if said and not idle and "substrate.tiles:" not in said:
            # What it makes idle is named instead.
            continue
        if same != bool(said) and not (same and (name, key) in SILENT):
            wrong.append((key, "is silent" if same else f"acts, but is refused: {said}"))
    assert not wrong


CURRENT_SWEEPS = {"relaxation": "sweeps"}
RETAINED = {**PULSES, "retention": {"law": "leak"}}
ONE_LAYER = {**RESISTIVE, "layers": [4, 3]}
SHOCKLEY = {"law": "shockley"}
LONG = {"wires": {"segment_ohms": 10.0}}
ACTS: list[tuple[dict[str, Any], dict[str, Any], str, Any, str, Any]] = [
    *(
        (CURRENT, {}, f"solver.sweeps.{key}", value, "solver.relaxation", "sweeps")
        for key, value in (("free", 6), ("nudged", 6), ("time_constants", 0.5), ("tolerance", 0.1))
    ),
    *(
        (CURRENT, {"neurons": SLOW}, f"solver.settle_{key}", value, "solver.steady_state", "transient")
        for key, value in (("periods", 4), ("tolerance", 0.1))
    ),
    (CURRENT, {"solver": CURRENT_SWEEPS}, "solver.residual", 1e-6, "solver.relaxation", "equilibrium"),
    (CURRENT, {"solver": CURRENT_SWEEPS}, "solver.residual", 1e-6, "neurons.time_constant_seconds", 1e-4),
    (CURRENT, {}, "solver.quasi_static", 0.0, "neurons.time_constant_seconds", 1e-4),
    (
        CURRENT,
        {"neurons": SLOW, "solver": {"steady_state": "transient"}},
        "solver.quasi_static",
        0.0,
        "solver.steady_state",
        "exact",
    ),
    (RESISTIVE, {"neurons": SLOW, "diodes": SHOCKLEY}, "solver.quasi_static", 0.0, "neurons", {"node_farads": 1e-9}),
    (CURRENT, {}, "neurons.time_constant_spread", 0.1, "neurons.line_farads", 1e-12),
    *(
        (RESISTIVE, {"diodes": {"law": "ideal"}}, f"diodes.{key}", value, "diodes.law", "shockley")
        for key, value in (("saturation_amperes", 1e-9), ("emission", 1.5), ("thermal_volts", 0.03))
    ),
    (CURRENT, {}, "converters.dac_range_volts", 0.3, "converters.dac_bits", 8),
    (CURRENT, {}, "converters.adc_range_volts", 0.3, "converters.adc_bits", 8),
    (CURRENT, {}, "noise.white.shot_fano", 0.3, "noise.white.shot_bandwidth_hz", 1e6),
    *(
        (CURRENT, {}, f"noise.reading_flicker.{key}", value, "noise.reading_flicker.white_volts_per_root_hertz", 1e-6)
        for key, value in (("corner_hz", 10.0), ("lowest_hz", 1.0), ("highest_hz", 1e4))
    ),
    *(
        (CURRENT, {}, f"noise.mains.{key}", value, "noise.mains.volts", 1e-3)
        for key, value in (("frequency_hz", 60.0), ("spread", 0.1))
    ),
    *(
        (CURRENT, {}, f"noise.cell_flicker.{key}", value, "noise.cell_flicker.relative_at_one_hertz", 1e-3)
        for key, value in (("lowest_hz", 1.0), ("highest_hz", 1e4))
    ),
    *(
        (
            CURRENT,
            {"noise": {"telegraph": {"amplitude": 0.1}}},
            f"noise.telegraph.{key}",
            value,
            "noise.telegraph.fraction",
            0.1,
        )
        for key, value in (
            ("amplitude", 0.1),
            ("amplitude_spread", 0.1),
            ("capture_hz", 1.0),
            ("emission_hz", 1.0),
            ("rate_decades", 1.0),
        )
    ),
    (CURRENT, {}, "noise.telegraph.fraction", 0.1, "noise.telegraph.amplitude", 0.1),
    (CURRENT, {}, "noise.read_disturb.attractor", 0.0, "noise.read_disturb.fraction_per_reading", 1e-6),
    (CURRENT, {}, "temperature.temperature_kelvin", 350.0, "temperature.conductance_per_kelvin", 1e-3),
    (CURRENT, {}, "temperature.temperature_kelvin", 350.0, "noise.white.thermal_bandwidth_hz", 1e6),
    (CURRENT, {}, "temperature.reference_kelvin", 350.0, "temperature.conductance_per_kelvin", 1e-3),
    (CURRENT, {}, "temperature.conductance_per_kelvin", 1e-3, "temperature.temperature_kelvin", 350.0),
    (
        CURRENT,
        {"temperature": {"temperature_kelvin": 350.0}},
        "temperature.retention_activation_electronvolts",
        1.0,
        "update",
        RETAINED,
    ),
    (
        CURRENT,
        {"update": RETAINED},
        "temperature.retention_activation_electronvolts",
        1.0,
        "temperature.temperature_kelvin",
        350.0,
    ),
    (CURRENT, {"update": PULSES, "cells": {"disturb": {}}}, "cells.disturb.wire_loss", True, "wires.source_ohms", 10.0),
    *(
        (CURRENT, {}, "tiles", TILES, key, value)
        for key, value in (
            ("wires.sense_ohms", 10.0),
            ("neurons.line_farads", 1e-12),
            ("operation.unselected", "half"),
            ("tiles.summation", "digital"),
            ("cells.disturb", {}),
        )
    ),
    (CURRENT, {"wires": {"segment_ohms": 1.0}, "tiles": TILES}, "tiles.adc_bits", 8, "tiles.summation", "digital"),
    (CURRENT, {"tiles": {**TILES, "summation": "digital"}}, "tiles.adc_range_amperes", 1e-5, "tiles.adc_bits", 8),
    *(
        (ONE_LAYER, {"diodes": SHOCKLEY}, key, value, "layers", [4, 4, 3])
        for key, value in (("neurons.offset_spread", 0.1), ("diodes.knee_volts", 0.01), ("diodes.emission", 1.5))
    ),
    *(
        (
            {"family": "feedforward", "layers": [4, 3, 3]},
            {"neurons": SLOW},
            f"solver.{key}",
            value,
            "family",
            "current_mode",
        )
        for key, value in (("residual", 1e-6), ("quasi_static", 0.0))
    ),
    (
        CURRENT,
        {"update": {"law": "constant", "step": 0.01}},
        "update.step_distribution",
        "lognormal",
        "update.step_spread",
        0.1,
    ),
    (
        CURRENT,
        {"update": {"law": "constant", "step": 0.01}},
        "update.cycle_noise",
        "additive",
        "update.cycle_spread",
        0.1,
    ),
    (
        CURRENT,
        {"update": {"law": "linear", "step": 0.01, "gamma_up": 0.5}},
        "update.bound_reference",
        "mean",
        "update.bound_spread",
        [0.0, 0.1],
    ),
    *(
        (CURRENT, {"update": {"law": "one_sided", "step": 0.01}}, f"update.{key}", 0.2, f"update.{other}", 0.3)
        for key, other in (
            ("gamma", "amplitude"),
            ("a", "amplitude"),
            ("b", "amplitude"),
            ("cycle_offset", "cycle_spread"),
            ("cycle_slope", "cycle_spread"),
        )
    ),
    (CURRENT, {"update": PULSES}, "update.programming_noise", [0.01], "cells.forming", FORMING),
    ({**CURRENT, "feedback": "shared"}, {}, "feedback_paths", LONG, "feedback", "separate"),
    (CURRENT, {}, "feedback_paths", {}, "feedback_paths.wires", {}),
    (CURRENT, {}, "tiles", TILES, "feedback_paths.wires.sense_ohms", 10.0),
    *(
        (
            CURRENT,
            {"feedback_paths": {"update": PULSES, "cells": {"disturb": {}}}},
            "feedback_paths.cells.disturb.wire_loss",
            True,
            f"{where}wires.source_ohms",
            10.0,
        )
        for where in ("", "feedback_paths.")
    ),
    (
        CURRENT,
        {"update": PULSES, "cells": {"disturb": {}}, "feedback_paths": {"wires": {}}},
        "cells.disturb.wire_loss",
        True,
        "feedback_paths.wires.source_ohms",
        10.0,
    ),
    (
        CURRENT,
        {"temperature": {"temperature_kelvin": 350.0}},
        "temperature.retention_activation_electronvolts",
        1.0,
        "feedback_paths.update",
        RETAINED,
    ),
    (
        CURRENT,
        {"feedback_paths": {"update": {"law": "constant", "step": 0.01}}},
        "feedback_paths.update.step_distribution",
        "lognormal",
        "feedback_paths.update.step_spread",
        0.1,
    ),
    (
        CURRENT,
        {"update": PULSES, "feedback_paths": {"cells": {}}},
        "update.programming_noise",
        [0.01],
        "feedback_paths.cells.forming",
        FORMING,
    ),
]
"""A network, a section, a key that does nothing in it, a value of it, and what makes it act."""


@pytest.mark.parametrize(
    ("network", "section"),
    [
        ({**CURRENT, "feedback": "shared"}, LONG),
        ({"family": "feedforward", "layers": [4, 3, 3]}, LONG),
        (RESISTIVE, LONG),
        ({"layers": [4, 3]}, {"cells": {"stuck": 0.1}}),
    ],
)
def test_feedback_paths_that_a_network_has_not_are_refused(network: dict[str, Any], section: dict[str, Any]) -> None:
    said = refusal(network, {"feedback_paths": section})
    assert "substrate.feedback_paths: act with network.feedback: separate, loop, direct or product" in said
    assert "--set substrate.feedback_paths=null" in said


@pytest.mark.parametrize(("network", "section", "key", "value", "what", "makes"), ACTS)
def test_a_key_that_does_nothing_is_refused_until_it_acts(
    network: dict[str, Any], section: dict[str, Any], key: str, value: Any, what: str, makes: Any
) -> None:
    given = changed(section, key, value)
    said = refusal(network, given)
    assert said.startswith(f"walked: substrate.{key}: act")
    assert f"--set substrate.{key}=null" in said
    # What would make it act is named, a network's layers and family in words.
    name = what.rpartition(".")[2]
    assert name in said or what in ("layers", "family", "update", "neurons")
    if what in network:
        assert not refusal({**network, what: makes}, given)
    else:
        if key == "tiles" and what == "cells.disturb":
            given = {**given, "update": PULSES}
        assert not refusal(network, changed(given, what, makes))


def test_defaults_of_a_file_are_let_pass_and_those_of_an_override_are_not() -> None:
    section = {"converters": {"dac_bits": 0, "dac_range_volts": 0.25}, "noise": {"mains": {"frequency_hz": 50.0}}}
    assert not refusal(CURRENT, section)
    with pytest.raises(InputError, match=r"--set substrate\.converters\.dac_range_volts=0\.25: .*acts with dac_bits"):
        experiment(CURRENT, section, "substrate.converters.dac_range_volts=0.25")
    # A level that is set to 0 is no key that waits for another.
    experiment(CURRENT, section, "substrate.noise.telegraph.fraction=0", "substrate.neurons.time_constant_spread=0")
    # A run file keeps every key, and goes on.
    resolved = experiment(CURRENT, section).to_yaml()
    assert load_experiment("kept", text=resolved).to_yaml() == resolved


def test_several_that_wait_for_the_same_are_told_together() -> None:
    with pytest.raises(InputError) as raised:
        experiment(CURRENT, {"solver": {"sweeps": {"free": 5, "nudged": 6}}})
    assert "leave free, nudged out" in str(raised.value)
    assert str(raised.value).count("solver.relaxation") == 1
