"""The crossbar array: exact node voltages and currents with wire, driver and sense resistance."""

import math
from dataclasses import dataclass, field
from numbers import Real
from typing import TYPE_CHECKING, Literal, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emulators.crossbar_lines import Lines
from emulators.memristors.cell_law import CellLaw
from emulators.memristors.ohmic import OhmicCell
from emulators.nodal.terminals import Terminals, check_paths
from substrate.arrays import real
from substrate.errors import CapabilityError, ConvergenceError, InputError

if TYPE_CHECKING:
    from emulators.nodal.recycling import Directions

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Direction = Literal["forward", "backward"]

ELIMINATION_LIMIT = 40
"""Short dimension up to which block elimination beats conjugate gradients for the effective matrix (measured)."""
MAX_NEWTON_STEPS = 200


@final
@dataclass(frozen=True)
class CrossbarSolution:
    """The state of an array; every array has a batch axis first if the voltages had one.

    Voltages in volts, currents in amperes. Cell currents run from word line to bit line, port currents out of the array
    into what the port is tied to (so a sensed line's current is positive when it flows into the sense input). Cell
    voltages and currents are computed when asked for.
    """

    wordline_voltages: FloatArray
    """(..., rows, cols): the word-line node of every cell."""
    bitline_voltages: FloatArray
    """(..., rows, cols): the bit-line node of every cell."""
    wordline_currents: FloatArray
    """(..., rows): out of the word lines' ports."""
    bitline_currents: FloatArray
    """(..., cols): out of the bit lines' ports."""
    residual: FloatArray
    """(...): what is left of the error, relative to the cells' currents."""
    iterations: IntArray
    """(...): conjugate-gradient iterations, all Newton steps together."""
    newton_steps: IntArray
    """(...): Newton steps; 0 for a linear cell law."""
    conductances: FloatArray
    """(rows, cols): what was solved."""
    cell: CellLaw
    _directions: "Directions | None" = field(default=None, repr=False, compare=False)
    """What a later solve that starts from here can use again: about one number a cell, whatever the batch."""

    @property
    def cell_voltages(self) -> FloatArray:
        """(..., rows, cols): word-line node less bit-line node."""
        return self.wordline_voltages - self.bitline_voltages

    @property
    def cell_currents(self) -> FloatArray:
        """(..., rows, cols): by the cells' law at their voltages."""
        return self.cell.current(self.cell_voltages, self.conductances)


