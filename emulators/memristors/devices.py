"""The state of an array of cells that are programmed: conductances, pulses received, what time does to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, final

import numpy as np
import numpy.typing as npt

from emulators.memristors.updates.base import AffineLaw, PulsedLaw, ShapedLaw, UpdateLaw
from emulators.memristors.updates.checks import require_number
from emulators.memristors.updates.one_sided import OneSided
from emulators.memristors.updates.retention import Leak, PowerLawDrift
from substrate.errors import CapabilityError, InputError

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

# Rounding that a target computed from weights may carry, in units of the window.
ROUNDING = 1e-12


class Steps(NamedTuple):
    """Mean |change| of conductance by one pulse, siemens."""

    up: float
    down: float


@final
@dataclass(frozen=True)
class PulseReport:
    """What a burst of pulses did.

    ``pulses`` given to ``cells`` cells; ``stuck_cells`` were asked for ``stuck_pulses`` that they did not take;
    ``at_bound`` of the cells ended at one of their bounds.
    """

    pulses: int
    cells: int
    stuck_pulses: int
    stuck_cells: int
    at_bound: int


@final
@dataclass(frozen=True)
class ProgramReport:
    """What a direct programming left.

    ``saturated``: cells whose value lay beyond their own bounds and was held there; ``stuck``: stuck cells that
    were asked. Both boolean, of the array's shape.
    """

    saturated: BoolArray
    stuck: BoolArray


@final
class Devices:
    """An array of cells of one technology on one conductance window.

    shape            shape of the array, any number of axes
    window_siemens   (g_min, g_max), 0 <= g_min < g_max
    update           the law by which the cells are written
    rng              every draw of this object comes from it, in the order of the calls; the caller keeps its state
    spread           relative standard deviation of what ``initialise`` leaves
    stuck            fraction of cells stuck at one of their bounds, half of them on (upper), half off (lower).
                     They never move, nor age

    All devices of the same seed, law and shape are the same, whatever ``spread``. Raises InputError that names the
    argument. The state starts at the law's origin (``UpdateLaw.start``).
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        window_siemens: tuple[float, float],
        update: UpdateLaw,
        rng: np.random.Generator,
        spread: float = 0.0,
        stuck: float = 0.0,
    ) -> None:
        self._shape = tuple(int(length) for length in shape)
        if not self._shape or any(length < 1 for length in self._shape):
            raise InputError(f"shape: expected positive lengths, got {shape!r}")
        if not isinstance(update, UpdateLaw):
            raise InputError(f"update: expected an update law, got {update!r}")
        if not isinstance(rng, np.random.Generator):
            raise InputError(f"rng: expected a numpy.random.Generator, got {rng!r}")
        self._window = check_window(window_siemens)
        self._update = update
        self._rng = rng
        self._spread = require_number("spread", spread, 0.0)
        stuck_fraction = require_number("stuck", stuck, 0.0, 1.0)

        if isinstance(update, PulsedLaw):
            parameters = update.sample(self._shape, rng)
        else:
            parameters = {"bound_max": np.ones(self._shape), "bound_min": -np.ones(self._shape)}
        parameters["retention_deviate"] = rng.standard_normal(self._shape)
        self._stuck = rng.random(self._shape) < stuck_fraction
        stuck_on = rng.random(self._shape) < 0.5
        for values in (*parameters.values(), self._stuck):
            values.setflags(write=False)
        self._parameters = MappingProxyType(parameters)
        self._high, self._low = parameters["bound_max"], parameters["bound_min"]

        # One-sided devices come reset: what a reset leaves in the mean.
        start = self._low + update.reset_level if isinstance(update, OneSided) else np.full(self._shape, update.start)
        state = np.clip(start, self._low, self._high)
        self._last_state = np.where(self._stuck, np.where(stuck_on, self._high, self._low), state)
        self._last_shown = self._last_state.copy()
        # Of cells that were set outright the conductances are kept, and states follow when they are asked for.
        self._behind = False
        self._siemens: FloatArray | None = None
        self._any_stuck = bool(self._stuck.any())
        self._pulses = np.zeros(self._shape, dtype=np.int64)
        self._age_seconds = np.zeros(self._shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self._shape

    @property
    def window_siemens(self) -> tuple[float, float]:
        """(g_min, g_max): the range of x in [-1, 1]; no write leaves it. Drift may fall below it."""
        return self._window

    @property
    def update(self) -> UpdateLaw:
        """The law by which the cells are written."""
        return self._update

    @property
    def parameters(self) -> Mapping[str, FloatArray]:
        """What was drawn for each device, read-only, by name and of the array's shape; lengths in units of x."""
        return self._parameters

    @property
    def stuck(self) -> BoolArray:
        """Mask of the cells that never move, read-only."""
        return self._stuck

    @property
    def pulses(self) -> IntArray:
        """Pulses that each cell has received (resets included), a copy. A stuck cell's are not counted."""
        return self._pulses.copy()

    @property
    def conductances(self) -> FloatArray:
        """Conductances now, siemens, read-only: what a read without read noise sees. Another array once they change."""
        if self._siemens is not None:
            return self._siemens
        values = self._to_siemens(self._shown)
        retention = self._update.retention
        if isinstance(retention, PowerLawDrift):
            factor = retention.factor(
                values / self._window[1], self._age_seconds, self._parameters["retention_deviate"]
            )
            values = np.where(self._stuck, values, values * factor)
        values.setflags(write=False)
        self._siemens = values
        return values

    @property
    def bounds_siemens(self) -> tuple[FloatArray, FloatArray]:
        """(lower, upper) bounds of every device, siemens."""
        return self._to_siemens(self._low), self._to_siemens(self._high)

    @property
    def nominal_step_siemens(self) -> Steps:
        """Mean |change| of conductance by one pulse (up, down) of the mean device at mid window.

        A one-sided law has 0 down. Raises CapabilityError for a law without pulses.
        """
        law = self._pulsed("nominal_step_siemens")
        nominal = law.nominal()
        middle = np.zeros(())
        half_window = 0.5 * (self._window[1] - self._window[0])
        up, down = (half_window * abs(float(law.mean_step(middle, direction, nominal))) for direction in (1, -1))
        return Steps(up, down)

    def initialise(self, target_siemens: FloatArray, mask: BoolArray | None = None) -> ProgramReport:
        """Program the cells directly to ``target_siemens`` (siemens, of the array's shape), as a lab's set-up does.

        Leaves g = target (1 + spread xi) + sigma(target) xi' with sigma the law's programming noise. What a device
        cannot reach is held at its own bound: that is physical, and reported. Counts no pulses. ``mask``: the cells
        to program (default all); targets outside the window raise InputError that names the cell. Every cell of the
        array draws its random numbers, programmed or not.
        """
        target, selected = self._check_target(target_siemens, mask)
        g_max = self._window[1]
        deviate = self._rng.standard_normal(self._shape)
        noise = self._spread * target * deviate
        if self._update.programming_noise:
            fraction = target / g_max
            sigma = np.polynomial.polynomial.polyval(fraction, np.asarray(self._update.programming_noise))
            noise = noise + g_max * np.maximum(sigma, 0.0) * self._rng.standard_normal(self._shape)
        return self._place(self._to_state(target + noise), selected)

    def set(self, target_siemens: FloatArray, mask: BoolArray | None = None) -> None:
        """Write exactly ``target_siemens`` (siemens, of the array's shape); only for laws without pulses.

        ``mask``: the cells to write (default all). Raises CapabilityError for a pulsed law, InputError that names
        the cell for a target outside the window. Stuck cells stay where they are. An array that is read-only, and no
        view of another, may be kept as it is.
        """
        if self._update.pulsed:
            raise CapabilityError(f"set: law {self._update.law} is written by pulses; use pulse() or initialise()")
        if self._update.retention is not None:
            target, selected = self._check_target(target_siemens, mask)
            self._place(self._to_state(target), selected)
            return
        from emulators.memristors.outright_kernels import place
        from substrate.writing_kernels import within

        target = np.ascontiguousarray(self._shaped(target_siemens))
        low, high = self._window
        if mask is None and not self._any_stuck and _unchanging(target) and within(target.reshape(-1), low, high):
            self._behind, self._siemens = True, target
            return
        siemens = np.empty(self._shape)
        beyond = place(target.reshape(-1), low, high, ROUNDING * (high - low), siemens.reshape(-1))
        if beyond or mask is not None:
            # Says which cell it is; those that are not chosen may be asked for anything.
            _, selected = self._check_target(target, mask)
            np.copyto(siemens, self.conductances, where=~selected)
        if self._any_stuck:
            np.copyto(siemens, self.conductances, where=self._stuck)
        self._behind = True
        siemens.setflags(write=False)
        self._siemens = siemens

    @property
    def takes_all(self) -> bool:
        """Whether every cell takes any conductance of the window, and keeps it."""
        return not (self._update.pulsed or self._any_stuck or self._update.retention is not None)

    def take(self, siemens: FloatArray) -> None:
        """Keep ``siemens`` (inside the window, read-only) as they are; of cells that ``takes_all``."""
        self._behind, self._siemens = True, siemens

    def pulse(self, counts: npt.NDArray[np.integer]) -> PulseReport:
        """Give each cell |counts| pulses, up where positive, down where negative; each with noise of its own.

        ``counts``: integers of the array's shape. Cells with count 0 are untouched. Raises InputError for other
        shapes, non-integers, and down pulses to a one-sided law (which is reset instead); CapabilityError for
        laws without pulses. Random numbers: see ``pulse_kernels``.
        """
        law = self._pulsed("pulse")
        counts = np.asarray(counts)
        if counts.shape != self._shape:
            raise InputError(f"counts: expected shape {self._shape}, got {counts.shape}")
        if not np.issubdtype(counts.dtype, np.integer):
            raise InputError(f"counts: expected integers, got {counts.dtype}")
        if law.one_sided and bool(np.any(counts < 0)):
            cell = _first(counts < 0)
            raise InputError(
                f"counts: law {law.law} takes no down pulses, got {counts[cell]} at cell {cell}; use reset()"
            )
        from emulators.memristors.pulse_kernels import pulse_affine, pulse_shaped

        self._let_move()
        cells = (
            np.ascontiguousarray(counts, dtype=np.int64).reshape(-1),
            self._stuck.reshape(-1),
            self._state.reshape(-1),
            self._shown.reshape(-1),
            self._pulses.reshape(-1),
            self._high.reshape(-1),
            self._low.reshape(-1),
            self._parameters["step_up"].reshape(-1),
            self._parameters["step_down"].reshape(-1),
        )
        additive = law.cycle_noise == "additive"
        write_noise = float(law.write_noise * law.step)
        cycle_spread = float(law.cycle_spread)
        if isinstance(law, AffineLaw):
            slope_up, slope_down = (np.ascontiguousarray(slope).reshape(-1) for slope in law.slopes(self._parameters))
            origin = float(law.origin)
            result = pulse_affine(self._rng, *cells, slope_up, slope_down, origin, cycle_spread, additive, write_noise)
        elif isinstance(law, ShapedLaw):
            shape = law.shape
            result = pulse_shaped(
                self._rng,
                *cells,
                shape.family,
                shape.constants,
                shape.table,
                cycle_spread,
                float(shape.cycle_offset),
                float(shape.cycle_slope),
                additive,
                write_noise,
            )
        else:
            raise InputError(f"update: law {law.law} must derive from AffineLaw or ShapedLaw")
        if law.retention is not None:
            self._age_seconds[(counts != 0) & ~self._stuck] = 0.0
        return PulseReport(*(int(number) for number in result))

    def reset(self, mask: BoolArray | None = None) -> ProgramReport:
        """Reset the cells of ``mask`` (default all) to the law's low state; only for one-sided laws. Counts a pulse."""
        law = self._update
        if not isinstance(law, OneSided):
            raise CapabilityError(f"reset: law {law.law} has no reset; use down pulses")
        selected = self._check_mask(mask)
        level = law.reset_states(self._parameters, self._rng)
        report = self._place(level, selected)
        self._pulses[selected & ~self._stuck] += 1
        return report

    def drift(self, seconds: float) -> None:
        """Let ``seconds`` pass without writing: retention as the law states it; stuck cells keep their value."""
        elapsed = require_number("seconds", seconds, 0.0)
        retention = self._update.retention
        if retention is None:
            return
        self._let_move()
        if isinstance(retention, Leak):
            deviate = self._parameters["retention_deviate"]
            for values in (self._state, self._shown):
                leaked = retention.leaked(values, self._update.start, elapsed, deviate)
                np.copyto(values, leaked, where=~self._stuck)
        self._age_seconds += elapsed

    def disturb(self, fraction: float, attractor: float) -> None:
        """Move each cell by ``fraction`` of its way to the state ``attractor``, in [-1, 1] and held to its own bounds.

        What readings do to a cell; its age goes on. Stuck cells keep their value.
        """
        share = require_number("fraction", fraction, 0.0, 1.0)
        target = np.clip(require_number("attractor", attractor, -1.0, 1.0), self._low, self._high)
        self._let_move()
        for values in (self._state, self._shown):
            np.copyto(values, values + share * (target - values), where=~self._stuck)

    def snapshot(self) -> dict[str, npt.NDArray[Any]]:
        """Return copies of everything that changes (not the generator, nor what construction draws)."""
        return {name: values.copy() for name, values in (self._changing() | self._kept()).items()}

    def restore(self, snapshot: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take back a ``snapshot`` of an equal array; InputError for missing or unknown names and other shapes."""
        changing = self._changing()
        if set(snapshot) - {"siemens"} != set(changing):
            raise InputError(f"snapshot: expected {', '.join(sorted(changing))}, got {', '.join(sorted(snapshot))}")
        # Conductances of cells that were set outright mean nothing to cells that are pulsed, which go by their states.
        kept = {name: values for name, values in self._kept().items() if name in snapshot}
        for name, values in (changing | kept).items():
            given = np.asarray(snapshot[name])
            if given.shape != self._shape or given.dtype != values.dtype:
                raise InputError(
                    f"snapshot.{name}: expected {values.dtype} of shape {self._shape}, "
                    f"got {given.dtype} of {given.shape}"
                )
        self._let_move()
        for name, values in changing.items():
            values[...] = snapshot[name]
        for name in kept:
            self._siemens = np.array(snapshot[name])
            self._siemens.setflags(write=False)

    def _changing(self) -> dict[str, npt.NDArray[Any]]:
        return {
            "state": self._state,
            "shown": self._shown,
            "pulses": self._pulses,
            "age_seconds": self._age_seconds,
        }

    def _kept(self) -> dict[str, FloatArray]:
        """The conductances themselves, of cells that may be set outright: states tell them but for rounding."""
        return {} if self._update.pulsed else {"siemens": self.conductances}

    @property
    def _state(self) -> FloatArray:
        """States in [-1, 1] that updates go on from."""
        self._follow()
        return self._last_state

    @property
    def _shown(self) -> FloatArray:
        """States as they are seen, which differ from those that updates go on from by the noise of a write."""
        self._follow()
        return self._last_shown

    def _follow(self) -> None:
        if self._behind:
            assert self._siemens is not None  # nothing but a state that has followed takes it away
            self._last_state[...] = np.clip(self._to_state(self._siemens), -1.0, 1.0)
            self._last_shown[...] = self._last_state
            self._behind = False

    def _let_move(self) -> None:
        """Conductances are to be found from the states again."""
        self._follow()
        self._siemens = None

    def _pulsed(self, call: str) -> PulsedLaw:
        if not isinstance(self._update, PulsedLaw):
            raise CapabilityError(f"{call}: law {self._update.law} has no pulses; use set()")
        return self._update

    def _place(self, state: FloatArray, selected: BoolArray) -> ProgramReport:
        writable = selected & ~self._stuck
        saturated = writable & ((state > self._high + ROUNDING) | (state < self._low - ROUNDING))
        held = np.clip(state, self._low, self._high)
        self._let_move()
        np.copyto(self._state, held, where=writable)
        np.copyto(self._shown, held, where=writable)
        self._age_seconds[writable] = 0.0
        return ProgramReport(saturated=saturated, stuck=selected & self._stuck)

    def _to_siemens(self, state: FloatArray) -> FloatArray:
        low, high = self._window
        # The ends of the window are hit exactly, so that a conductance read back is never an ulp outside it.
        return np.clip(low + 0.5 * (state + 1.0) * (high - low), low, high)

    def _to_state(self, siemens: FloatArray) -> FloatArray:
        low, high = self._window
        return 2.0 * (siemens - low) / (high - low) - 1.0

    def _check_mask(self, mask: BoolArray | None) -> BoolArray:
        if mask is None:
            return np.ones(self._shape, dtype=np.bool_)
        selected = np.asarray(mask)
        if selected.shape != self._shape or selected.dtype != np.bool_:
            raise InputError(
                f"mask: expected booleans of shape {self._shape}, got {selected.dtype} of {selected.shape}"
            )
        return selected

    def _check_target(self, target_siemens: FloatArray, mask: BoolArray | None) -> tuple[FloatArray, BoolArray]:
        selected = self._check_mask(mask)
        target = self._shaped(target_siemens)
        low, high = self._window
        slack = ROUNDING * (high - low)
        inside = (target >= low - slack) & (target <= high + slack)
        if not bool(np.all(inside | ~selected)):
            cell = _first(~inside & selected)
            raise InputError(
                f"target_siemens: {target[cell]:g} S at cell {cell} lies outside the window [{low:g}, {high:g}] S"
            )
        return np.where(selected, target, low), selected

    def _shaped(self, target_siemens: FloatArray) -> FloatArray:
        target = np.asarray(target_siemens, dtype=np.float64)
        if target.shape != self._shape:
            raise InputError(f"target_siemens: expected shape {self._shape}, got {target.shape}")
        return target


def check_window(window_siemens: tuple[float, float]) -> tuple[float, float]:
    """Return (g_min, g_max) in siemens; InputError unless 0 <= g_min < g_max, both finite."""
    if not isinstance(window_siemens, (tuple, list)) or len(window_siemens) != 2:
        raise InputError(f"window_siemens: expected (g_min, g_max), got {window_siemens!r}")
    low = require_number("window_siemens[0]", window_siemens[0], 0.0)
    return low, require_number("window_siemens[1]", window_siemens[1], low, open_low=True)


def _unchanging(values: FloatArray) -> bool:
    return not (values.flags.writeable or isinstance(values.base, np.ndarray))


def _first(mask: BoolArray) -> tuple[int, ...]:
    return tuple(int(index) for index in np.argwhere(mask)[0])
