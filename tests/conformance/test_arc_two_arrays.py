"""An ArC TWO as ``CrossbarArray``: the contract, budget, and what is left on its lines where something breaks off."""

import sys

import numpy as np
import pytest
from xor_bench import ARC_LIBRARY, arc_section, arc_two

from drivers.arc_two import ArcTwoArray, ArcTwoConfig
from drivers.errors import InstrumentError
from substrate.capabilities import WriteRequest
from substrate.errors import CapabilityError, InputError
from substrate.testing import Tolerance, crossbar_bench, crossbar_checks

TOLERANCE = Tolerance(
    cells_siemens=6e-7, products_relative=2e-2, wires_relative=2e-2, reciprocal_relative=2e-2, test_pulses=8,
    step_relative=0.4, reports_stuck_cells=False,
)  # fmt: skip


@pytest.mark.parametrize("check", crossbar_checks(), ids=str)
def test_an_arc_two_conforms(check):
    with arc_two(noise_fraction=1e-4, noise_amperes=1e-10):
        config = ArcTwoConfig.model_validate(arc_section() | {"shape": [4, 5]})
        result = check.run(crossbar_bench(lambda: ArcTwoArray(config), TOLERANCE))
    assert result.status != "failed", result.message


def test_a_budget_outlives_a_run_of_an_arc_two(tmp_path):
    counts = np.zeros((4, 5), dtype=int)
    counts[3, 0] = -4
    kept = {"shape": [4, 5], "pulses_per_cell": 6, "pulse_ledger": str(tmp_path / "chip.json")}
    config = ArcTwoConfig.model_validate(arc_section() | kept)
    with arc_two() as board:
        with ArcTwoArray(config) as array:
            array.write_cells(WriteRequest("arc", pulses=counts))
        before = board.plant.conductances("arc").copy()
        with ArcTwoArray(config) as array, pytest.raises(CapabilityError, match=r"\(3, 0\) of arc.*has had 4"):
            array.write_cells(WriteRequest("arc", pulses=counts))
        np.testing.assert_array_equal(board.plant.conductances("arc"), before)


@pytest.mark.parametrize("name", ["read_slice_open", "read_slice_masked", "pulse_one"])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_lines_of_an_arc_two_are_left_at_zero_where_something_breaks_off(name, error):
    with arc_two() as board, ArcTwoArray(ArcTwoConfig.model_validate(arc_section())) as array:
        act, calls = getattr(board, name), []

        def fail(*given):
            found = act(*given)
            calls.append(given)
            if len(calls) == 2:
                raise error("the cable")
            return found

        setattr(board, name, fail)
        counts = np.zeros(array.shape, dtype=int)
        counts[1, 2] = 3
        use = {
            "read_slice_open": lambda: array.read(np.array([[0.1] * array.shape[0], [0.2] * array.shape[0]])),
            "read_slice_masked": array.read_cells,
            "pulse_one": lambda: array.write_cells(WriteRequest("arc", pulses=counts)),
        }[name]
        with pytest.raises((InstrumentError, KeyboardInterrupt)):
            use()
        assert len(calls) == 2
        assert not board._volts.any()
        assert board._open[[*array._rows, *array._columns]].all()


def test_a_missing_library_is_named():
    config = ArcTwoConfig.model_validate({"backend": "arc-two", "library": "no_such_library"})
    with pytest.raises(InputError, match="arc2"), ArcTwoArray(config):
        pass


def test_a_board_that_is_not_there_is_an_error():
    with arc_two():
        sys.modules[ARC_LIBRARY].find_ids = list
        with (
            pytest.raises(Exception, match="expected one board"),
            ArcTwoArray(ArcTwoConfig.model_validate(arc_section())),
        ):
            pass
