"""Published devices by name: their update law, a conductance window in siemens, and the paper each comes from.

The papers' measurements were fitted in a normalised weight w; those fits are published as the device presets of IBM's
analog hardware kit (M. J. Rasch et al., IEEE AICAS 2021, arXiv:2104.02184; github.com/IBM/aihwkit). Every number below
was compared with that source (its ``presets/devices.py``, and its statement of the PCM statistics): steps, spreads,
bounds, slopes, amplitudes, noises, retention. The papers' own figures were not digitised again.

**From weights to siemens.** The mean range of w, widened on either side by two standard deviations of its bound (PCM:
not widened), is the window, x = -1 ... +1. A device whose draw reaches still further is held at the window's end. The
fits fix no siemens: where ``window_note`` says *representative* the window is ours, of the order of the technology's
conductances; put your own device's in its place.

**Left out.** The array presets subtract a reference device at the symmetry point; here a weight is a pair of cells and
the pair does that. Devices that do not switch (10 and 13.5 % measured) are no part of the law: pass
``failing_fraction`` as the fraction of stuck cells. Where the step's spread is published as log-normal, its median is
taken to be the published step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypedDict, final

from emulators.memristors.updates.base import UpdateLaw
from emulators.memristors.updates.checks import require_choice
from emulators.memristors.updates.constant import Constant
from emulators.memristors.updates.exponential import Exponential
from emulators.memristors.updates.linear import Linear
from emulators.memristors.updates.one_sided import OneSided
from emulators.memristors.updates.retention import Leak, PowerLawDrift
from emulators.memristors.updates.soft_bounds import SoftBounds


@final
@dataclass(frozen=True, kw_only=True)
class Preset:
    """A published device. ``failing_fraction``: measured fraction of devices that do not switch."""

    name: str
    title: str
    update: UpdateLaw
    window_siemens: tuple[float, float]
    window_note: str
    source: str
    doi: str
    failing_fraction: float = 0.0


class _Bounds(TypedDict):
    bound_max: float
    bound_min: float
    bound_spread: tuple[float, float]
    origin: float


@final
class _Weights:
    """The range of the papers' weight w, and its map onto x, the window being ``widen`` deviations wider."""

    def __init__(
        self, w_max: float, w_min: float, spread_max: float, spread_min: float | None = None, widen: float = 2.0
    ) -> None:
        spread_min = spread_max if spread_min is None else spread_min
        high, low = w_max * (1.0 + widen * spread_max), w_min * (1.0 + widen * spread_min)
        self.scale = 2.0 / (high - low)
        centre = 0.5 * (high + low)
        # Rounding must not push a bound of an unwidened window outside of it.
        self.bounds = _Bounds(
            bound_max=min((w_max - centre) * self.scale, 1.0),
            bound_min=max((w_min - centre) * self.scale, -1.0),
            bound_spread=(spread_max, spread_min),
            origin=max(0.0 - centre * self.scale, -1.0),
        )


_RERAM = _Weights(1.0, -1.0, 0.3)
_RERAM_SOFT = _Weights(1.25, -0.75, 0.3 / 1.25, 0.3 / 0.75)
_ARRAY_OPTIMISED = _Weights(1.0, -1.0, 0.3499, 0.5695)
_ARRAY_HFO2 = _Weights(1.0, -1.0, 0.4295, 0.5990)
_LITHIUM = _Weights(1.1724, -0.8276, 0.05)
_METAL_OXIDE = _Weights(1.1714, -0.8286, 0.05)
_CAPACITOR = _Weights(1.0, -1.0, 0.07)
_RPU = _Weights(1.0, -1.0, 0.3)
_PCM = _Weights(2.0, 0.0, 0.1, 0.0, widen=0.0)

_GONG_2018 = (
    "N. Gong et al., Signal and noise extraction from analog memory elements for neuromorphic computing, "
    "Nature Communications 9, 2102 (2018)"
)
_GONG_2022 = (
    "N. Gong, M. J. Rasch et al., Deep learning acceleration in 14nm CMOS compatible ReRAM array: device, material "
    "and algorithm co-optimization, IEEE IEDM (2022)"
)
_GOKMEN_2016 = (
    "T. Gokmen, Y. Vlasov, Acceleration of deep neural network training with resistive cross-point devices: design "
    "considerations, Frontiers in Neuroscience 10, 333 (2016)"
)
_REPRESENTATIVE = "representative; the published fit is in normalised weight"

