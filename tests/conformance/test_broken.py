"""Backends broken on purpose: each is caught, and by the check that is meant to."""

import sys
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
from configurations import IDEAL, NOISY, failures, substrate_of, tolerance_of

from emulators.config import CellsConfig, WiresConfig
from emulators.crossbar_array import EmulatedCrossbar
from substrate.arrays import finite
from substrate.capabilities import HeldNudge, HeldVoltages, Limits, Nudge, WriteRequest, check
from substrate.contract import CrossbarArray, Substrate, WriteReport
from substrate.errors import CapabilityError
from substrate.services import Oracle, StateStore, Stepper
from substrate.testing import (
    ConformanceError,
    Tolerance,
    check_crossbar,
    check_substrate,
    crossbar_bench,
    crossbar_checks,
    substrate_bench,
    substrate_checks,
)

OUTRIGHT = NOISY | {"update": {"law": "ideal"}}
SIZES = (5, 3, 3)


class Whole(Substrate):
    """A sound network: hands every hook on to an emulated one. Broken ones replace a hook or two."""

    section = NOISY

    def __init__(self):
        self.inner = substrate_of(self.section, SIZES)()

    @property
    def capabilities(self):
        return self.inner.capabilities

    @property
    def network(self):
        return self.inner.network

    @property
    def scale(self):
        return self.inner.scale

    @property
    def oracle(self):
        return self.inner.oracle

    @property
    def states(self):
        return self.inner.states

    @property
    def stepper(self):
        return self.inner.stepper

    def _open(self):
        self.inner._open()

    def _safe_state(self):
        self.inner._safe_state()

    def _close(self):
        self.inner._close()

    def _hold(self, volts):
        self.inner._hold(volts)

    def _settle(self):
        return self.inner._settle()

    def _nudge(self, nudge, plan):
        return self.inner._nudge(nudge, plan)

    def _settle_nudged(self, nudge):
        return self.inner._settle_nudged(nudge)

    def _products(self, coupling, volts, direction):
        return self.inner._products(coupling, volts, direction)

    def _read_cells(self, coupling):
        return self.inner._read_cells(coupling)

    def _write_cells(self, request):
        return self.inner._write_cells(request)


class ReplacesFinalMethod(Whole):
    def settle(self):
        self._require_open()
        return self._settle()


class IgnoresLimits(Whole):
    """Voltages are not checked."""

    def __init__(self):
        super().__init__()
        self.hold = self.unlimited

    def unlimited(self, volts):
        self._require_open()
        self._hold(finite("inputs", volts, (None, self.network.input_size)))


class RefusesTooLate(Whole):
    """The limit is looked at, once the voltages are on the lines."""

    def __init__(self):
        super().__init__()
        self.hold = self.too_late

    def too_late(self, volts):
        self._require_open()
        held = finite("inputs", volts, (None, self.network.input_size))
        self._hold(held)
        check(HeldVoltages(held, "inputs"), self.capabilities)


class TakesNaN(Whole):
    def __init__(self):
        super().__init__()
        self.hold = self.unchecked

    def unchecked(self, volts):
        self._require_open()
        held = np.asarray(volts, dtype=float)
        if held.ndim != 2 or held.shape[1] != self.network.input_size or np.isnan(held).any():
            held = np.zeros((len(np.atleast_2d(held)), self.network.input_size))
        check(HeldVoltages(held, "inputs"), self.capabilities)
        self._hold(held)


class DoublesPulses(Whole):
    """A lost answer, and the write sent again."""

    def _write_cells(self, request):
        report = self.inner._write_cells(request)
        if request.pulses is not None:
            self.inner._write_cells(request)
        return report


class CountsWrong(Whole):
    def _write_cells(self, request):
        report = self.inner._write_cells(request)
        return WriteReport(report.pulses + 1, report.failed)


