"""Cell laws: slope = derivative of the current, limits and symmetries, the transistor against ngspice's own."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ngspice import OPTIONS, run_deck

from emulators.memristors.cell_law import CellLaw, MemristorLaw
from emulators.memristors.ohmic import OhmicCell
from emulators.memristors.rectifying import RectifyingCell
from emulators.memristors.sinh import SinhCell
from emulators.memristors.transistor import SeriesResistanceCell, TransistorCell
from substrate.errors import InputError

LAWS: list[CellLaw] = [
    OhmicCell(),
    SinhCell(3.0),
    SinhCell(25.0),
    RectifyingCell(4.0, 1.0),
    RectifyingCell(20.0, 0.0),
    SeriesResistanceCell(5e3),
    SeriesResistanceCell(2e4, SinhCell(4.0)),
    SeriesResistanceCell(0.0, RectifyingCell(5.0, 2.0)),
    TransistorCell(0.4, 2e-4, 0.05),
    TransistorCell(0.3, 1e-4, 0.0, SinhCell(3.0)),
    TransistorCell(0.8, 1e-3, 0.1, RectifyingCell(4.0, 1.0)),
]
laws = pytest.mark.parametrize("law", LAWS, ids=str)


def samples(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, 400), np.exp(rng.uniform(np.log(1e-7), np.log(1e-3), 400))


@laws
def test_slope_is_the_derivative(law: CellLaw) -> None:
    v, g = samples()
    h = 1e-5
    near, far = (law.current(v + k * h, g) - law.current(v - k * h, g) for k in (1, 2))
    difference = (8 * near - far) / (12 * h)
    smooth = np.ones(v.shape, dtype=bool)
    if isinstance(law, TransistorCell):  # the square law's slope has a corner at the edge of saturation
        channel = v - memristor_voltage(law, v, g)
        smooth = np.abs(np.abs(channel) - law.gate_overdrive_volts) > 1e-3
    slope = law.slope(v, g)
    assert np.all(np.abs(difference - slope)[smooth] < 1e-6 * (slope + 1e-4 * g)[smooth])
    assert np.all(slope >= 0)


def memristor_voltage(law: TransistorCell, v: np.ndarray, g: np.ndarray) -> np.ndarray:
    """Bisection on the circuit's own equation, independent of the compiled solver."""
    low, high = np.minimum(v, 0), np.maximum(v, 0)
    for _ in range(80):
        u = (low + high) / 2
        x = np.abs(v - u)
        inside = np.minimum(x, law.gate_overdrive_volts)
        channel = law.transconductance * (law.gate_overdrive_volts - inside / 2) * inside
        channel = np.sign(v - u) * channel * (1 + law.channel_length_modulation * x)
        above = law.memristor.current(u, g) > channel
        low, high = np.where(above, low, u), np.where(above, u, high)
    return (low + high) / 2


@laws
def test_current_vanishes_at_zero_and_keeps_its_sign(law: CellLaw) -> None:
    v, g = samples(1)
    np.testing.assert_array_equal(law.current(np.zeros(3), np.array([0.0, 1e-6, 1e-3])), 0.0)
    assert np.all(np.sign(law.current(v, g)) == np.sign(v))
    np.testing.assert_array_equal(law.current(v, np.zeros(v.shape)), 0.0)


@pytest.mark.parametrize("law", [SinhCell(3.0), SinhCell(25.0), SinhCell(40.0)], ids=str)
@pytest.mark.parametrize("largest", [1e-6, 0.3, 1.0])
def test_sinh_keeps_every_digit(law: SinhCell, largest: float) -> None:
    v = np.linspace(-largest, largest, 101)
    current, slope = law.current_and_slope(v, np.full(v.shape, 2e-5))
    np.testing.assert_allclose(current, 2e-5 * np.sinh(law.alpha * v) / law.alpha, rtol=4e-14)
    np.testing.assert_allclose(slope, 2e-5 * np.cosh(law.alpha * v), rtol=4e-14)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.5, 20), st.floats(0, 20))
def test_rectifying_law_is_its_formula(a: float, b: float) -> None:
    v, g = samples(2)
    current, slope = RectifyingCell(a, b).current_and_slope(v, g)
    np.testing.assert_allclose(current, g * (np.expm1(a * v) - np.expm1(-b * v)) / (a + b), rtol=1e-11)
    np.testing.assert_allclose(slope, g * (a * np.exp(a * v) + b * np.exp(-b * v)) / (a + b), rtol=1e-11)


@pytest.mark.parametrize("memristor", [OhmicCell(), SinhCell(4.0), RectifyingCell(5.0, 1.0)], ids=str)
def test_series_resistance_carries_the_memristors_current(memristor: MemristorLaw) -> None:
    v, g = samples(3)
    law = SeriesResistanceCell(3e4, memristor)
    current = law.current(v, g)
    np.testing.assert_allclose(memristor.current(v - 3e4 * current, g), current, rtol=1e-9)


def test_transistor_carries_the_memristors_current() -> None:
    v, g = samples(4)
    law = TransistorCell(0.35, 3e-4, 0.04, SinhCell(3.0))
    np.testing.assert_allclose(law.memristor.current(memristor_voltage(law, v, g), g), law.current(v, g), rtol=1e-9)


def test_a_wide_transistor_is_no_transistor() -> None:
    v, g = samples(5)
    np.testing.assert_allclose(TransistorCell(5.0, 1e6, 0.0).current(v, g), g * v, rtol=1e-8)


@pytest.mark.parametrize("volts", [0.05, 0.5, 2.0])
def test_transistor_is_spices_level_one(volts: float, tmp_path: Path) -> None:
    deck = f"""one cell
{OPTIONS}
Vd d 0 DC {volts}
Rm d mid 10k
M1 mid gate 0 0 nch W=1u L=1u
Vg gate 0 DC 1.2
.model nch NMOS LEVEL=1 VTO=0.5 KP=1.5e-4 LAMBDA=0.03 GAMMA=0 IS=0
.control
set filetype=ascii
op
write out.raw all
.endc
.end
"""
    found = TransistorCell(0.7, 1.5e-4, 0.03).current(volts, 1e-4)
    assert found == pytest.approx(-run_deck(deck, tmp_path)["i(vd)"], rel=1e-6)


@pytest.mark.parametrize(
    ("law", "arguments"),
    [
        (SinhCell, {"alpha": 0.0}),
        (SinhCell, {"alpha": np.nan}),
        (RectifyingCell, {"forward_alpha": -1.0}),
        (RectifyingCell, {"reverse_alpha": -1.0}),
        (SeriesResistanceCell, {"series_resistance": -1.0}),
        (TransistorCell, {"gate_overdrive_volts": 0.0}),
        (TransistorCell, {"transconductance": np.inf}),
        (TransistorCell, {"channel_length_modulation": -0.1}),
        (SinhCell, {"alpha": "3"}),
        (SeriesResistanceCell, {"memristor": TransistorCell()}),
        (TransistorCell, {"memristor": "ohmic"}),
    ],
)
def test_bad_parameters_are_named(law: type[CellLaw], arguments: dict[str, object]) -> None:
    with pytest.raises(InputError, match=next(iter(arguments))):
        law(**arguments)
