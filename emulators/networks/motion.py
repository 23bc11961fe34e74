"""Where a current-mode network is, and how steps move it: phases of so many sweeps, and free running."""

from dataclasses import dataclass, replace
from typing import final

import numpy as np

from emulators.config import SolverConfig
from emulators.networks.current_mode import CurrentModeNetwork
from emulators.networks.stepping import Load, Motion, Push, SteppingMap
from substrate.arrays import FloatArray, Numbers, Reals
from substrate.capabilities import HeldNudge
from substrate.contract import Scale, Snapshot
from substrate.errors import InputError


@final
@dataclass(frozen=True)
class Moved:
    """Outputs (batch, reading, node) in activity units, and the residual of each, (batch, reading)."""

    s: Numbers
    residual: FloatArray


@final
class Mover:
    """Keeps the state that steps move, and what they are computed with.

    Args:
        solver: number and length of sweeps, precision.
        noise: standard deviation of white noise on the summed inputs, activity units, drawn at every step.
        scale: volts and siemens of a unit.
        rng: draws the noise.

    Attributes:
        dtype: of all arithmetic.
        sweeping: whether free and nudged phases are so many sweeps.
        tolerance: residual up to which a state is called settled.
        noisy: whether two phases under the same nudge differ.
    """

    def __init__(self, solver: SolverConfig, noise: float, scale: Scale, rng: np.random.Generator) -> None:
        self.sweeping = solver.relaxation == "sweeps"
        self.tolerance = solver.sweeps.tolerance if self.sweeping else solver.residual
        self._sweeps = solver.sweeps
        self.dtype = np.dtype(solver.precision)
        self._noise = noise
        self.noisy = noise > 0.0
        self._scale = scale
        self._rng = rng
        self._network: CurrentModeNetwork | None = None
        self._map: SteppingMap | None = None
        self._drive: FloatArray | None = None
        self._held: Reals = np.zeros((1, 0, 0), dtype=self.dtype)
        self._free: Motion | None = None
        self._motion: Motion | None = None
        self._start: FloatArray | None = None
        self._rested = True
        self._pushed: tuple[HeldNudge, Push] | None = None

    def rest(self) -> None:
        """The next steps begin at u = 0; held nudges still begin in the free state."""
        self._motion = self._start = None
        self._rested = True

    def forget(self) -> None:
        """Another batch is held: there is no free state of it yet."""
        self._free = None
        self.rest()

    def begin_at(self, u: FloatArray) -> None:
        """The next steps begin at summed inputs (batch, node)."""
        self._motion, self._start, self._rested = None, u, False

    def settle(self, network: CurrentModeNetwork, drive: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """The free phase from rest: summed inputs and outputs (batch, node), residual (batch,)."""
        mapped = self._mapped(network, drive)
        if self._noise or not len(drive):
            self._free = mapped.at(np.zeros_like(drive), self._rng)
        else:
            self._free = mapped.at(np.zeros_like(drive[:1]), self._rng).repeated(len(drive))
        push = Push(self._held)
        residual = mapped.advance(self._free, push, self._sweeps.free, self._sweeps.time_constants, self._rng)
        self._motion, self._rested = None, False
        u = np.asarray(mapped.restore(self._free.u).real, dtype=np.float64)
        return u, np.asarray(mapped.restore(self._free.s).real), residual

    def nudged(self, network: CurrentModeNetwork, drive: FloatArray, nudge: HeldNudge) -> Moved:
        """The nudged phases of all points side by side, from the free state that ``settle`` left."""
        assert self._free is not None
        mapped = self._mapped(network, drive)
        batch, points, _ = nudge.amperes.shape
        _expect_batch(batch, len(drive))
        motion, push = self._acted(mapped, nudge, self._free.repeated(points))
        residual = mapped.advance(motion, push, self._sweeps.nudged, self._sweeps.time_constants, self._rng)
        s = mapped.restore(motion.s).reshape(points, batch, -1)
        return Moved(s.transpose(1, 0, 2), residual.reshape(points, batch).T)

    def evolve(
        self,
        network: CurrentModeNetwork,
        drive: FloatArray,
        nudge: HeldNudge | None,
        steps: int,
        time_constants: float,
        every: int,
    ) -> Moved:
        """Steps from where the network is, read as ``Substrate.evolve`` says."""
        mapped = self._mapped(network, drive)
        if self._motion is None:
            if self._start is not None:
                self._motion = mapped.at(self._start, self._rng)
            else:
                # The free state of sweeps goes on living: nudges begin there.
                free = None if self._rested else self._free
                self._motion = mapped.at(np.zeros_like(drive), self._rng) if free is None else free.repeated(1)
        push = Push(self._held)
        if nudge is not None:
            _expect_batch(len(nudge.amperes), len(drive))
            self._motion, push = self._acted(mapped, nudge, self._motion)
        elif self._motion.complex:
            push = Push(_padded(self._held))
        lengths = [steps] if not every else [every] * (steps // every)
        outputs, residuals = [], []
        for length in lengths:
            residuals.append(mapped.advance(self._motion, push, length, time_constants, self._rng))
            outputs.append(mapped.restore(self._motion.s))
        if sum(lengths) < steps:
            mapped.advance(self._motion, push, steps - sum(lengths), time_constants, self._rng)
        return Moved(np.stack(outputs, axis=1), np.stack(residuals, axis=1))

    def _mapped(self, network: CurrentModeNetwork, drive: FloatArray) -> SteppingMap:
        if self._map is None or self._network is None or self._network.neurons is not network.neurons:
            self._pushed = None
            self._map = SteppingMap(network.layers, network.blocks, network.neurons, self.dtype, self._noise)
        elif self._network is not network:
            self._map.weigh(network.blocks)
        self._network = network
        if self._drive is not drive:
            self._drive, self._held = drive, self._map.arrange(drive)
        return self._map

    def _acted(self, mapped: SteppingMap, nudge: HeldNudge, motion: Motion) -> tuple[Motion, Push]:
        """The state, complex if it has to be, and what acts on it, points one after another along the rows."""
        # One that was checked is another object whenever what it asks for may have changed.
        if self._pushed is None or self._pushed[0] is not nudge:
            self._pushed = nudge, self._push(mapped, nudge)
        push = self._pushed[1]
        batch, points, nodes = nudge.amperes.shape
        currents = push.currents
        if nudge.complex or motion.complex:
            currents = currents if len(currents) == 2 else _padded(currents)
            motion = motion if motion.complex else Motion(_padded(motion.u), _padded(motion.s))
        held = self._held if len(currents) == 1 else _padded(self._held)
        total = currents.reshape(len(currents), points, batch, nodes) + held[:, None]
        return motion, replace(push, currents=total.reshape(currents.shape))

    def _push(self, mapped: SteppingMap, nudge: HeldNudge) -> Push:
        """What a nudge does by itself, points one after another along the rows."""
        batch, points, nodes = nudge.amperes.shape
        currents = mapped.arrange((nudge.amperes / self._scale.unit_amperes).transpose(1, 0, 2))
        load = None
        if nudge.siemens is not None:
            siemens = (nudge.siemens / self._scale.unit_siemens).transpose(1, 0, 2).reshape(points * batch, nodes)
            load = Load(siemens[:, mapped.order], self.dtype)
        # Row i of the request is the current into node i; weights are (source, target).
        cross = () if nudge.cross_siemens is None else mapped.cross(-nudge.cross_siemens.T / self._scale.unit_siemens)
        return Push(currents.reshape(len(currents), points * batch, nodes), load, cross)

    def snapshot(self) -> Snapshot:
        """The generator; no state outlives what is held."""
        return {"generator": self._rng.bit_generator.state}

    def restore(self, snapshot: Snapshot) -> None:
        """Put a snapshot back, at rest."""
        self._rng.bit_generator.state = snapshot["generator"]
        self.forget()


def _padded(values: Reals) -> Reals:
    """With an imaginary part of zero."""
    return np.concatenate([values, np.zeros_like(values)])


def _expect_batch(found: int, wanted: int) -> None:
    if found != wanted:
        raise InputError(f"held nudge: expected a batch of {wanted}, got {found}")