class MovesNeighbours(Whole):
    """The write to one array reaches the same rows of another."""

    def _write_cells(self, request):
        if request.coupling == "input-hidden1" and request.pulses is not None:
            counts = np.zeros((2, *self.network.array("hidden1-output").shape), dtype=np.int64)
            counts[:, 0] = 1
            self.inner._write_cells(WriteRequest("hidden1-output", pulses=counts))
        return self.inner._write_cells(request)


class HidesStuckCells(Whole):
    def _write_cells(self, request):
        report = self.inner._write_cells(request)
        return WriteReport(int(np.abs(request.pulses).sum()), np.zeros_like(report.failed))


class ClipsTargets(Whole):
    """Outright writes end short of the window's ends, and nobody is told."""

    section = OUTRIGHT

    def _write_cells(self, request):
        if request.target_siemens is None:
            return self.inner._write_cells(request)
        low, high = self.capabilities.conductance_window_siemens
        target = np.clip(request.target_siemens, 1.5 * low, 0.9 * high)
        return self.inner._write_cells(WriteRequest(request.coupling, target_siemens=target))


class MovesPairsTwiceAsFar(Whole):
    """Each cell of a pair takes the whole of a change of their difference."""

    section = IDEAL

    def _write_cells(self, request):
        if request.apart_siemens is not None:
            request = WriteRequest(request.coupling, apart_siemens=request.apart_siemens.scaled(2.0))
        return self.inner._write_cells(request)


class StaysAlive(Whole):
    """The safe state is empty."""

    def _safe_state(self):
        pass


class StaysAliveOnException(Whole):
    """The safe state is reached on the usual way out only."""

    def _safe_state(self):
        if sys.exc_info()[0] is None:
            super()._safe_state()


class SafeOnlyOnce(Whole):
    """Closing what is closed is an error."""

    def __init__(self):
        super().__init__()
        self.connected = False

    def _open(self):
        super()._open()
        self.connected = True

    def _close(self):
        super()._close()
        if not self.connected:
            raise OSError("the port is closed")
        self.connected = False


class LosesErrors(Whole):
    """Where the link is gone the process ends, whatever was raised before."""

    def _close(self):
        super()._close()
        if isinstance(sys.exc_info()[1], RuntimeError):
            raise SystemExit("the link is gone")


class SqueezesBatches(Whole):
    """A batch of one loses its axis."""

    def _settle(self):
        record = self.inner._settle()
        return replace(record, volts=record.volts.squeeze(0)) if len(record.volts) == 1 else record


class SaturationOfTheWholeBatch(Whole):
    def _nudge(self, nudge, plan):
        record = self.inner._nudge(nudge, plan)
        return replace(record, saturated=record.saturated.any())


class ShortRecords(Whole):
    """Gives the rate of the samples wrong."""

    def _nudge(self, nudge, plan):
        record = self.inner._nudge(nudge, plan)
        return replace(record, rate_hz=0.5 * record.rate_hz)


class TellsOfSteps(Whole):
    """Takes its readings for coarser than they are."""

    @property
    def capabilities(self):
        return replace(self.inner.capabilities, reading_step_volts=1e-4)


class StartsLate(Whole):
    """Sampling begins 3.4 degrees after the crest, and the record does not say so."""

    def _nudge(self, nudge, plan):
        record = self.inner._nudge(nudge, plan)
        bins = np.fft.rfft(record.volts, axis=1)
        turn = np.exp(2j * np.pi * 0.15 * np.arange(bins.shape[1]) / plan.sample_count)
        return replace(record, volts=np.fft.irfft(bins * turn[None, :, None], plan.sample_count, axis=1))


class RemembersLastInputs(Whole):
    """Some of the charge of the inputs held before is still there."""

    def __init__(self):
        super().__init__()
        self.last = 0.0

    @property
    def capabilities(self):
        return replace(self.inner.capabilities, state_snapshots=False)

    @property
    def states(self):
        return None

    def _hold(self, volts):
        self.inner._hold(volts + 0.5 * self.last)
        self.last = volts[0, 0]


