"""One cell: its current against voltage, and its conductance after each pulse up and down."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from laboratory import arguments, array, carry_out, of_array, table, whole

from drivers.smu_matrix import SmuMatrixArray
from substrate.capabilities import WriteRequest


def measured(cells: SmuMatrixArray, row: int, column: int, points: int, pulses: int, most: float) -> Iterator[Any]:
    for volts in np.linspace(-most, most, points):
        if volts:
            yield "sweep", 0, float(volts), cells.read_cell(row, column, float(volts)) * float(volts)
    level = cells.read_volts
    for number in range(2 * pulses + 1):
        if number:
            counts = np.zeros(cells.shape, dtype=int)
            counts[row, column] = 1 if number <= pulses else -1
            cells.write_cells(WriteRequest("cell", pulses=counts))
        yield "pulse", number, level, cells.read_cell(row, column) * level


def main() -> None:
    parser = of_array(arguments(__doc__))
    parser.add_argument("--row", type=whole(0), default=0)
    parser.add_argument("--column", type=whole(0), default=0)
    parser.add_argument("--points", type=whole(2), default=20, help="voltages of the sweep")
    parser.add_argument("--pulses", type=whole(0), default=20, help="up, and then down")
    options = parser.parse_args()
    with array(options) as cells:
        rows = measured(cells, options.row, options.column, options.points, options.pulses, options.read_volts)
        table(options, ("what", "pulse", "volts", "amperes"), rows)


if __name__ == "__main__":
    carry_out(main)
