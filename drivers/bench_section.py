"""The ``substrate`` section of a bench, and the wiring file that it names."""

from pathlib import Path
from typing import Literal, final

from pydantic import Field

from drivers.ready_bench import ready_addresses
from drivers.wiring import WiringConfig, load_wiring
from substrate.errors import InputError
from substrate.loop import LoopConfig
from substrate.sections import Positive, Section


@final
class BenchLimitsConfig(Section):
    """What no request may exceed: of inputs and readings, of pulses, of nudges, and the largest compliance."""

    read_volts: Positive = 0.25
    write_volts: Positive = 2.0
    current_amperes: Positive = 2.0e-5
    write_amperes: Positive = 1.0e-3


@final
class BenchConfig(Section):
    """The ``substrate`` section of a bench.

    Attributes:
        wiring: path of the wiring file.
        addresses: that replace the file's, by instrument; or the ready file of a virtual bench.
        volts_per_unit: volts of an activity of one.
        unit_siemens: conductance of a weight of one.
        limits: see ``BenchLimitsConfig``.
        loop: of a wiring without nodes, whose neurons are closed in software.
        transcript: keep all that is said to the instruments, and by them, in the run file (/instruments/transcript).
    """

    backend: Literal["bench"]
    wiring: str
    addresses: dict[str, str] | str = Field(default_factory=dict)
    volts_per_unit: Positive = 0.2
    unit_siemens: Positive = 2.5e-5
    limits: BenchLimitsConfig = BenchLimitsConfig()
    loop: LoopConfig | None = None
    transcript: bool = False


def wiring_of(config: BenchConfig) -> tuple[WiringConfig, InputError | None]:
    """The wiring, and what keeps its instruments out of reach.

    Raises:
        InputError: there is no such file, or it is no wiring.
    """
    if not Path(config.wiring).is_file():
        raise InputError(
            f"substrate.wiring: {config.wiring}: no such file; a path counts from where the command runs, now "
            f"{Path.cwd()}"
        )
    if not isinstance(config.addresses, str):
        return load_wiring(config.wiring, config.addresses), None
    try:
        addresses, missing = ready_addresses(config.addresses), None
    except InputError as error:
        # Described all the same, for a dry run; whoever opens it is told.
        addresses, missing = None, error
    # A virtual bench has cells of its own.
    return load_wiring(config.wiring, addresses).counted_in(None), missing