class StaleFreeState(Whole):
    """New inputs reach the lines with the next settling only: until then a nudge goes on from the old free state."""

    stepper = None

    def __init__(self):
        super().__init__()
        self.waiting = None

    @property
    def capabilities(self):
        return replace(self.inner.capabilities, stepping=False)

    def _hold(self, volts):
        self.waiting = volts

    def _settle(self):
        if self.waiting is not None:
            self.inner._hold(self.waiting)
            self.waiting = None
        return self.inner._settle()

    def _safe_state(self):
        self.waiting = None
        super()._safe_state()


class AlwaysSettled(Whole):
    """What does not settle is called settled."""

    def _settle(self):
        record = self.inner._settle()
        return replace(record, settled=np.ones_like(record.settled))


class StopsEarly(Whole):
    """A coarse solve that is called settled."""

    def _settle(self):
        record = self.inner._settle()
        return replace(record, residual=np.full_like(record.residual, 1e-3), settled=record.settled)


class LeaksNudge(Whole):
    """The generator has a direct part."""

    def _nudge(self, nudge, plan):
        leak = np.zeros_like(nudge.amperes)
        leak[:, self.network.output.nodes] = 0.02 * self.scale.unit_amperes
        record = self.inner._nudge(nudge, plan)
        return replace(record, volts=record.volts + 0.02 * self.scale.volts_per_unit * (leak != 0)[:, None])


class NudgesBackwards(Whole):
    """The nudge has the wrong sign."""

    def _nudge(self, nudge, plan):
        return self.inner._nudge(Nudge(-nudge.amperes), plan)

    def _settle_nudged(self, nudge):
        siemens = None if nudge.siemens is None else -nudge.siemens
        return self.inner._settle_nudged(HeldNudge(-nudge.amperes, siemens, nudge.cross_siemens))


class LopsidedGenerator(Whole):
    """Currents of negative amplitude come out weaker."""

    def _nudge(self, nudge, plan):
        return self.inner._nudge(Nudge(nudge.amperes * np.where(nudge.amperes < 0, 0.8, 1.0)), plan)


class SwapsDirections(Whole):
    """The network is wired to a twin whose forward cells are the feedback cells as read, and the other way round."""

    section = OUTRIGHT | {"cells": {"stuck": 0.0}}

    def __init__(self):
        super().__init__()
        self.twin = substrate_of(self.section, SIZES)()

    @property
    def capabilities(self):
        return replace(self.inner.capabilities, state_snapshots=False)

    @property
    def states(self):
        return None

    @property
    def oracle(self):
        return self.twin.oracle

    @property
    def stepper(self):
        return self.twin.stepper

    def _safe_state(self):
        super()._safe_state()
        self.twin._safe_state()

    def _hold(self, volts):
        self.twin._hold(volts)

    def _settle(self):
        return self.twin._settle()

    def _nudge(self, nudge, plan):
        return self.twin._nudge(nudge, plan)

    def _settle_nudged(self, nudge):
        return self.twin._settle_nudged(nudge)

    def _write_cells(self, request):
        report = self.inner._write_cells(request)
        cells = {coupling.name: self.inner._read_cells(coupling.name).copy() for coupling in self.network.arrays}
        size = self.network.forward[1].source.size
        forward, backward = cells["hidden1-output"], cells["output-hidden1"]
        cells["output-hidden1"] = forward[:, :size].transpose(0, 2, 1).copy()
        forward[:, :size] = backward.transpose(0, 2, 1)
        for name, target in cells.items():
            self.twin._write_cells(WriteRequest(name, target_siemens=target))
        return report


class SwapsPolarities(Whole):
    """Products have the devices of each pair crossed."""

    def _products(self, coupling, volts, direction):
        return -self.inner._products(coupling, volts, direction)


class WrongSignOracle(Oracle):
    def __init__(self, inner):
        self.inner = inner

    def adjoint(self, values):
        return -self.inner.adjoint(values)


class UntransposedOracle(Oracle):
    """chi v where chi^T v is wanted."""

    def __init__(self, device):
        self.device = device

    def adjoint(self, values):
        size = self.device.network.node_count
        held = self.device.inner
        columns = [held.oracle.adjoint(np.tile(row, (len(values), 1))) for row in np.eye(size)]
        return np.einsum("ibj,bj->bi", np.array(columns), values)


