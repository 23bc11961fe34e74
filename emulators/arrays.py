"""Arrays of programmable cells behind wires, in differential pairs, as a current-mode network uses them."""

from typing import final

import numpy as np

from emulators.config import CellsConfig, WiresConfig
from emulators.crossbar import Crossbar
from emulators.memristors.devices import Devices
from emulators.memristors.updates import UpdateLaw
from substrate.arrays import FloatArray
from substrate.capabilities import WriteRequest
from substrate.contract import Direction, Snapshot, WriteReport


@final
class DifferentialArray:
    """Two crossbars of equal shape whose currents are subtracted; w = (g+ - g-)/unit as its ports see it.

    The effective matrices of both (wires and terminations included) carry the circuit; they are computed anew as
    ``wires.refresh`` says, and only when a conductance has changed.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        cells: CellsConfig,
        wires: WiresConfig,
        update: UpdateLaw,
        rng: np.random.Generator,
    ) -> None:
        self._rng = rng
        self._wires = wires
        self._unit_siemens = cells.unit_siemens
        self.devices = Devices((2, *shape), cells.window_siemens, update, rng, cells.spread, cells.stuck)
        self._writes_since_refresh = 0
        self._seen_siemens = self.devices.conductances
        self._effective: dict[Direction, FloatArray] = {}
        self._circuit = Crossbar(
            self._seen_siemens[0],
            wordline_resistance=wires.segment_ohms,
            bitline_resistance=wires.segment_ohms,
            source_resistance=wires.source_ohms,
            sense_resistance=wires.sense_ohms,
        )

    @property
    def ideal_wires(self) -> bool:
        """Whether no resistance stands between the cells and the ports."""
        return not (self._wires.segment_ohms or self._wires.source_ohms or self._wires.sense_ohms)

    def weights(self, direction: Direction = "forward") -> FloatArray:
        """Effective weights, (driven, sensed): forward (rows, columns), backward (columns, rows)."""
        if direction not in self._effective:
            seen = self._seen_siemens
            if self.ideal_wires:
                differential = seen[0] - seen[1]
                matrix = differential if direction == "forward" else differential.T
            else:
                ports = self._circuit.effective_conductances_of(seen, direction)
                matrix = ports[0] - ports[1]
            self._effective[direction] = np.ascontiguousarray(matrix / self._unit_siemens)
        return self._effective[direction]

    def write(self, request: WriteRequest) -> WriteReport:
        """Carry out a checked write."""
        stuck = self.devices.stuck
        if request.pulses is not None:
            report = self.devices.pulse(request.pulses)
            self._changed()
            return WriteReport(report.pulses, stuck & (np.asarray(request.pulses) != 0))
        self.devices.set(request.target_siemens)
        self._changed()
        return WriteReport(0, np.asarray(stuck & (self.devices.conductances != request.target_siemens)))

    def _changed(self) -> None:
        self._writes_since_refresh += 1
        refresh = self._wires.refresh
        now = self.devices.conductances
        if refresh == "every_write":
            due = True
        elif refresh >= 1:
            due = self._writes_since_refresh >= refresh
        else:
            due = bool(np.linalg.norm(now - self._seen_siemens) > refresh * np.linalg.norm(self._seen_siemens))
        if due:
            self._writes_since_refresh = 0
            self._seen_siemens = now
            self._effective = {}

    def snapshot(self) -> Snapshot:
        """Everything that changes, the generator included."""
        return {
            "devices": self.devices.snapshot(),
            "generator": self._rng.bit_generator.state,
            "seen_siemens": self._seen_siemens,
            "writes_since_refresh": self._writes_since_refresh,
        }

    def restore(self, snapshot: Snapshot) -> None:
        """Put a snapshot back."""
        self.devices.restore(snapshot["devices"])
        self._rng.bit_generator.state = snapshot["generator"]
        self._seen_siemens = snapshot["seen_siemens"]
        self._writes_since_refresh = int(snapshot["writes_since_refresh"])
        self._effective = {}
