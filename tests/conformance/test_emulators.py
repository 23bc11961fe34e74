from functools import cache

import numpy as np
import pytest
from configurations import IDEAL, SUBSTRATES, substrate_of, tolerance_of

from emulators.config import CellsConfig, WiresConfig
from emulators.crossbar_array import EmulatedCrossbar
from substrate.capabilities import WriteRequest
from substrate.errors import CapabilityError, InputError
from substrate.testing import (
    Tolerance,
    check_crossbar,
    check_substrate,
    crossbar_bench,
    crossbar_checks,
    substrate_bench,
    substrate_checks,
)

WINDOW = (1e-6, 1e-4)


def crossbar(shape=(6, 4), seed=0, **sections):
    return lambda: EmulatedCrossbar(shape, np.random.default_rng(seed), **sections)


CONSTANT = {"law": "constant", "step": 0.004}
EQUAL = WiresConfig(segment_ohms=5.0, source_ohms=20.0, sense_ohms=20.0)
UNEQUAL = WiresConfig(segment_ohms=5.0, source_ohms=500.0, sense_ohms=1.0)
NOISE = 1e-8
CROSSBARS = {
    "ideal": (crossbar(), Tolerance()),
    "pulsed": (crossbar(update=CONSTANT), Tolerance()),
    "equal terminations": (crossbar((7, 5), wires=EQUAL), Tolerance(wires_relative=0.1)),
    "unequal terminations": (
        crossbar((7, 5), wires=UNEQUAL),
        Tolerance(wires_relative=0.4, reciprocal_relative=np.inf),
    ),
    # Six sigma, relative to the largest current of a line: more than one cell in the middle of its window.
    "noisy": (
        crossbar((8, 12), update=CONSTANT, read_noise_amperes=NOISE, cells=CellsConfig(stuck=0.1)),
        Tolerance(products_relative=6 * NOISE / (0.3 * 5e-5)),
    ),
    "one cell": (crossbar((1, 1)), Tolerance()),
    "soft bounds": (
        crossbar((16, 16), update={"law": "soft_bounds", "step": 0.01, "cycle_spread": 0.3}, wires=EQUAL),
        Tolerance(wires_relative=0.1),
    ),
    "one-sided": (
        crossbar((8, 8), update={"law": "one_sided", "step": 0.01}),
        Tolerance(test_pulses=4, step_relative=0.5),
    ),
}


@cache
def substrate_result(name, check):
    return check.run(substrate_bench(*SUBSTRATES[name]))


def largest_line_volts(device):
    return float(np.max(np.abs(device.line_volts), initial=0.0))


@cache
def crossbar_result(name, check):
    return check.run(crossbar_bench(*CROSSBARS[name], drive=largest_line_volts))


@pytest.mark.parametrize("check", substrate_checks(), ids=str)
@pytest.mark.parametrize("name", SUBSTRATES)
def test_emulated_substrate_conforms(name, check):
    result = substrate_result(name, check)
    assert result.status != "failed", result.message


@pytest.mark.parametrize("check", crossbar_checks(), ids=str)
@pytest.mark.parametrize("name", CROSSBARS)
def test_emulated_crossbar_conforms(name, check):
    result = crossbar_result(name, check)
    assert result.status != "failed", result.message


def test_every_check_applies_to_several_emulators():
    for check in substrate_checks():
        assert sum(substrate_result(name, check).status == "passed" for name in SUBSTRATES) >= 2, check
    for check in crossbar_checks():
        assert sum(crossbar_result(name, check).status == "passed" for name in CROSSBARS) >= 2, check


def test_all_checks_in_one_call():
    report = check_substrate(substrate_of(IDEAL, (3, 2, 2)), tolerance_of(IDEAL), seed=3)
    assert len(report.results) == len(substrate_checks())
    assert not report.failed
    assert not check_crossbar(crossbar(), drive=lambda device: float(device.line_volts.size)).failed


def test_no_two_checks_share_a_name_and_each_says_what_it_looks_at():
    for checks in (substrate_checks(), crossbar_checks()):
        assert len({check.name for check in checks}) == len(checks)
        assert all(check.purpose.endswith(".") for check in checks)


def test_crossbar_holds_its_lines_until_the_safe_state():
    with crossbar()() as device:
        device.read(np.full(6, 0.1))
        assert np.array_equal(device.line_volts, np.full(6, 0.1))
        device.safe_state()
        assert device.line_volts.size == 0


def test_crossbar_is_refused_while_closed():
    device = crossbar()()
    for use in (device.read_cells, lambda: device.read(np.zeros(6))):
        with pytest.raises(InputError, match="not open"):
            use()
    with device:
        before = device.read_cells()
    with pytest.raises(InputError, match="not open"):
        device.write_cells(WriteRequest("cells", target_siemens=before))


def test_crossbar_of_equal_seeds_is_equal_and_reads_are_fresh_after_a_write():
    first, second = (
        crossbar(update=CONSTANT, read_noise_amperes=NOISE)(),
        crossbar(update=CONSTANT, read_noise_amperes=NOISE)(),
    )
    with first, second:
        for device in (first, second):
            device.write_cells(WriteRequest("cells", pulses=np.full((6, 4), 3)))
        assert np.array_equal(first.read(np.full(6, 0.1)), second.read(np.full(6, 0.1)))
    with crossbar()() as device:
        low = np.full((6, 4), WINDOW[0])
        device.write_cells(WriteRequest("cells", target_siemens=low))
        assert np.allclose(device.read(np.full(6, 0.1)), 0.6 * WINDOW[0], rtol=1e-12)
        device.write_cells(WriteRequest("cells", target_siemens=2 * low))
        assert np.allclose(device.read(np.full(6, 0.1)), 1.2 * WINDOW[0], rtol=1e-12)


def test_crossbar_read_noise_is_as_stated():
    with crossbar((2, 3), read_noise_amperes=NOISE)() as device:
        currents = device.read(np.zeros((4000, 2)))
        # Sample deviation of 12000 draws: 1/sqrt(24000) = 0.65 % of sigma.
        assert currents.std() == pytest.approx(NOISE, rel=0.04)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"wires": WiresConfig(refresh=4.0)}, "refresh"),
        ({"read_noise_amperes": -1.0}, "read_noise_amperes"),
        ({"read_noise_amperes": float("nan")}, "read_noise_amperes"),
        ({"update": {"law": "no-such"}}, "law"),
        ({"shape": (3,)}, "shape"),
        ({"shape": (3, 0)}, "shape"),
    ],
)
def test_crossbar_refuses_bad_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        crossbar(**arguments)()


def test_outright_and_pulsed_crossbars_refuse_each_others_writes():
    with crossbar()() as outright, crossbar(update=CONSTANT)() as pulsed:
        with pytest.raises(CapabilityError, match="pulses"):
            outright.write_cells(WriteRequest("cells", pulses=np.ones((6, 4))))
        with pytest.raises(CapabilityError, match="continuous_writing"):
            pulsed.write_cells(WriteRequest("cells", target_siemens=np.full((6, 4), 5e-5)))