class WrongSignAdjoint(Whole):
    @property
    def oracle(self):
        return WrongSignOracle(self.inner.oracle)


class UntransposedAdjoint(Whole):
    @property
    def oracle(self):
        return UntransposedOracle(self)


class ForgetfulStates(StateStore):
    """Puts cells back, and leaves the generator of the noise elsewhere."""

    def __init__(self, inner):
        self.inner = inner

    def snapshot(self):
        return self.inner.states.snapshot()

    def restore(self, snapshot):
        self.inner.states.restore(snapshot)
        self.inner._hold(np.zeros((1, self.inner.network.input_size)))
        self.inner._settle()
        self.inner.safe_state()


class SnapshotLosesGenerators(Whole):
    @property
    def states(self):
        return ForgetfulStates(self.inner)


class PromisesSnapshots(Whole):
    """Declares snapshots and has none."""

    @property
    def states(self):
        return None


class PromisesResets(Whole):
    """Declares that cells of feedback paths are reset, as those of its other arrays are not; it has no way to."""

    section = IDEAL | {"feedback_paths": {"update": {"law": "one_sided", "step": 0.002}}}

    def _write_cells(self, request):
        if request.reset is not None:
            raise NotImplementedError("resets")
        return self.inner._write_cells(request)


class PromisesNodeNudges(Whole):
    """Declares ports at all nodes; those of the hidden ones lead nowhere."""

    @property
    def capabilities(self):
        return replace(self.inner.capabilities, exact_adjoint=False)

    @property
    def oracle(self):
        return None

    def _nudge(self, nudge, plan):
        amperes = nudge.amperes.copy()
        amperes[:, : self.network.output.start] = 0.0
        return self.inner._nudge(Nudge(amperes), plan)


class NoStepper(Whole):
    """Declares steps and offers nothing that takes them."""

    @property
    def stepper(self):
        return None


class PromisesComplexNudges(Whole):
    """Drops what is imaginary."""

    def _settle_nudged(self, nudge):
        if not nudge.complex:
            return self.inner._settle_nudged(nudge)
        return self.inner._settle_nudged(HeldNudge(nudge.amperes.real.astype(complex)))


class WeakHolds(Whole):
    """Held currents, and conductances to sources, come out a tenth too small."""

    def _settle_nudged(self, nudge):
        siemens = None if nudge.siemens is None else 0.9 * nudge.siemens
        return self.inner._settle_nudged(HeldNudge(0.9 * nudge.amperes, siemens, nudge.cross_siemens))


class PointsFollowEachOther(Whole):
    """The third point has a part of the first left in it."""

    def _settle_nudged(self, nudge):
        amperes = nudge.amperes.copy()
        amperes[:, 2:] += 0.5 * amperes[:, :1]
        return self.inner._settle_nudged(HeldNudge(amperes, nudge.siemens, nudge.cross_siemens))


class HoldsTheSource(Whole):
    """A conductance to a source is taken for the current that it carries at 0 V."""

    def _settle_nudged(self, nudge):
        return self.inner._settle_nudged(HeldNudge(nudge.amperes, None, nudge.cross_siemens))


class RestlessSteps(Stepper):
    def __init__(self, inner):
        self.inner = inner

    def evolve(self, nudge, steps, time_constants, every):
        return self.inner.evolve(nudge, steps, time_constants, every)

    def rest(self):
        pass


class StaysInMotion(Whole):
    """rest() leaves the network where it is."""

    @property
    def stepper(self):
        return RestlessSteps(self.inner.stepper)


class TurnsBackwardProducts(Whole):
    """An array read backward gives currents of the opposite sign."""

    def _products(self, coupling, volts, direction):
        sign = -1.0 if direction == "backward" else 1.0
        return sign * self.inner._products(coupling, volts, direction)