_ALL = (
    Preset(
        name="reram_exponential",
        title="HfO₂ ReRAM, exponential step",
        update=Exponential(
            step=0.00135 * _RERAM.scale,
            step_spread=0.2,
            asymmetry=0.259359,
            asymmetry_spread=0.05,
            cycle_spread=5.0,
            write_noise=75.0,
            amplitude_up=-1.18445,
            amplitude_down=-0.081404,
            gamma_up=5.0,
            gamma_down=5.0,
            a=-0.5,
            b=-0.5,
            **_RERAM.bounds,
        ),
        window_siemens=(10e-6, 100e-6),
        window_note=_REPRESENTATIVE,
        source=_GONG_2018,
        doi="10.1038/s41467-018-04485-1",
    ),
    Preset(
        name="reram_soft_bounds",
        title="HfO₂ ReRAM, soft bounds",
        update=SoftBounds(
            step=0.002 * _RERAM_SOFT.scale,
            step_spread=0.3,
            asymmetry_spread=0.01,
            cycle_spread=3.75,
            cycle_noise="additive",
            write_noise=56.0,
            **_RERAM_SOFT.bounds,
        ),
        window_siemens=(10e-6, 100e-6),
        window_note=_REPRESENTATIVE,
        source=_GONG_2018,
        doi="10.1038/s41467-018-04485-1",
    ),
    Preset(
        name="reram_array_optimised",
        title="14 nm ReRAM array, optimised material",
        update=SoftBounds(
            step=0.0949 * _ARRAY_OPTIMISED.scale,
            step_spread=0.7829,
            step_distribution="lognormal",
            asymmetry_spread=0.01,
            cycle_spread=0.4158,
            cycle_noise="additive",
            write_noise=1.4113,
            **_ARRAY_OPTIMISED.bounds,
        ),
        window_siemens=(10e-6, 100e-6),
        window_note=_REPRESENTATIVE,
        source=_GONG_2022,
        doi="10.1109/IEDM45625.2022.10019569",
        failing_fraction=0.1348,
    ),
    Preset(
        name="reram_array_hfo2",
        title="14 nm ReRAM array, baseline HfO₂",
        update=SoftBounds(
            step=0.4622 * _ARRAY_HFO2.scale,
            step_spread=0.7125,
            step_distribution="lognormal",
            asymmetry_spread=0.01,
            cycle_spread=0.2174,
            cycle_noise="additive",
            write_noise=0.5841,
            **_ARRAY_HFO2.bounds,
        ),
        window_siemens=(10e-6, 100e-6),
        window_note=_REPRESENTATIVE,
        source=_GONG_2022,
        doi="10.1109/IEDM45625.2022.10019569",
        failing_fraction=0.0977,
    ),
    Preset(
        name="ecram_lithium",
        title="Lithium ECRAM",
        update=Linear(
            step=0.002 * _LITHIUM.scale,
            step_spread=0.1,
            asymmetry_spread=0.01,
            cycle_spread=0.3,
            gamma_up=0.1153,
            gamma_down=0.5085,
            gamma_spread=0.05,
            bound_reference="mean",
            **_LITHIUM.bounds,
        ),
        window_siemens=(1e-6, 10e-6),
        window_note=_REPRESENTATIVE,
        source=(
            "J. Tang et al., ECRAM as scalable synaptic cell for high-speed, low-power neuromorphic computing, "
            "IEEE IEDM (2018)"
        ),
        doi="10.1109/IEDM.2018.8614551",
    ),
    Preset(
        name="ecram_metal_oxide",
        title="Metal-oxide ECRAM",
        update=Linear(
            step=2.8214e-4 * _METAL_OXIDE.scale,
            step_spread=0.1,
            asymmetry_spread=0.01,
            cycle_spread=2.0,
            gamma_up=0.4152,
            gamma_down=0.7342,
            gamma_spread=0.05,
            bound_reference="mean",
            **_METAL_OXIDE.bounds,
        ),
        window_siemens=(1e-6, 10e-6),
        window_note=_REPRESENTATIVE,
        source=(
            "S. Kim et al., Metal-oxide based, CMOS-compatible ECRAM for deep learning accelerator, IEEE IEDM (2019)"
        ),
        doi="10.1109/IEDM19573.2019.8993463",
    ),
    Preset(
        name="capacitor",
        title="CMOS capacitor cell",
        update=Linear(
            step=0.005 * _CAPACITOR.scale,
            step_spread=0.1,
            asymmetry_spread=0.06,
            cycle_spread=0.3,
            cycle_noise="additive",
            gamma_up=0.05,
            gamma_down=0.05,
            gamma_spread=0.01,
            bound_reference="mean",
            # Published as 1e6 updates; the second it makes here takes an update a microsecond.
            retention=Leak(time_constant_seconds=1.0, rate_spread=0.3),
            **_CAPACITOR.bounds,
        ),
        window_siemens=(1e-6, 20e-6),
        window_note=_REPRESENTATIVE,
        source=(
            "Y. Li et al., Capacitor-based cross-point array for analog neural network with record symmetry and "
            "linearity, IEEE Symposium on VLSI Technology (2018)"
        ),
        doi="10.1109/VLSIT.2018.8510648",
    ),
    Preset(
        name="idealised",
        title="Idealised device, 10 000 states",
        update=Constant(step=0.0002 * _RPU.scale, step_spread=0.3, cycle_spread=0.3, **_RPU.bounds),
        window_siemens=(1e-6, 100e-6),
        window_note=_REPRESENTATIVE,
        source=(
            "M. J. Rasch, T. Gokmen, W. Haensch, Training large-scale artificial neural networks on simulated "
            "resistive crossbar arrays, IEEE Design & Test 37, 19 (2020), arXiv:1906.02698"
        ),
        doi="10.1109/MDAT.2019.2952341",
    ),
    Preset(
        name="rpu_baseline",
        title="RPU baseline, 1200 states",
        update=Constant(
            step=0.0016 * _RPU.scale, step_spread=0.3, asymmetry_spread=0.01, cycle_spread=0.3, **_RPU.bounds
        ),
        window_siemens=(1e-6, 100e-6),
        window_note=_REPRESENTATIVE,
        source=_GOKMEN_2016,
        doi="10.3389/fnins.2016.00333",
    ),
    Preset(
        name="pcm",
        title="Ge₂Sb₂Te₅ phase-change memory",
        update=OneSided(
            step=0.01 * _PCM.scale,
            step_spread=0.2,
            asymmetry_spread=0.05,
            cycle_spread=0.6,
            cycle_offset=0.042 * _PCM.scale,
            cycle_slope=0.108,
            amplitude=-27.235,
            gamma=2.5,
            a=-1.0,
            b=0.0,
            reset_level=0.01 * _PCM.scale,
            reset_spread=0.02 * _PCM.scale,
            reset_noise=0.01 * _PCM.scale,
            retention=PowerLawDrift(
                exponent=0.049, exponent_spread=0.008, reference_seconds=20.0, state_dependent=True
            ),
            programming_noise=(0.2635 / 25.0, 1.9650 / 25.0, -1.1731 / 25.0),
            **_PCM.bounds,
        ),
        window_siemens=(0.0, 25e-6),
        window_note="g_max 25 µS, as in the million-cell statistics of Joshi et al., Nature Communications 11, 2473",
        source=(
            "S. R. Nandakumar et al., Mixed-precision deep learning based on computational memory, "
            "Frontiers in Neuroscience 14, 406 (2020)"
        ),
        doi="10.3389/fnins.2020.00406",
    ),
)

PRESETS: Mapping[str, Preset] = MappingProxyType({preset.name: preset for preset in _ALL})


def preset(name: str) -> Preset:
    """Return the preset of that name (hyphens count as underscores); InputError lists the names there are."""
    return PRESETS[require_choice("preset", name.replace("-", "_") if isinstance(name, str) else name, PRESETS)]
