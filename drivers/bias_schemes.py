"""Schemes of bias: what unselected lines are joined to while a cell is read or written.

    scheme      unselected rows   unselected columns   sources of bias
    floating    open              open                 0
    grounded    ground            ground               0
    half        V/2               V/2                  1
    third       V/3               2V/3                 2

A bias stands from before the first pulse of a burst until after the last one, pauses included: instruments that are
told what to do one after another cannot begin and end a bias with each pulse. Cells of the selected row and column see
their share of the voltage for twice as long as the pulses last, and for the exchanges around them (tens of
milliseconds). Where that disturbs them, let bursts be short.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal

Scheme = Literal["floating", "grounded", "half", "third"]

SHARES: Final[Mapping[Scheme, tuple[float, ...]]] = {
    "floating": (),
    "grounded": (),
    "half": (0.5,),
    "third": (1.0 / 3.0, 2.0 / 3.0),
}
"""Of a pulse's voltage, for each source of bias that a scheme takes."""


def unselected_relays(
    scheme: Scheme, rows: Sequence[int], columns: Sequence[int], ground_row: int | None, bias_rows: Sequence[int]
) -> set[tuple[int, int]]:
    """Relays of a switch matrix, (its row, its column), that give unselected lines what a scheme says.

    Args:
        scheme: which the station was found to have.
        rows, columns: unselected lines of the array, as columns of the matrix.
        ground_row: of the matrix, tied to ground.
        bias_rows: of the matrix, wired to the sources of bias, in the order of ``SHARES``.
    """
    if scheme == "floating":
        return set()
    if scheme == "grounded":
        assert ground_row is not None  # what Station.check() looked for
        return {(ground_row, line) for line in (*rows, *columns)}
    # One source holds both kinds of lines, or the first of two the rows and the second the columns.
    return {(bias_rows[0], line) for line in rows} | {(bias_rows[len(SHARES[scheme]) - 1], line) for line in columns}
