"""Software neurons around emulated crossbars: the contract, and the emulator's own circuit as a witness."""

import numpy as np
import pytest

from emulators.config import CellsConfig, EmulatorConfig, WiresConfig
from emulators.crossbar_array import EmulatedCrossbar
from emulators.substrate import EmulatedSubstrate
from substrate.capabilities import HeldNudge, Nudge, WriteRequest
from substrate.convolution import unrolled_layers
from substrate.errors import InputError
from substrate.loop import LoopConfig, LoopedSubstrate
from substrate.network import Network
from substrate.placement import Corner, place
from substrate.testing import Tolerance, substrate_bench, substrate_checks
from substrate.tones import SamplingPlan

FINE = {"tolerance": 1e-11, "damping": 0.8}
NETWORK = Network((3, 5, 2))
IMAGES, WINDOWS = unrolled_layers([[2, 4, 4], {"channels": 3, "kernel": 2}, 3])
NOISE = 2e-9
WIRED = WiresConfig(segment_ohms=2.0, source_ohms=10.0, sense_ohms=10.0)


def looped(network=NETWORK, shape=(24, 24), settle=FINE, names=("chip",), seed=0, **sections):
    def make():
        arrays = {name: EmulatedCrossbar(shape, np.random.default_rng(seed), **sections) for name in names}
        return LoopedSubstrate(network, arrays, LoopConfig.model_validate({"settle": settle}))

    return make


