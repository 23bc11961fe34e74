"""The instruments of a wiring file as one, and the roles that each of them can take."""

from collections.abc import Mapping
from typing import Any, Final, final

from drivers.data_logger import DataLogger
from drivers.errors import BenchError, raise_first
from drivers.generator import SourceOutput, VoltageOutput, WaveformGenerator, WaveformOutput
from drivers.instrument import Instrument
from drivers.instrument_models import DRIVING, READING
from drivers.keithley_2600 import Keithley2600
from drivers.keysight_infiniivision import KeysightInfiniiVision
from drivers.limits import DriveLimits
from drivers.lock_in import LockIn
from drivers.red_pitaya import RedPitaya
from drivers.resource import open_link
from drivers.rigol_ds1000z import RigolDS1000Z
from drivers.shared_link import SharedLink
from drivers.source_meter import SourceMeter
from drivers.switch_matrix import SwitchMatrix
from drivers.transport import Link, Transcript
from drivers.wire_log import HeardLog
from drivers.wiring import WiringConfig, split
from substrate.errors import InputError
from substrate.services import Instruments

NOTHING: Final = DriveLimits(0.0, 0.0)
"""Of an instrument without a role."""

Reader = KeysightInfiniiVision | RigolDS1000Z | RedPitaya | LockIn | DataLogger
"""What reads nodes."""


@final
class Rack(Instruments):
    """The instruments of a wiring file, unopened until ``open``.

    Args:
        wiring: which there are.
        limits: of those that drive something, by name; others may drive nothing.
        wire_log: hears all that is sent and received.
    """

    def __init__(
        self, wiring: WiringConfig, limits: Mapping[str, DriveLimits], wire_log: HeardLog | None = None
    ) -> None:
        self.wire_log = wire_log
        self._all: dict[str, Instrument] = {}
        self._models = {name: section.model for name, section in wiring.instruments.items()}
        shared: dict[str, tuple[Link, list[SharedLink]]] = {}
        for name, section in wiring.instruments.items():
            options: dict[str, Any] = {"timeout_seconds": section.timeout_seconds}
            if section.channel is not None:
                options["channel"] = section.channel
            if wire_log is not None:
                options["transcript"] = _hearer(wire_log, name)
            if section.model == "keithley-2600":
                # Both channels of one that accepts a single client.
                seconds, hearer = section.timeout_seconds, options.pop("transcript", None)
                if section.address not in shared:
                    shared[section.address] = open_link(section.address, connect_seconds=seconds), []
                link = SharedLink(*shared[section.address], hearer)
                self._all[name] = Keithley2600(link, limits.get(name, NOTHING), **options)
            elif section.model in READING:
                self._all[name] = READING[section.model](section.address, **options)
            else:
                self._all[name] = DRIVING[section.model](section.address, limits.get(name, NOTHING), **options)

    def snapshot(self) -> dict[str, Any]:
        """Identity and every setting, by name of the instrument."""
        return {name: instrument.snapshot() for name, instrument in self._all.items()}

    def open(self) -> None:
        """Open all. Where one is not there the others are made safe all the same: somebody may have left them on.

        Raises:
            BenchError: the first that is not there; the others are named in notes.
        """
        failures: list[Exception] = []
        for name, instrument in self._all.items():
            if instrument.is_open:
                continue
            try:
                instrument.open()
            except BenchError as error:
                # An address alone says nothing to whoever looks at a bench.
                named = type(error)(f"instruments.{name}: {error}")
                named.__cause__ = error
                failures.append(named)
            except Exception as error:
                failures.append(error)
        if failures:
            try:
                self.safe_state()
            except Exception as error:
                failures.append(error)
        raise_first(failures)

    def close(self) -> None:
        """Close all connections."""
        for instrument in self._all.values():
            instrument.close()

    def safe_state(self) -> None:
        """Outputs at zero: generators, then source meters, then the matrix, then the rest; all are tried.

        Raises:
            BenchError: the first that failed, with notes on the others.
        """
        order = (WaveformGenerator, SourceMeter, SwitchMatrix, Instrument)
        rank = {
            name: next(k for k, kind in enumerate(order) if isinstance(one, kind)) for name, one in self._all.items()
        }
        failures: list[Exception] = []
        for name in sorted(self._all, key=lambda name: rank[name]):
            if self._all[name].is_open:
                try:
                    self._all[name].safe_state()
                except Exception as error:
                    failures.append(error)
        raise_first(failures)

    # Roles. ``key`` is that of the wiring file, for messages.

    def generator(self, key: str, name: str) -> WaveformGenerator:
        """What puts out a sine.

        Raises:
            InputError: it cannot; names the role.
        """
        found = self._find(key, name)
        if not isinstance(found, WaveformGenerator):
            raise self._refused(key, name, "cannot put out a sine that follows a clock", "a waveform generator")
        return found

    def waveform_output(self, key: str, port: str) -> WaveformOutput:
        """A generator's output.

        Raises:
            InputError: as ``generator``; or there is no such output.
        """
        name, number = split(port)
        outputs = self.generator(key, name).waveform_outputs
        if number not in outputs:
            raise InputError(f"{key}: {name} has the outputs {', '.join(map(str, outputs))}, got {port}")
        return outputs[number]

    def voltage_output(self, key: str, port: str) -> VoltageOutput:
        """What holds a voltage: a generator's output, or a source meter.

        Raises:
            InputError: it cannot; names the role.
        """
        name, number = split(port)
        found = self._find(key, name)
        if isinstance(found, SourceMeter):
            if number != 1:
                raise InputError(f"{key}: {name} is one channel, {name}.1, got {port}")
            return SourceOutput(found)
        if not isinstance(found, WaveformGenerator):
            raise self._refused(key, name, "cannot hold a voltage", "a waveform generator or a source meter")
        return self.waveform_output(key, port)

    def source_meter(self, key: str, name: str) -> SourceMeter:
        """What pulses cells and measures their currents.

        Raises:
            InputError: it cannot; names the role.
        """
        found = self._find(key, name)
        if not isinstance(found, SourceMeter):
            raise self._refused(key, name, "cannot source a voltage and measure its current", "a source meter")
        return found

    def matrix(self, key: str, name: str) -> SwitchMatrix:
        """What joins source meters to lines.

        Raises:
            InputError: it cannot; names the role.
        """
        found = self._find(key, name)
        if not isinstance(found, SwitchMatrix):
            raise self._refused(key, name, "cannot join source meters to lines", "a switch matrix")
        return found

    def reader(self, key: str, name: str) -> Reader:
        """What reads nodes.

        Raises:
            InputError: it cannot; names the role.
        """
        found = self._find(key, name)
        if not isinstance(found, Reader):
            kinds = "an oscilloscope, a digitizer, a lock-in or a data logger"
            raise self._refused(key, name, "cannot read the voltage of a node", kinds)
        return found

    def _find(self, key: str, name: str) -> Instrument:
        if name not in self._all:
            raise InputError(f"{key}: the section instruments has no {name!r}; expected one of {', '.join(self._all)}")
        return self._all[name]

    def _refused(self, key: str, name: str, lacking: str, wanted: str) -> InputError:
        return InputError(f"{key}: {name} is a {self._models[name]}, which {lacking}; expected {wanted}")


def _hearer(log: HeardLog, name: str) -> Transcript:
    return lambda seconds, address, direction, data: log.hear(name, direction, data)
