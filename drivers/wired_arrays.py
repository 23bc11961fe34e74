"""The arrays of cells that a wiring reaches through its switch matrix, which share one station."""

from drivers.rack import Rack
from drivers.smu_matrix import SmuMatrixArray
from drivers.station import Station
from drivers.wiring import WiringConfig


def arrays_of(wiring: WiringConfig, rack: Rack, read_volts: float, *, own: bool) -> dict[str, SmuMatrixArray]:
    """The arrays whose lines the matrix reaches, by name.

    Args:
        wiring: the file.
        rack: its instruments.
        read_volts: what lines survive while they are read, whatever cells are read at alone.
        own: each opens and closes the instruments it needs.

    Raises:
        InputError: an instrument of the wrong kind, lines that do not exist.
    """
    cells = wiring.cells
    station = Station(
        rack.matrix("cells.matrix", cells.matrix),
        rack.source_meter("cells.drive", cells.drive.instrument),
        cells.drive.row,
        rack.source_meter("cells.sense", cells.sense.instrument),
        cells.sense.row,
        tuple(
            (rack.source_meter(f"cells.bias.{place}", one.instrument), one.row) for place, one in enumerate(cells.bias)
        ),
        cells.ground_row,
    )
    return {
        name: SmuMatrixArray(station, lines.rows, lines.columns, cells.pulses, read_volts, name=name, owns=own)
        for name, lines in cells.lines.items()
    }