DEVICES = {
    "ideal": (looped(), Tolerance(residual=1e-10)),
    "pulsed, on two arrays": (
        looped(shape=(10, 10), names=("left", "right"), update={"law": "constant", "step": 0.004}),
        Tolerance(residual=1e-10),
    ),
    "shared feedback, wires": (
        looped(Network((3, 5, 2), feedback="shared"), wires=WIRED),
        Tolerance(residual=1e-10, wires_relative=0.1),
    ),
    "convolution": (looped(Network(IMAGES, windows=WINDOWS), shape=(60, 60)), Tolerance(residual=1e-10)),
    "feedforward": (
        looped(Network((3, 4, 2), family="feedforward", feedback="separate"), settle={}),
        Tolerance(residual=1e-10),
    ),
    "noisy": (
        looped(
            settle={"tolerance": 3e-3},
            update={"law": "constant", "step": 0.004},
            read_noise_amperes=NOISE,
            cells=CellsConfig(stuck=0.05),
        ),
        # A node sums a few readings of each plane; in its unit of 5 uA, 1e-3 of a volt_per_unit of 0.2 V at most.
        Tolerance(
            noise_volts=3e-4, nudge_units=0.3, periods=8, residual=3e-3, response_relative=1e-2, products_relative=5e-3
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("check", substrate_checks(), ids=str)
@pytest.mark.parametrize("name", DEVICES)
def test_conformance(name, check):
    result = check.run(substrate_bench(*DEVICES[name]))
    if result.status == "not applicable":
        pytest.skip(result.message)
    assert result.status == "passed", result.message


@pytest.mark.parametrize("feedback", ["separate", "shared"])
def test_states_are_those_of_the_emulated_network(feedback):
    """The same weights, closed in software and by the emulator's equations."""
    network = Network((3, 5, 2), feedback=feedback)
    rng = np.random.default_rng(4)
    config = EmulatorConfig.model_validate({"backend": "emulator"})
    whole = EmulatedSubstrate(network, config, np.random.default_rng(0))
    with looped(network)() as device, whole:
        for coupling in network.arrays:
            cells = rng.uniform(1e-6, 1.2e-5, coupling.cell_shape)
            for one in (device, whole):
                one.write_cells(WriteRequest(coupling.name, target_siemens=cells))
        inputs = rng.uniform(-0.2, 0.2, (4, 3))
        amperes = 0.3 * device.scale.unit_amperes * rng.uniform(-1, 1, (4, network.node_count))
        plan = SamplingPlan(1.0, 3, 8, 2)
        for one in (device, whole):
            one.hold(inputs)
        assert device.scale == whole.scale
        np.testing.assert_allclose(device.settle().volts, whole.settle().volts, atol=1e-10)
        np.testing.assert_allclose(
            device.nudge(Nudge(amperes), plan).volts, whole.nudge(Nudge(amperes), plan).volts, atol=1e-10
        )
        held = HeldNudge(amperes[:, None, :], np.full((4, 1, network.node_count), 5e-6))
        np.testing.assert_allclose(device.settle_nudged(held).volts, whole.settle_nudged(held).volts, atol=1e-10)


def test_neurons_stop_at_the_rails_and_say_so():
    network = Network((2, 3), activation="soft_rectified")
    with looped(network, update={"law": "ideal"})() as device:
        (coupling,) = network.arrays
        cells = np.full(coupling.cell_shape, 1e-6)
        cells[0] = 1e-4
        device.write_cells(WriteRequest(coupling.name, target_siemens=cells))
        device.hold(np.array([[0.2, 0.2], [-0.2, -0.2]]))
        found = device.settle()
        assert found.saturated.tolist() == [True, False]
        limit = device.capabilities.limits.read_volts
        assert found.volts[0] == pytest.approx(limit)


def test_a_limit_cycle_is_not_called_settled():
    """Feedback of the opposite sign and much gain: the passes do not come to rest."""
    network = Network((1, 2, 2))
    with looped(network, settle={"damping": 1.0, "passes": 30})() as device:
        strong = {"hidden1-output": 1.0, "output-hidden1": -1.0, "input-hidden1": 0.0}
        for coupling in network.arrays:
            weights = np.zeros(coupling.shape)
            weights[:2] = 3.9 * strong[coupling.name] * np.eye(*weights[:2].shape)
            cells = 1e-6 + 2.5e-5 * np.stack([np.maximum(weights, 0), np.maximum(-weights, 0)])
            device.write_cells(WriteRequest(coupling.name, target_siemens=np.minimum(cells, 1e-4)))
        device.hold(np.zeros((1, 1)))
        device.settle()
        amperes = np.full((1, 1, 4), 0.5) * device.scale.unit_amperes
        held = device.settle_nudged(HeldNudge(amperes))
        assert not held.settled.any()
        assert held.residual[0, 0] > 1e-6


@pytest.mark.parametrize(
    ("corners", "message"),
    [
        ({"other": []}, "other"),
        ({"input-hidden1": [Corner("chip", 0, 0)]}, "expected 2 corners"),
        ({"input-hidden1": [Corner("chip", 0, 0), Corner("chip", 1, 2)]}, "taken"),
        ({"input-hidden1": [Corner("chip", 0, 0), Corner("chip", 8, 8)]}, "beyond"),
        ({"input-hidden1": [Corner("chip", 0, 0), Corner("nowhere", 0, 0)]}, "chip"),
    ],
)
def test_impossible_placements_are_refused(corners, message):
    with pytest.raises(InputError, match=message):
        place(NETWORK, {"chip": (10, 10)}, corners)


def test_no_room_is_refused():
    with pytest.raises(InputError, match="no room"):
        looped(shape=(4, 4))()


def test_every_cell_is_placed_once():
    regions = place(NETWORK, {"a": (7, 10), "b": (24, 12)}, {"hidden1-output": [Corner("b", 0, 3), Corner("b", 9, 0)]})
    seen = {"a": np.zeros((7, 10)), "b": np.zeros((24, 12))}
    for coupling in NETWORK.arrays:
        for region in regions[coupling.name]:
            cells = seen[region.array][region.rows, region.columns]
            assert cells.shape == coupling.shape
            cells += 1
    assert max(one.max() for one in seen.values()) == 1
    assert sum(one.sum() for one in seen.values()) == sum(np.prod(one.cell_shape) for one in NETWORK.arrays)
