"""One emulated crossbar behind the contract: programmable cells in their wires, seen from the ports."""

from numbers import Integral
from typing import Any, final

import numpy as np
from pydantic import ValidationError

from emulators.aging import Surroundings
from emulators.array_meter import ArrayMeter
from emulators.array_operations import ArrayOperations
from emulators.arrays import DifferentialArray
from emulators.config import (
    CellsConfig,
    EmulatorConfig,
    LimitsConfig,
    NoiseConfig,
    OperationConfig,
    TemperatureConfig,
    WiresConfig,
)
from emulators.memristors.updates import update_from_config
from emulators.memristors.updates.checks import require_number
from substrate.arrays import BoolArray, FloatArray, IntArray
from substrate.capabilities import Capabilities, Limits, WriteRequest
from substrate.contract import CrossbarArray, Direction
from substrate.errors import InputError
from substrate.ledger import Ledger
from substrate.validation import describe

CELLS = "cells"
"""What the array is called in its ledger."""


def _is_count(lines: object) -> bool:
    return isinstance(lines, Integral) and int(lines) >= 1


@final
class EmulatedCrossbar(CrossbarArray):
    """A single crossbar of ohmic cells, read in both directions and written by pulses or outright as its cells are.

    The circuit is solved anew after every write. As with a switch matrix, lines keep the voltages of the last read
    until the safe state. Cells age and fluctuate, readings are noisy, and everything is booked as in an emulated
    network.

    Args:
        shape: (word lines, bit lines).
        cells: window, spread, stuck cells, disturb, forming and endurance; ``unit_siemens`` has no meaning for single
            cells.
        update: how cells are written, ``{law: NAME, ...}`` or ``{preset: NAME, ...}``; ``{law: ideal}`` is outright.
        wires: resistances; ``refresh`` has to be ``every_write``.
        limits: what the array survives.
        noise: thermal and shot noise of the currents, fluctuations and read disturb of the cells; those of readings in
            volts belong to networks.
        temperature: of the cells.
        operation: durations and voltages of operations.
        line_farads: capacitance of each line.
        read_noise_amperes: standard deviation of the noise that the sense input adds to each current.
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
        noise: NoiseConfig | None = None,
        temperature: TemperatureConfig | None = None,
        operation: OperationConfig | None = None,
        line_farads: float = 0.0,
        read_noise_amperes: float = 0.0,
    ) -> None:
        given: dict[str, Any] = {
            "cells": cells,
            "update": update,
            "wires": wires,
            "limits": limits,
            "noise": noise,
            "temperature": temperature,
            "operation": operation,
        }
        law = update_from_config(update or {"law": "ideal"})
        try:
            config = EmulatorConfig.model_validate(
                {"backend": "emulator", "neurons": {"line_farads": line_farads}}
                | {key: section for key, section in given.items() if section is not None}
            )
        except ValidationError as error:
            raise InputError(describe(error, "crossbar", model=EmulatorConfig)) from error
        if config.wires.refresh != "every_write":
            raise InputError(f"wires.refresh: a single crossbar takes only every_write, got {config.wires.refresh!r}")
        if config.cells.law != "ohmic":
            raise InputError(f"cells.law: a single crossbar is of ohmic cells, got {config.cells.law}")
        for key, volts in (
            ("mains", config.noise.mains.volts),
            ("reading_flicker", config.noise.reading_flicker.white_volts_per_root_hertz),
        ):
            if volts:
                raise InputError(f"noise.{key}: of readings in volts; a crossbar reads currents, expected none")
        require_number("read_noise_amperes", read_noise_amperes, 0.0)
        if not (isinstance(shape, tuple) and len(shape) == 2 and all(_is_count(lines) for lines in shape)):
            raise InputError(f"shape: expected (word lines, bit lines), got {shape!r}")
        device_rng, self._noise_rng, operations_rng, aging_rng = rng.spawn(4)
        self._array = DifferentialArray(
            shape,
            config.cells,
            config.wires,
            law,
            device_rng,
            polarities=1,
            surroundings=Surroundings(config.noise, config.temperature, aging_rng),
        )
        self.ledger = Ledger((CELLS,))
        arrays = {CELLS: self._array}
        meter = ArrayMeter(self.ledger, arrays, config)
        self._operations = ArrayOperations(arrays, config, meter, operations_rng)
        self._read_noise_amperes = float(read_noise_amperes)
        self._line_volts = np.zeros(0)
        steps = self._array.devices.nominal_step_siemens if law.pulsed else (0.0, 0.0)
        self._capabilities = Capabilities(
            limits=Limits(config.limits.read_volts, config.limits.write_volts, config.limits.current_amperes),
            conductance_window_siemens=config.cells.window_siemens,
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
        _, rows, columns = self._array.devices.shape
        return rows, columns

    @property
    def line_volts(self) -> FloatArray:
        """Voltages that stand on the driven lines now, (driven,) volts; empty with the matrix open."""
        return self._line_volts.copy()

    def wait(self, seconds: float) -> None:
        """Let time pass on the array's clock, nothing being driven: retention and fluctuations.

        Raises:
            InputError: not open, seconds that are negative or not finite.
        """
        self._require_open()
        self._operations.wait(seconds)

    def _open(self) -> None:
        self._safe_state()

    def _safe_state(self) -> None:
        self._line_volts = np.zeros(0)

    def _close(self) -> None:
        """Nothing is connected."""

    def _read(self, volts: FloatArray, direction: Direction) -> FloatArray:
        self._operations.age()
        if len(volts):
            self._line_volts = volts[-1].copy()
        amperes = self._array.read(volts, direction).amperes
        currents = self._operations.products(CELLS, volts, amperes, direction)
        if self._read_noise_amperes > 0:
            currents = currents + self._read_noise_amperes * self._noise_rng.standard_normal(currents.shape)
        return np.asarray(currents)

    def _read_cells(self) -> FloatArray:
        return np.asarray(self._operations.cells(CELLS)[0])

    def _pulse(self, counts: IntArray) -> BoolArray:
        return np.asarray(self._operations.write(WriteRequest(CELLS, pulses=counts[None])).failed[0])

    def _set(self, target_siemens: FloatArray) -> BoolArray:
        request = WriteRequest(CELLS, target_siemens=target_siemens[None])
        return np.asarray(self._operations.write(request).failed[0])
