"""Periodic states against stored answers of ngspice (``tests/golden/network_make.py`` remakes them)."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from ngspice_network import equations

from emulators.networks.equilibrium import Tolerance, settle
from emulators.networks.periodic import nudged_period
from substrate.demodulation import harmonics
from substrate.tones import SamplingPlan

GOLDEN = Path(__file__).parents[1] / "golden"
sys.path.insert(0, str(GOLDEN))
from network_make import CASES, built, deck_of  # noqa: E402

STORED = json.loads((GOLDEN / "network.json").read_text())["cases"]


@pytest.mark.parametrize("name", CASES)
def test_harmonics_are_ngspices(name: str) -> None:
    case = STORED[name]
    assert (GOLDEN / f"network_{name}.cir").read_text() == deck_of(case)  # the stored deck is this very circuit
    netlist, stimulus = built(case)
    network, drive = equations(netlist, stimulus.input_volts)
    free = settle(network, np.zeros_like(drive), drive, Tolerance())
    assert free.settled.all()
    plan = SamplingPlan(stimulus.frequency_hz, 3, 32, 1)
    nudge = np.array(case["nudge"])[None]
    found = nudged_period(network, netlist.constants, free.u, drive, nudge, plan, Tolerance())
    assert found.unbroken.all()
    ours = np.array(harmonics(found.s[0].T, 32, case["harmonics"]))
    theirs = np.array([case["cosine"], case["sine"]])
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * np.abs(theirs[:, :, 1:]).max())
