"""The public conformance kit: whether a backend, ours or a user's, keeps the contract of ``substrate.contract``.

All at once::

    from substrate.testing import Tolerance, check_substrate

    check_substrate(lambda: MyBoard("COM3"), tolerance=Tolerance(noise_volts=1e-4, nudge_units=0.3, periods=8))

or one by one, with pytest::

    @pytest.mark.parametrize("check", substrate_checks(), ids=str)
    def test_conformance(check):
        result = check.run(substrate_bench(lambda: MyBoard("COM3")))
        if result.status == "not applicable":
            pytest.skip(result.message)
        assert result.status == "passed", result.message

``make`` describes a device and opens nothing; it may give the same physical device again and again. The checks write
to its cells (``Tolerance.test_pulses`` at a time), so on real devices use an array that may be worn.
"""

from collections.abc import Callable

import numpy as np

from substrate.contract import CrossbarArray, Substrate
from substrate.testing.checks import Bench, Check, ConformanceError, D, NotApplicable, Report, Result, as_check
from substrate.testing.crossbars import CROSSBARS
from substrate.testing.devices import COMMON
from substrate.testing.held import HELD
from substrate.testing.preparing import random_cells, random_weights
from substrate.testing.requests import REQUESTS
from substrate.testing.responses import RESPONSES
from substrate.testing.tolerance import Tolerance
from substrate.testing.writes import WRITES, outer_products_move_pairs, snapshot_is_exact

__all__ = [
    "Bench",
    "Check",
    "ConformanceError",
    "NotApplicable",
    "Report",
    "Result",
    "Tolerance",
    "check_crossbar",
    "check_substrate",
    "crossbar_bench",
    "crossbar_checks",
    "substrate_bench",
    "substrate_checks",
]

EXACT = Tolerance()
"""The tolerance of an exact device."""


def substrate_checks() -> tuple[Check[Substrate], ...]:
    """All checks of a network that settles by itself."""
    whole = (outer_products_move_pairs, snapshot_is_exact)
    return tuple(as_check(function) for function in (*COMMON, *REQUESTS, *RESPONSES, *HELD, *WRITES, *whole))


def crossbar_checks() -> tuple[Check[CrossbarArray], ...]:
    """All checks of a single crossbar."""
    return tuple(as_check(function) for function in (*COMMON, *CROSSBARS, *WRITES))


def substrate_bench(
    make: Callable[[], Substrate],
    tolerance: Tolerance = EXACT,
    *,
    prepare: Callable[[Substrate, np.random.Generator], None] = random_weights,
    seed: int = 0,
    drive: Callable[[Substrate], float] | None = None,
) -> Bench[Substrate]:
    """What the checks of a network work with; the arguments are those of ``check_substrate``."""
    return Bench(make, prepare, tolerance, seed, drive)


def crossbar_bench(
    make: Callable[[], CrossbarArray],
    tolerance: Tolerance = EXACT,
    *,
    prepare: Callable[[CrossbarArray, np.random.Generator], None] = random_cells,
    seed: int = 0,
    drive: Callable[[CrossbarArray], float] | None = None,
) -> Bench[CrossbarArray]:
    """What the checks of a crossbar work with; the arguments are those of ``check_crossbar``."""
    return Bench(make, prepare, tolerance, seed, drive)


def check_substrate(
    make: Callable[[], Substrate],
    tolerance: Tolerance = EXACT,
    *,
    prepare: Callable[[Substrate, np.random.Generator], None] = random_weights,
    seed: int = 0,
    drive: Callable[[Substrate], float] | None = None,
) -> Report:
    """Run all checks of a network.

    Args:
        make: describes a device, unopened; called for every check.
        tolerance: what the device may do and still pass.
        prepare: brings the opened device to weights at which it settles; by default random ones of loop gain 0.6.
        seed: of the test inputs.
        drive: largest magnitude at the device's outputs as another instrument sees it, to witness the safe state.

    Returns:
        What came of every check.

    Raises:
        ConformanceError: lists every check that failed, with what was expected and what was seen.
    """
    return _run(substrate_checks(), substrate_bench(make, tolerance, prepare=prepare, seed=seed, drive=drive))


def check_crossbar(
    make: Callable[[], CrossbarArray],
    tolerance: Tolerance = EXACT,
    *,
    prepare: Callable[[CrossbarArray, np.random.Generator], None] = random_cells,
    seed: int = 0,
    drive: Callable[[CrossbarArray], float] | None = None,
) -> Report:
    """Run all checks of a crossbar; arguments, result and errors as of ``check_substrate``."""
    return _run(crossbar_checks(), crossbar_bench(make, tolerance, prepare=prepare, seed=seed, drive=drive))


def _run(checks: tuple[Check[D], ...], bench: Bench[D]) -> Report:
    report = Report(tuple(check.run(bench) for check in checks))
    report.require()
    return report
