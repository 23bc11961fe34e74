"""What each instrument of a wiring may drive at most, by the limits of the device that it is wired to."""

from drivers.limits import DriveLimits
from drivers.wiring import WiringConfig, split
from substrate.errors import InputError


def drive_limits(
    wiring: WiringConfig, read_volts: float, write_volts: float, current_amperes: float, write_amperes: float
) -> dict[str, DriveLimits]:
    """What each instrument may drive at most, from what it is wired to; the least of its roles.

    Raises:
        InputError: a source meter at the matrix is wired to a node as well.
        CapabilityError: cells would be read at more than ``read_volts``, which source meters that write do not refuse.
    """
    DriveLimits(read_volts).check_volts("cells.pulses.read_volts", wiring.cells.pulses.read_volts)
    stands = (wiring.cells.drive, wiring.cells.sense, *wiring.cells.bias)
    wired = {stand.instrument for stand in stands}
    ports = [(f"inputs.{place}", port) for place, port in enumerate(wiring.inputs)]
    ports += [(f"nudges.{node}", nudge.port) for node, nudge in wiring.nudges.items()]
    for key, port in ports:
        if split(port)[0] in wired:
            raise InputError(f"{key}: {split(port)[0]} is at the matrix (cells), and cannot be wired to a node as well")
    found: dict[str, list[float]] = {}
    for port in wiring.inputs:
        found.setdefault(split(port)[0], []).append(read_volts)
    for nudge in wiring.nudges.values():
        found.setdefault(split(nudge.port)[0], []).append(current_amperes / nudge.siemens)
    if wiring.reference is not None:
        found.setdefault(split(wiring.reference.port)[0], []).append(wiring.reference.volts)
    for port in wiring.nodes.values():
        # What only reads puts nothing out.
        found.setdefault(split(port)[0], [read_volts])
    limits = {name: DriveLimits(min(volts), write_amperes) for name, volts in found.items()}
    return limits | {name: DriveLimits(write_volts, write_amperes) for name in wired}
