"""States that are worth testing: weights that are not all zero, inputs and nudges inside the limits."""

import math

import numpy as np

from substrate.arrays import FloatArray
from substrate.capabilities import Nudge, WriteRequest
from substrate.contract import CrossbarArray, Substrate
from substrate.network import Coupling
from substrate.testing.tolerance import Tolerance
from substrate.tones import SamplingPlan
from substrate.writing import Writer, WritingPlan

LOOP_GAIN = 0.6
"""Largest singular value of the test weights: below 1 the network settles, close to it feedback is plain to see."""

LARGEST_BURST = 1000
ROUNDS = 8
"""Of programming by pulses: a few long bursts, each corrected by reading."""

SAMPLES = 16
"""Samples a period of a test record."""


def writer_of(device: Substrate, rng: np.random.Generator) -> Writer | None:
    """A writer for whatever way of writing the device has; None where it has none."""
    kinds = [device.capabilities.of(coupling.name) for coupling in device.network.arrays]
    if all(one.continuous_writing for one in kinds):
        return Writer(device, WritingPlan("outright"), rng)
    if all(one.continuous_writing or (one.pulses and one.step_siemens[0] > 0) for one in kinds):
        return Writer(device, WritingPlan("verify", largest_burst=LARGEST_BURST, program_rounds=ROUNDS), rng)
    return None


def random_weights(device: Substrate, rng: np.random.Generator) -> None:
    """Program all arrays to random weights and biases; cells that cannot be written stay as they are."""
    writer = writer_of(device, rng)
    if writer is not None:
        for coupling in device.network.arrays:
            writer.program(coupling, _weights(coupling, rng))


def _weights(coupling: Coupling, rng: np.random.Generator) -> FloatArray:
    rows, columns = coupling.shape
    return rng.standard_normal((rows, columns)) * LOOP_GAIN / (math.sqrt(rows) + math.sqrt(columns))


def random_cells(device: CrossbarArray, rng: np.random.Generator) -> None:
    """Bring the cells of a crossbar apart from each other, by whatever way of writing it has."""
    low, high = device.capabilities.conductance_window_siemens
    if device.capabilities.continuous_writing:
        device.write_cells(WriteRequest("cells", target_siemens=rng.uniform(low, high, device.shape)))
    elif device.capabilities.pulses:
        up, down = device.capabilities.step_siemens
        far = max(int(0.2 * (high - low) / max(up, down)), 1)
        least, most = (-far if down else 0), (far if up else 0)
        device.write_cells(WriteRequest("cells", pulses=rng.integers(least, most + 1, device.shape)))


def inputs(device: Substrate, rng: np.random.Generator, batch: int) -> FloatArray:
    """Random input voltages (batch, input) of up to one activity unit, inside the limits."""
    most = min(device.scale.volts_per_unit, device.capabilities.limits.read_volts)
    return rng.uniform(-most, most, (batch, device.network.input_size))


def output_nudges(
    device: Substrate, rng: np.random.Generator, batch: int, tolerance: Tolerance, *, outputs_only: bool = True
) -> FloatArray:
    """Random nudges (batch, node) in amperes of the tolerance's amplitude, of the outputs or of all nodes."""
    units = rng.choice([-1.0, 1.0], (batch, device.network.node_count)) * rng.uniform(0.5, 1.0, (batch, 1))
    if outputs_only:
        units[:, : device.network.output.start] = 0.0
    return units * nudge_amperes(device, tolerance)


def nudge_amperes(device: Substrate, tolerance: Tolerance) -> float:
    """The tolerance's test amplitude in amperes, inside the limits."""
    return min(tolerance.nudge_units * device.scale.unit_amperes, device.capabilities.limits.current_amperes)


def sampling_plan(device: Substrate, tolerance: Tolerance) -> SamplingPlan:
    """A record that resolves seven harmonics, well below the device's highest frequency."""
    highest = device.capabilities.highest_frequency_hz
    frequency = 1000.0 if math.isinf(highest) else min(1000.0, 0.1 * highest)
    return SamplingPlan(frequency, harmonics=5, samples_per_period=SAMPLES, periods=tolerance.periods)


def no_nudge(device: Substrate, batch: int) -> Nudge:
    """A nudge of amplitude zero."""
    return Nudge(np.zeros((batch, device.network.node_count)))
