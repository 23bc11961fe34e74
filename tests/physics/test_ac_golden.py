"""Small-signal responses against stored answers of ngspice (``tests/golden/ac_make.py`` remakes them)."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from ngspice_network import equations

from emulators.networks import resistive_dynamics, small_signal
from emulators.networks.equilibrium import Tolerance, settle

GOLDEN = Path(__file__).parents[1] / "golden"
sys.path.insert(0, str(GOLDEN))
from ac_make import NETWORKS, RESISTIVE, deck_of, network_case, resistive_case  # noqa: E402

STORED = json.loads((GOLDEN / "ac.json").read_text())["cases"]


def stored(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies, and volts (frequency, node)."""
    case = STORED[name]
    assert (GOLDEN / f"ac_{name}.cir").read_text() == deck_of(name)  # the stored deck is this very circuit
    volts = np.array(case["real_volts"]) + 1j * np.array(case["imaginary_volts"])
    # The sweep passes the poles: nodes that follow at its beginning hardly move at its end, and turn by a right angle.
    assert np.abs(volts[-1]).max() < 0.1 * np.abs(volts[0]).max()
    assert np.abs(volts.imag).max() > 0.1 * np.abs(volts).max()
    return np.array(case["frequency_hz"]), volts


def agree(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Each frequency for itself, relative to its largest node."""
    np.testing.assert_allclose(
        ours / np.abs(theirs).max(axis=1, keepdims=True),
        theirs / np.abs(theirs).max(axis=1, keepdims=True),
        rtol=0,
        atol=1e-6,
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_current_mode_responses_are_ngspices(name: str) -> None:
    hertz, theirs = stored(name)
    netlist, stimulus = network_case(name)
    network, drive = equations(netlist, stimulus.input_volts)
    free = settle(network, np.zeros_like(drive), drive, Tolerance())
    assert free.settled.all()
    chi = small_signal.susceptibility(network, netlist.constants, free.u, hertz)[0]
    agree(chi @ stimulus.ac_amperes / netlist.scale.unit_siemens, theirs)


@pytest.mark.parametrize("name", RESISTIVE)
def test_resistive_responses_are_ngspices(name: str) -> None:
    hertz, theirs = stored(name)
    case = resistive_case(name)
    chi = resistive_dynamics.susceptibility(case.network, case.farads, case.free.volts[:1], hertz)[0]
    agree(chi @ case.nudge[0], theirs)