class RefusesWithoutName(Whole):
    """Says no without a reason."""

    @property
    def capabilities(self):
        return replace(self.inner.capabilities, node_nudges=False)

    def __init__(self):
        super().__init__()
        whole = self.nudge

        def nudge(nudge, plan):
            try:
                return whole(nudge, plan)
            except CapabilityError as error:
                raise CapabilityError(str(error).replace("node_nudges", "something")) from error

        self.nudge = nudge


class ChangingCapabilities(Whole):
    """Steps are measured anew with each write."""

    def __init__(self):
        super().__init__()
        self.writes = 0

    @property
    def capabilities(self):
        up, down = self.inner.capabilities.step_siemens
        factor = 1.0 + 1e-3 * self.writes
        return replace(self.inner.capabilities, step_siemens=(up * factor, down * factor))

    def _write_cells(self, request):
        self.writes += 1
        return self.inner._write_cells(request)


class ActsWhileClosed(Whole):
    """Takes itself for open from the start."""

    def __init__(self):
        super().__init__()
        self._is_open = True


CAUGHT_BY = {
    ReplacesFinalMethod: "seam_is_whole",
    IgnoresLimits: "limits_are_kept",
    RefusesTooLate: "limits_are_kept",
    TakesNaN: "bad_input_is_refused",
    DoublesPulses: "pulses_move_cells",
    CountsWrong: "pulses_move_cells",
    MovesNeighbours: "writes_stay_in_place",
    HidesStuckCells: "stuck_cells_are_reported",
    ClipsTargets: "outright_writes_read_back",
    MovesPairsTwiceAsFar: "outer_products_move_pairs",
    StaysAlive: "exit_is_safe",
    StaysAliveOnException: "exit_is_safe",
    SafeOnlyOnce: "opens_and_closes",
    LosesErrors: "errors_pass_through",
    SqueezesBatches: "shapes_are_kept",
    SaturationOfTheWholeBatch: "shapes_are_kept",
    ShortRecords: "records_are_coherent",
    TellsOfSteps: "records_are_coherent",
    StartsLate: "records_are_coherent",
    RemembersLastInputs: "free_phase_repeats",
    StaleFreeState: "order_is_kept",
    AlwaysSettled: "oscillation_is_reported",
    StopsEarly: "settled_means_settled",
    LeaksNudge: "zero_nudge_is_the_free_state",
    LopsidedGenerator: "nudge_is_linear_when_small",
    SwapsDirections: "response_follows_the_cells",
    SwapsPolarities: "products_follow_the_cells",
    WrongSignAdjoint: "adjoint_is_exact",
    UntransposedAdjoint: "adjoint_is_exact",
    SnapshotLosesGenerators: "snapshot_is_exact",
    PromisesSnapshots: "capabilities_are_sound",
    PromisesResets: "capabilities_are_honest",
    PromisesNodeNudges: "capabilities_are_honest",
    PromisesComplexNudges: "capabilities_are_honest",
    WeakHolds: "held_nudges_are_the_slow_limit",
    PointsFollowEachOther: "held_points_are_separate",
    HoldsTheSource: "feedback_is_the_current_that_flows",
    StaysInMotion: "steps_lead_to_the_free_state",
    TurnsBackwardProducts: "products_follow_the_cells",
    NoStepper: "capabilities_are_sound",
    RefusesWithoutName: "capabilities_are_honest",
    ChangingCapabilities: "capabilities_are_sound",
    ActsWhileClosed: "closed_is_refused",
}


@pytest.mark.parametrize("section", [NOISY, OUTRIGHT, IDEAL], ids=["pulsed", "outright", "ideal"])
def test_the_whole_one_passes(section):
    kind = type("Sound", (Whole,), {"section": section})
    assert failures(substrate_checks(), substrate_bench(kind, tolerance_of(section))) == {}


@pytest.mark.parametrize("kind", CAUGHT_BY, ids=lambda kind: kind.__name__)
def test_the_intended_check_alone_catches(kind):
    found = failures(substrate_checks(), substrate_bench(kind, tolerance_of(kind.section)))
    assert list(found) == [CAUGHT_BY[kind]], found
    assert len(found[CAUGHT_BY[kind]]) > 20


