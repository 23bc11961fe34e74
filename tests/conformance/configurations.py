"""Emulated devices of many kinds, each with the tolerance that follows from its own configuration."""

from pathlib import Path

import numpy as np
import yaml

from emulators.config import EmulatorConfig
from emulators.substrate import EmulatedSubstrate
from substrate.convolution import unrolled_layers
from substrate.network import Network
from substrate.testing import Tolerance

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"

IDEAL = {"backend": "emulator"}
PULSED = {"backend": "emulator", "update": {"law": "constant", "step": 0.002}}
ONE_SIDED = {"backend": "emulator", "update": {"law": "one_sided", "step": 0.002}}
NOISY = {
    "backend": "emulator",
    "update": {"law": "constant", "step": 0.002, "cycle_spread": 0.2},
    "cells": {"stuck": 0.05},
    "converters": {"adc_noise_volts": 1e-4},
    "neurons": {"time_constant_seconds": 1e-6},
}
SHOCKLEY = PULSED | {
    "diodes": {"law": "shockley", "saturation_amperes": 1e-9},
    "wires": {"segment_ohms": 2.0},
}
IMAGES, WINDOWS = unrolled_layers([[2, 4, 4], {"channels": 3, "kernel": 2}, {"channels": 2, "kernel": 2}, 3])
PATHS = IDEAL | {
    "feedback_paths": {
        "cells": {"window_siemens": [5e-6, 8e-5], "stuck": 0.05},
        "update": PULSED["update"],
        "wires": {"segment_ohms": 2.0, "source_ohms": 50.0},
    }
}
RESISTIVE = {"family": "resistive", "activation": "rectified", "feedback": "shared"}
SWEEPS = IDEAL | {"solver": {"relaxation": "sweeps", "sweeps": {"free": 200, "nudged": 200, "tolerance": 1e-12}}}
SHARED_WIRES = {"backend": "emulator", "wires": {"segment_ohms": 2.0, "source_ohms": 50.0, "sense_ohms": 5.0}}


def substrate_of(section, sizes, seed=0, **network):
    """Describe an emulated network."""
    config = EmulatorConfig.model_validate(section)
    return lambda: EmulatedSubstrate(Network(tuple(sizes), **network), config, np.random.default_rng(seed))


def tolerance_of(section, **more):
    """What follows from the section: ADC noise and steps, DAC steps; wires and pulses are given."""
    config = EmulatorConfig.model_validate(section)
    converters = config.converters
    half_step = converters.adc_range_volts / 2**converters.adc_bits if converters.adc_bits else 1e-9
    dac = 3.0 / 2**converters.dac_bits if converters.dac_bits else 1e-9
    noisy = converters.adc_noise_volts > 0 or converters.adc_bits > 0
    values = {
        "noise_volts": converters.adc_noise_volts,
        "resolution_volts": half_step,
        "residual": config.solver.residual,
        "products_relative": dac,
        "nudge_units": 0.3 if noisy else 0.05,
        "periods": 8 if noisy else 1,
        "response_relative": 2e-3 if noisy else 1e-5,
    }
    return Tolerance(**(values | more))


def digits_chip():
    """The substrate section and layers of the default chip."""
    experiment = yaml.safe_load((EXPERIMENTS / "digits.yaml").read_text())
    return experiment["substrate"], experiment["network"]["layers"]


CHIP, CHIP_LAYERS = digits_chip()

SUBSTRATES = {
    "ideal": (substrate_of(IDEAL, (5, 4, 3)), tolerance_of(IDEAL)),
    # Steps spread by 30 %: one device in two thousand has none at all, and the chip does not know which.
    "default chip of digits": (
        substrate_of(CHIP, CHIP_LAYERS),
        tolerance_of(CHIP, wires_relative=0.02, reports_stuck_cells=False),
    ),
    "shared feedback, wires": (
        substrate_of(SHARED_WIRES, (6, 5, 4), feedback="shared"),
        tolerance_of(SHARED_WIRES, wires_relative=0.05),
    ),
    "sweeps": (substrate_of(SWEEPS, (5, 4, 3)), tolerance_of(SWEEPS)),
    "three layers of weights, logistic": (
        substrate_of(IDEAL, (4, 5, 4, 3), activation="logistic"),
        tolerance_of(IDEAL),
    ),
    "pulsed, noisy, stuck cells": (substrate_of(NOISY, (6, 5, 4)), tolerance_of(NOISY)),
    "one-sided cells": (substrate_of(ONE_SIDED, (5, 4, 3)), tolerance_of(ONE_SIDED)),
    "tiny": (substrate_of(PULSED, (1, 1, 1)), tolerance_of(PULSED)),
    "resistive, ideal diodes": (
        substrate_of(IDEAL, (5, 6, 3), **RESISTIVE),
        tolerance_of(IDEAL),
    ),
    "resistive, Shockley diodes, amplifiers, wires, pulses": (
        substrate_of(SHOCKLEY, (4, 6, 4, 3), amplifier_gain=2.0, **RESISTIVE),
        tolerance_of(SHOCKLEY, wires_relative=0.05),
    ),
    "resistive, noisy, stuck cells": (substrate_of(NOISY, (6, 5, 4), **RESISTIVE), tolerance_of(NOISY)),
    "feedforward, product feedback": (
        substrate_of(PULSED, (4, 5, 4, 3), family="feedforward", feedback="product", product_ratio=2),
        tolerance_of(PULSED),
    ),
    "feedback paths of other cells": (substrate_of(PATHS, (5, 6, 4)), tolerance_of(PATHS, wires_relative=0.05)),
    "feedforward, feedback paths of one-sided cells": (
        substrate_of(IDEAL | {"feedback_paths": {"update": ONE_SIDED["update"]}}, (4, 5, 3), family="feedforward"),
        tolerance_of(IDEAL),
    ),
    "loop of three layers": (substrate_of(IDEAL, (4, 5, 4, 3), feedback="loop"), tolerance_of(IDEAL)),
    "convolutions, shared feedback, wires": (
        substrate_of(SHARED_WIRES, IMAGES, feedback="shared", windows=WINDOWS),
        tolerance_of(SHARED_WIRES, wires_relative=0.05),
    ),
    "no hidden layer": (substrate_of(IDEAL, (3, 2), activation="soft_rectified"), tolerance_of(IDEAL)),
}


def failures(checks, bench):
    """Names of the checks that fail, with their messages."""
    results = [check.run(bench) for check in checks]
    return {result.name: result.message for result in results if result.status == "failed"}