@final
class Crossbar:
    """A crossbar of ``rows`` word lines and ``cols`` bit lines with a cell at every crossing.

    conductances: (rows, cols) siemens, finite and >= 0 (0 is an open cell; a line of open cells only is an error).
    wordline_resistance, bitline_resistance: ohms of each segment; every port has one too, in series with
    source_resistance where the line is driven and sense_resistance where it is sensed. Word lines have their port at
    column 0, bit lines at the last row. Any resistance may be zero. cell: the cells' law.
    tolerance: the solver's error, relative to the cells' currents in the energy norm; the default gives port currents
    right to better than 1e-9. max_iterations: of conjugate gradients in a linear solve; inputs that they leave short of
    the tolerance are solved by sparse LU (no segment of 0 ohms). threads: how many inputs are solved at the same time.

    Raises InputError for bad arguments.
    """

    def __init__(
        self,
        conductances: ArrayLike,
        wordline_resistance: float = 1.0,
        bitline_resistance: float = 1.0,
        source_resistance: float = 0.0,
        sense_resistance: float = 0.0,
        cell: CellLaw | None = None,
        *,
        tolerance: float = 3e-10,
        max_iterations: int = 2000,
        threads: int = 1,
    ) -> None:
        self._g = _conductances(conductances, None)  # replaced, never changed: solutions hold on to it
        self.wordline_resistance = _resistance("wordline_resistance", wordline_resistance)
        self.bitline_resistance = _resistance("bitline_resistance", bitline_resistance)
        self.source_resistance = _resistance("source_resistance", source_resistance)
        self.sense_resistance = _resistance("sense_resistance", sense_resistance)
        self.cell: CellLaw = OhmicCell() if cell is None else cell
        if not isinstance(self.cell, CellLaw):
            raise InputError(f"cell is {cell!r}; expected a cell law such as OhmicCell() or SinhCell()")
        for name, value in (("max_iterations", max_iterations), ("threads", threads)):
            if not (isinstance(value, int) and value >= 1):
                raise InputError(f"{name} is {value!r}; expected an integer >= 1")
        self.tolerance = _tolerance(tolerance)
        self.max_iterations = max_iterations
        self.threads = threads

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, cols)."""
        return self._g.shape[0], self._g.shape[1]

    @property
    def conductances(self) -> FloatArray:
        """The programmed conductances (rows, cols) in siemens, read-only."""
        return _read_only(self._g)

    def program(self, conductances: ArrayLike, mask: ArrayLike | None = None) -> None:
        """Set the cells' conductances (rows, cols), siemens; with ``mask`` (rows, cols) only where it is true.

        The given array is copied. Raises InputError, leaving the array as it was.
        """
        if mask is None:
            new = _conductances(conductances, self.shape)
        else:
            chosen = np.asarray(mask)
            if chosen.dtype != np.bool_ or chosen.shape != self.shape:
                raise InputError(
                    f"mask has dtype {chosen.dtype} and shape {chosen.shape}; expected bool and {self.shape}"
                )
            given = real("conductances", conductances)
            if given.shape != self.shape:
                raise InputError(f"conductances has shape {given.shape}; expected {self.shape}")
            new = _conductances(np.where(chosen, given, self._g), self.shape)
        self._g = new

    def read(self, voltages: ArrayLike, direction: Direction = "forward") -> FloatArray:
        """Return the currents into the sense inputs, (cols,) or (batch, cols) amperes.

        ``voltages``: (rows,) or (batch, rows) volts. ``direction="backward"`` drives the columns and senses the rows.
        Raises InputError for bad voltages, ConvergenceError if the solver does not reach the tolerance.
        """
        _check_direction(direction)
        terminals, batched = Terminals.of_read(self.shape, direction == "forward", voltages, *self._resistances)
        outcome = self._solve(terminals, None, keep=False)
        currents = outcome.bitline_currents if direction == "forward" else outcome.wordline_currents
        return currents if batched else currents[0]

    def solve(
        self, voltages: ArrayLike, lines: Lines | None = None, start: CrossbarSolution | None = None
    ) -> CrossbarSolution:
        """Return all node voltages and currents.

        ``voltages``: volts of the driven lines, word lines first, (driven,) or (batch, driven); with ``lines`` left out
        the word lines are driven and the bit lines sensed. ``start``: an earlier solution of the same shape to begin
        from, which saves iterations when little has changed. Raises InputError for bad voltages or line states and for
        floating lines without a path to any port, ConvergenceError if the solver does not reach the tolerance.
        """
        if lines is None:
            terminals, batched = Terminals.of_read(self.shape, True, voltages, *self._resistances)
        else:
            terminals, batched = Terminals.of(self.shape, lines, voltages, *self._resistances)
            check_paths(self._g, lines)
        outcome = self._solve(terminals, start, keep=True)
        if batched:
            return outcome
        whole = {name: getattr(outcome, name) for name in ("conductances", "cell", "_directions")}
        return CrossbarSolution(
            **{name: value[0] for name, value in vars(outcome).items() if name not in whole}, **whole
        )

    def effective_conductances(self, direction: Direction = "forward") -> FloatArray:
        """Return the m x n matrix that the array is from its ports, terminations included, in siemens.

        Forward, (rows, cols): ``read(v) == v @ matrix``; backward, (cols, rows). Raises CapabilityError for a cell law
        that is not linear.
        """
        matrix: FloatArray = self._transfer(self._g[np.newaxis], direction)[0]
        return matrix

    def effective_conductances_of(self, conductances: ArrayLike, direction: Direction = "forward") -> FloatArray:
        """Return the effective matrices of other cells in the same wires, terminations and tolerance.

        ``conductances``: a stack (count, rows, cols) in siemens, of any one shape, e.g. the two arrays of a
        differential pair; they are left alone and so is this array. Returns (count, rows, cols), backward (count,
        cols, rows).
        """
        return self._transfer(_conductances(conductances, None, stack=True), direction)

    def port_admittance(self) -> FloatArray:
        """Return the symmetric (rows + cols, rows + cols) admittance of all ports, in siemens.

        Word lines first. ``port_admittance() @ v`` are the currents *into* the array with every port held at v volts,
        behind its wire segment but without source or sense resistance, which belong to what is outside. Raises
        CapabilityError for a cell law that is not linear.
        """
        from emulators.nodal.linear import solve_linear

        rows, cols = self.shape
        lines = Lines.all_driven(rows, cols)
        terminals, _ = Terminals.of(
            self.shape, lines, np.eye(rows + cols), self.wordline_resistance, self.bitline_resistance, 0.0, 0.0
        )
        result = solve_linear(
            self._linear(self._g, "the port admittance")[np.newaxis],
            np.empty((0, rows, cols)),
            terminals,
            tolerance=self.tolerance,
            max_iterations=self.max_iterations,
            threads=self.threads,
        )
        self._check_converged(result.residual)
        out_of_ports = np.hstack([result.row_current, result.column_current])
        return -0.5 * (out_of_ports + out_of_ports.T)

    def _transfer(self, conductances: FloatArray, direction: Direction) -> FloatArray:
        from emulators.nodal.linear import transfer_matrices

        _check_direction(direction)
        linear = self._linear(conductances, "the effective matrix")
        forward = direction == "forward"
        row_end, column_end = self.source_resistance, self.sense_resistance
        if not forward:
            row_end, column_end = column_end, row_end
        matrices, residual = transfer_matrices(
            linear,
            self.wordline_resistance,
            self.bitline_resistance,
            self.wordline_resistance + row_end,
            self.bitline_resistance + column_end,
            tolerance=self.tolerance,
            max_iterations=self.max_iterations,
            threads=self.threads,
            elimination_limit=ELIMINATION_LIMIT,
        )
        self._check_converged(np.array(residual))
        return matrices if forward else matrices.transpose(0, 2, 1)

    def _linear(self, conductances: FloatArray, what: str) -> FloatArray:
        linear = self.cell.linear_conductances(conductances)
        if linear is None:
            raise CapabilityError(f"{what} needs cells with a linear law; these are {type(self.cell).__name__}")
        return linear

    @property
    def _resistances(self) -> tuple[float, float, float, float]:
        return self.wordline_resistance, self.bitline_resistance, self.source_resistance, self.sense_resistance

    def _solve(self, terminals: Terminals, start: CrossbarSolution | None, keep: bool) -> CrossbarSolution:
        from emulators.nodal.linear import solve_linear
        from emulators.nodal.recycling import plan

        guess = None
        if start is not None:
            expected = (terminals.batch, *self.shape)
            found = start.bitline_voltages.shape
            if (found if len(found) == 3 else (1, *found)) != expected:
                raise InputError(f"start holds voltages of shape {found}; expected {expected}, batch first")
            guess = (
                np.ascontiguousarray(start.wordline_voltages.reshape(expected)),
                np.ascontiguousarray(start.bitline_voltages.reshape(expected)),
            )
        slopes = self.cell.linear_conductances(self._g)
        if slopes is None:
            return self._solve_newton(terminals, guess, keep)
        # One block: its fresh pages are a good part of the time, and fewer if the system can make large ones of it.
        word, bit = np.empty((2, terminals.batch if keep else 0, *self.shape))
        earlier = None if start is None else start.cell.linear_conductances(start.conductances)
        reuse = plan(slopes, earlier, None if start is None else start._directions, self.tolerance)
        result = solve_linear(
            slopes[np.newaxis],
            np.empty((0, *self.shape)),
            terminals,
            (word, bit) if keep else None,
            start=guess,
            recycled=reuse.recycled,
            kept=reuse.fresh,
            tolerance=self.tolerance,
            max_iterations=self.max_iterations,
            threads=self.threads,
        )
        self._check_converged(result.residual)
        return CrossbarSolution(
            word,
            bit,
            result.row_current,
            result.column_current,
            result.residual,
            result.iterations,
            np.zeros_like(result.iterations),
            self.conductances,
            self.cell,
            reuse.outcome(result.iterations),
        )

    def _solve_newton(
        self, terminals: Terminals, guess: tuple[FloatArray, FloatArray] | None, keep: bool
    ) -> CrossbarSolution:
        from emulators.nodal.newton import solve_newton

        state = solve_newton(
            self.cell,
            self._g,
            terminals,
            guess,
            tolerance=self.tolerance,
            max_iterations=self.max_iterations,
            max_steps=MAX_NEWTON_STEPS,
            threads=self.threads,
            keep=keep,
        )
        self._check_converged(state.residual)
        return CrossbarSolution(*state, self.conductances, self.cell)

    def _check_converged(self, residuals: FloatArray) -> None:
        worst = float(np.max(residuals, initial=0.0))
        if not worst <= self.tolerance:
            raise ConvergenceError(
                f"the crossbar's state did not converge within max_iterations = {self.max_iterations}: relative "
                f"residual {worst:.3g}, tolerance {self.tolerance:.3g}"
            )


def _read_only(array: FloatArray) -> FloatArray:
    view = array.view()
    view.flags.writeable = False
    return view


def _check_direction(direction: str) -> None:
    if direction not in ("forward", "backward"):
        raise InputError(f"direction is {direction!r}; expected 'forward' or 'backward'")


def _resistance(name: str, value: object) -> float:
    if not (isinstance(value, Real) and math.isfinite(value) and float(value) >= 0):
        raise InputError(f"{name} is {value!r}; expected finite ohms >= 0")
    return float(value)


def _tolerance(value: object) -> float:
    if not (isinstance(value, Real) and 1e-14 <= float(value) < 1):
        raise InputError(f"tolerance is {value!r}; expected a number from 1e-14 up to 1")
    return float(value)


def _conductances(given: ArrayLike, shape: tuple[int, int] | None, stack: bool = False) -> FloatArray:
    """Return a checked copy."""
    new = np.array(real("conductances", given), order="C")
    if new.ndim != (3 if stack else 2) or new.size == 0:
        expected = "(count, rows, cols)" if stack else "(rows, cols)"
        raise InputError(f"conductances has shape {new.shape}; expected {expected}, none of them 0")
    if shape is not None and new.shape != shape:
        raise InputError(f"conductances has shape {new.shape}; expected {shape}")
    low, high = new.min(), new.max()
    if not (low >= 0 and high < np.inf):  # catches NaN, which compares false
        index = tuple(int(k) for k in np.argwhere(~((new >= 0) & (new < np.inf)))[0])
        raise InputError(f"conductances{list(index)} is {new[index]} S; expected finite siemens >= 0")
    if low == 0:
        for name, axis in (("word", -1), ("bit", -2)):
            empty = ~new.any(axis=axis)
            if empty.any():
                line = int(np.argwhere(empty)[0][-1])
                raise InputError(f"{name} line {line} is wholly disconnected: all its cells have conductance 0")
    return new