def test_every_check_of_a_network_catches_something():
    assert set(CAUGHT_BY.values()) == {check.name for check in substrate_checks()}


def test_a_nudge_of_the_wrong_sign_shows_in_every_check_of_responses():
    found = failures(substrate_checks(), substrate_bench(NudgesBackwards, tolerance_of(NOISY)))
    assert set(found) == {"nudge_is_linear_when_small", "response_follows_the_cells", "adjoint_is_exact"}


def test_all_failures_are_listed_in_one_error():
    with pytest.raises(ConformanceError, match=r"3 of \d+ checks failed") as caught:
        check_substrate(NudgesBackwards, tolerance_of(NOISY))
    assert "against its own sign" in str(caught.value)


def test_an_exception_of_a_backend_is_its_failure_and_no_crash():
    class Raises(Whole):
        def _products(self, coupling, volts, direction):
            raise ZeroDivisionError("gain is zero")

    found = failures(substrate_checks(), substrate_bench(Raises, tolerance_of(NOISY)))
    assert {"capabilities_are_honest", "products_follow_the_cells"} <= set(found)
    assert "ZeroDivisionError: gain is zero" in found["products_follow_the_cells"]


def test_an_oracle_without_its_declaration_and_the_reverse_are_caught():
    class HidesOracle(Whole):
        @property
        def capabilities(self):
            return replace(self.inner.capabilities, exact_adjoint=False)

    assert list(failures(substrate_checks(), substrate_bench(HidesOracle, tolerance_of(NOISY)))) == [
        "capabilities_are_sound"
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"conductance_window_siemens": (1e-4, 1e-6)}, "conductance_window"),
        ({"step_siemens": (0.0, 0.0)}, "step_siemens"),
        ({"step_siemens": (-1e-7, 1e-7)}, "step_siemens"),
        ({"highest_frequency_hz": 0.0}, "highest_frequency"),
        ({"limits": Limits(float("inf"), 2.0, 1e-3)}, "read_volts"),
        ({"limits": Limits(0.3, 2.0, float("nan"))}, "current_amperes"),
        ({"node_nudges": None}, "node_nudges"),
    ],
)
def test_capabilities_that_make_no_sense_are_caught(changes, message):
    class Senseless(Whole):
        @property
        def capabilities(self):
            return replace(self.inner.capabilities, **changes)

    (sound,) = [check for check in substrate_checks() if check.name == "capabilities_are_sound"]
    result = sound.run(substrate_bench(Senseless, tolerance_of(NOISY)))
    assert result.status == "failed"
    assert message in result.message


@pytest.mark.parametrize("hook", sorted(Substrate.__abstractmethods__))
def test_an_incomplete_network_does_not_instantiate(hook):
    incomplete = type("Incomplete", (Whole,), {hook: getattr(Substrate, hook)})
    with pytest.raises(TypeError, match=hook):
        incomplete()


class Ports(CrossbarArray):
    """A sound crossbar: hands every hook on to an emulated one."""

    update: ClassVar = {"law": "constant", "step": 0.004}

    def __init__(self):
        self.inner = EmulatedCrossbar(
            (5, 4), np.random.default_rng(0), update=self.update, cells=CellsConfig(stuck=0.1)
        )

    @property
    def capabilities(self):
        return self.inner.capabilities

    @property
    def shape(self):
        return self.inner.shape

    def _open(self):
        self.inner._open()

    def _safe_state(self):
        self.inner._safe_state()

    def _close(self):
        self.inner._close()

    def _read(self, volts, direction):
        return self.inner._read(volts, direction)

    def _read_cells(self):
        return self.inner._read_cells()

    def _pulse(self, counts):
        return self.inner._pulse(counts)

    def _set(self, target_siemens):
        return self.inner._set(target_siemens)


class Outright(Ports):
    update: ClassVar = {"law": "ideal"}


