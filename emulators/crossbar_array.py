"""One emulated crossbar behind the contract: programmable cells in their wires, seen from the ports."""

from typing import Any, final

import numpy as np

from emulators.config import CellsConfig, LimitsConfig, WiresConfig
from emulators.crossbar import Crossbar
from emulators.memristors.devices import Devices
from emulators.memristors.updates import update_from_config
from substrate.arrays import BoolArray, FloatArray, IntArray
from substrate.capabilities import Capabilities, Limits
from substrate.contract import CrossbarArray, Direction
from substrate.errors import InputError


@final
class EmulatedCrossbar(CrossbarArray):
    """A single crossbar of ohmic cells, read in both directions and written by pulses or outright as its cells are.

    The effective matrix of each direction (wires and terminations included) carries the circuit, and is computed anew
    after every write. As with a switch matrix, lines keep the voltages of the last read until the safe state.

    Args:
        shape: (word lines, bit lines).
        cells: window, spread and stuck cells; ``unit_siemens`` has no meaning for single cells.
        update: how cells are written, ``{law: NAME, ...}`` or ``{preset: NAME, ...}``; ``{law: ideal}`` is outright.
        wires: resistances; ``refresh`` has to be ``every_write``.
        limits: what the array survives.
        read_noise_amperes: standard deviation of the noise of each current that is read.
        rng: its children draw the cells and the noise.

    Raises:
        InputError: names the argument and what was expected.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        rng: np.random.Generator,
        *,
        cells: CellsConfig | None = None,
        update: dict[str, Any] | None = None,
        wires: WiresConfig | None = None,
        limits: LimitsConfig | None = None,
        read_noise_amperes: float = 0.0,
    ) -> None:
        cells, wires, limits = cells or CellsConfig(), wires or WiresConfig(), limits or LimitsConfig()
        law = update_from_config(update or {"law": "ideal"})
        if wires.refresh != "every_write":
            raise InputError(f"wires.refresh: a single crossbar takes only every_write, got {wires.refresh!r}")
        if cells.law != "ohmic":
            raise InputError(f"cells.law: a single crossbar is of ohmic cells, got {cells.law}")
        for key in ("disturb", "forming", "endurance"):
            if getattr(cells, key) is not None:
                raise InputError(f"cells.{key}: not modelled in a single crossbar; expected none")
        if not (np.isfinite(read_noise_amperes) and read_noise_amperes >= 0):
            raise InputError(f"read_noise_amperes: expected a finite number >= 0, got {read_noise_amperes!r}")
        if len(shape) != 2:
            raise InputError(f"shape: expected (word lines, bit lines), got {shape!r}")
        device_rng, self._noise_rng = rng.spawn(2)
        self._devices = Devices(shape, cells.window_siemens, law, device_rng, cells.spread, cells.stuck)
        self._circuit = Crossbar(
            self._devices.conductances,
            wordline_resistance=wires.segment_ohms,
            bitline_resistance=wires.segment_ohms,
            source_resistance=wires.source_ohms,
            sense_resistance=wires.sense_ohms,
        )
        self._read_noise_amperes = float(read_noise_amperes)
        self._effective: dict[Direction, FloatArray] = {}
        self._line_volts = np.zeros(0)
        steps = self._devices.nominal_step_siemens if law.pulsed else (0.0, 0.0)
        self._capabilities = Capabilities(
            limits=Limits(limits.read_volts, limits.write_volts, limits.current_amperes),
            conductance_window_siemens=cells.window_siemens,
            step_siemens=(float(steps[0]), float(steps[1])),
            highest_frequency_hz=float("inf"),
            pulses=law.pulsed,
            continuous_writing=not law.pulsed,
            simultaneous_sampling=True,
            complex_nudges=False,
            node_nudges=False,
            forward_products=True,
            exact_adjoint=False,
            state_snapshots=False,
        )

    @property
    def capabilities(self) -> Capabilities:
        """What the array can do and survive."""
        return self._capabilities

    @property
    def shape(self) -> tuple[int, int]:
        """(word lines, bit lines)."""
        return self._circuit.shape

    @property
    def line_volts(self) -> FloatArray:
        """Voltages that stand on the driven lines now, (driven,) volts; empty with the matrix open."""
        return self._line_volts.copy()

    def _open(self) -> None:
        self._safe_state()

    def _safe_state(self) -> None:
        self._line_volts = np.zeros(0)

    def _close(self) -> None:
        self._effective = {}

    def _read(self, volts: FloatArray, direction: Direction) -> FloatArray:
        if direction not in self._effective:
            self._effective[direction] = self._circuit.effective_conductances(direction)
        if len(volts):
            self._line_volts = volts[-1].copy()
        currents = volts @ self._effective[direction]
        if self._read_noise_amperes > 0:
            currents = currents + self._read_noise_amperes * self._noise_rng.standard_normal(currents.shape)
        return np.asarray(currents)

    def _read_cells(self) -> FloatArray:
        return self._devices.conductances

    def _pulse(self, counts: IntArray) -> BoolArray:
        self._devices.pulse(counts)
        self._changed()
        return np.asarray(self._devices.stuck & (counts != 0))

    def _set(self, target_siemens: FloatArray) -> BoolArray:
        self._devices.set(target_siemens)
        self._changed()
        return np.asarray(self._devices.stuck & (self._devices.conductances != target_siemens))

    def _changed(self) -> None:
        self._circuit.program(self._devices.conductances)
        self._effective = {}
