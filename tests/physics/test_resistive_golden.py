"""Periodic states of resistive networks against stored answers of ngspice (``resistive_make.py`` remakes them)."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from test_resistive_dynamics import amplitudes

GOLDEN = Path(__file__).parents[1] / "golden"
sys.path.insert(0, str(GOLDEN))
from resistive_make import CASES, deck_of  # noqa: E402

STORED = json.loads((GOLDEN / "resistive.json").read_text())


@pytest.mark.parametrize("name", CASES)
def test_harmonics_are_ngspices(name: str) -> None:
    text, case, _ = deck_of(name)
    assert (GOLDEN / f"resistive_{name}.cir").read_text() == text  # the stored deck is this very circuit
    ours = amplitudes(case.orbit(case.plan(CASES[name][1]))[:1])[:, 0]
    theirs = np.array([STORED[name]["cosine"], STORED[name]["sine"]])
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * np.abs(theirs[:, :, 1:]).max())