class ReadsOneWayOnly(Ports):
    """Gain of the sense inputs differs between the sides: passes for wires when little, but is not reciprocal."""

    def _read(self, volts, direction):
        return self.inner._read(volts, direction) * (1.001 if direction == "backward" else 1.0)


class SensesWithWrongSign(Ports):
    def _read(self, volts, direction):
        return -self.inner._read(volts, direction)


class NoLimits(Ports):
    def __init__(self):
        super().__init__()
        whole = self.read
        shape = self.inner.shape

        def read(volts, direction="forward"):
            self._require_open()
            if direction in ("forward", "backward") and np.all(np.abs(volts) < 1.0):
                driven = shape[0] if direction == "forward" else shape[1]
                batch = finite("volts", np.atleast_2d(volts), (None, driven))
                currents = self._read(batch, direction)
                return currents[0] if np.ndim(volts) == 1 else currents
            return whole(volts, direction)

        self.read = read


class MixesBatch(Ports):
    """The first of a batch is read before the lines have settled."""

    def _read(self, volts, direction):
        currents = self.inner._read(volts, direction)
        return currents + 0.01 * (currents - np.roll(currents, 1, axis=0)) if len(volts) == 3 else currents


class StaysDriven(Ports):
    def _safe_state(self):
        pass


class HalvesSteps(Ports):
    def _pulse(self, counts):
        return self.inner._pulse(counts // 2)


class HidesStuck(Ports):
    def _pulse(self, counts):
        return np.zeros_like(self.inner._pulse(counts))


class WritesEverything(Outright):
    """Cells that are not addressed are written again, with an error."""

    def _set(self, target_siemens):
        low, high = self.capabilities.conductance_window_siemens
        failed = self.inner._set(np.clip(target_siemens * 1.001, low, high))
        return failed


class PortsWhileClosed(Ports):
    def __init__(self):
        super().__init__()
        self._is_open = True


CROSSBAR_CAUGHT_BY = {
    ReadsOneWayOnly: {"transfer_is_reciprocal"},
    SensesWithWrongSign: {"currents_are_linear", "currents_follow_the_cells"},
    NoLimits: {"read_limits_are_kept"},
    MixesBatch: {"reads_have_shapes"},
    StaysDriven: {"crossbar_exit_is_safe"},
    HalvesSteps: {"pulses_move_cells"},
    HidesStuck: {"stuck_cells_are_reported"},
    PortsWhileClosed: {"closed_is_refused"},
    WritesEverything: {"writes_stay_in_place", "outright_writes_read_back"},
}


def crossbar_failures(kind):
    tolerance = Tolerance(wires_relative=0.01, reciprocal_relative=1e-6)
    return failures(crossbar_checks(), crossbar_bench(kind, tolerance, drive=line_volts))


def line_volts(device):
    return float(np.max(np.abs(device.inner.line_volts), initial=0.0))


@pytest.mark.parametrize("kind", [Ports, Outright], ids=lambda kind: kind.__name__)
def test_the_whole_crossbar_passes(kind):
    assert crossbar_failures(kind) == {}


@pytest.mark.parametrize("kind", CROSSBAR_CAUGHT_BY, ids=lambda kind: kind.__name__)
def test_broken_crossbars_are_caught_by_the_intended_checks(kind):
    found = crossbar_failures(kind)
    assert set(found) == CROSSBAR_CAUGHT_BY[kind], found


@pytest.mark.parametrize("hook", sorted(CrossbarArray.__abstractmethods__))
def test_an_incomplete_crossbar_does_not_instantiate(hook):
    incomplete = type("Incomplete", (Ports,), {hook: getattr(CrossbarArray, hook)})
    with pytest.raises(TypeError, match=hook):
        incomplete()


def test_unequal_terminations_that_are_not_stated_are_caught():
    wires = WiresConfig(segment_ohms=5.0, source_ohms=500.0)
    with pytest.raises(ConformanceError, match="transfer_is_reciprocal"):
        check_crossbar(
            lambda: EmulatedCrossbar((5, 4), np.random.default_rng(0), wires=wires), Tolerance(wires_relative=0.5)
        )
