"""What an experiment would ask of its device at most, known without opening it.

All figures are bounds from the experiment file, the data and the device's description: what stands on lines is known
from the data, the nudge from its amplitude and the largest error that outputs can have, pulses from the largest burst
of a write. Neurons that saturate are taken to do so. Outputs without a saturation are bounded by the largest voltage
that lines bear alone, which runs seldom get to: a nudge that is beyond a limit only there is in doubt, and not refused.
Times are at the device's own pace (``substrate.outlay``). That of reading is an estimate: samples one after another,
with the states, records and products of a step of the rule (``rule_pace``). That of writing is a bound, with every cell
pulsed by every write: how many are is not known before the training. Their sum is therefore no bound.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np

from substrate.activations import ACTIVATIONS
from substrate.capabilities import Capabilities
from substrate.experiment.assembly import Assembly
from substrate.experiment.rule_pace import (
    clamp_of,
    preparations_of,
    probe_of,
    products_of,
    programmings_of,
    records_of,
    repeats_of,
    states_of,
    writes_of,
)
from substrate.hadamard import sign_patterns
from substrate.network import Coupling
from substrate.outlay import Demand, Outlay, Pace
from substrate.rules.asymmetric_ep import AsymmetricEPSection
from substrate.rules.coupled_learning import CoupledLearningSection
from substrate.rules.penalty import mirrored_pairs
from substrate.tiki_taka import symmetry_cycles
from substrate.tone_response import octaves
from substrate.tones import SamplingPlan
from substrate.writing import Mode, mode_of

FAR = 1e3
"""Summed input, activity units, at which a neuron that saturates has done so."""


@final
@dataclass(frozen=True)
class DryRun:
    """All demands of an experiment.

    Attributes:
        experiment, backend: their names.
        demands: in the order in which they are listed.
        unreachable: why the device cannot be opened as things stand; None: nothing is known to be in the way.
    """

    experiment: str
    backend: str
    demands: tuple[Demand, ...]
    unreachable: str | None = None

    @property
    def refused(self) -> bool:
        """Whether any request will be refused."""
        return any(one.refused for one in self.demands)

    def as_data(self) -> dict[str, Any]:
        """Plain data, for JSON; what has no limit has None."""
        out = asdict(self)
        for one in out["demands"]:
            one["limit"] = None if np.isinf(one["limit"]) else one["limit"]
        return out


def dry_run(assembly: Assembly) -> DryRun:
    """The demands of an experiment whose device is described, and stays closed.

    Raises:
        CapabilityError: the device lacks what the rule, the penalty or the writing needs.
        InputError: initial weights that no cell can show; a ledger of pulses that cannot be read.
    """
    # What a run would be refused for before its first reading.
    assembly.controller()
    assembly.initial_weights()
    device = assembly.substrate
    found = [*_drives(assembly), *_pulses(assembly)]
    if device.outlay is not None:
        reading, writing = _reading_seconds(assembly, device.outlay.pace), _writing_seconds(assembly, device.outlay)
        found += [
            Demand("time reading, an estimate", reading, "s"),
            *_nudging_again(assembly, device.outlay.pace),
            Demand("time writing, at most", writing, "s"),
            Demand("time in all, about", reading + writing, "s"),
        ]
    missing = None if device.unreachable is None else str(device.unreachable)
    return DryRun(assembly.experiment.experiment, str(assembly.experiment.substrate["backend"]), tuple(found), missing)


def _drives(assembly: Assembly) -> Iterator[Demand]:
    """Voltages and currents."""
    experiment, device, data = assembly.experiment, assembly.substrate, assembly.dataset
    limits, scale, network = device.capabilities.limits, device.scale, device.network
    outlay = device.outlay or Outlay()
    inputs = max(float(np.abs(part).max(initial=0.0)) for part in (data.train_inputs, data.test_inputs))
    rails = max((abs(line) for coupling in network.arrays for line in coupling.bias_lines), default=0.0)
    yield Demand("largest input", inputs * scale.volts_per_unit, "V", limits.read_volts)
    yield Demand("bias lines", rails * scale.volts_per_unit, "V", limits.read_volts)
    if outlay.drives_neurons:
        low, high = _outputs(assembly)
        yield Demand("neurons on lines", max(-low, high) * scale.volts_per_unit, "V", limits.read_volts)
    amperes, surely = _nudge_amperes(assembly)
    if amperes:
        yield Demand("largest nudge", amperes, "A", limits.current_amperes, surely)
        if outlay.nudge_volts_per_ampere:
            volts = outlay.nudge_volts_per_ampere
            most = limits.current_amperes * volts
            yield Demand("largest nudge, at its source", amperes * volts, "V", most, surely * volts)
    records, section = records_of(experiment.rule, experiment.nudge), experiment.homeostasis
    pushed = experiment.rule.name == "multiplexed" or probe_of(experiment.rule) or _by_tones(assembly)
    if records or pushed:
        highest = device.capabilities.highest_frequency_hz
        yield Demand("nudge frequency", experiment.nudge.frequency_hz, "Hz", highest)
    if records:
        batches = _steps(assembly) + preparations_of(experiment.rule, experiment.nudge)
        batches *= 1 + repeats_of(experiment.rule, experiment.nudge)
        seconds = batches * experiment.training.batch_size * sum(one.periods / one.frequency_hz for one in records)
        yield Demand("time under nudges, one sample at a time", seconds, "s")
    if section.strength > 0 and not section.by_tones and np.isfinite(outlay.line_amperes):
        # The largest value of a probe stands on one line, which feeds all those across it.
        volts = min(scale.volts_per_unit, limits.read_volts)
        ends = []
        for one in (one for pair in mirrored_pairs(network) for one in pair):
            across = max(one.shape) if section.estimator == "published" else one.shape[1]
            window = device.capabilities.of(one.name).conductance_window_siemens
            ends.append([across * volts * siemens for siemens in window])
        low, high = np.max(ends, axis=0)
        yield Demand("a line of an array read alone", float(high), "A", outlay.line_amperes, float(low))
    yield from outlay.demands
    if device.outlay is None and experiment.writing.mode != "outright":
        yield Demand("largest programming pulse", limits.write_volts, "V", limits.write_volts)


def _pulses(assembly: Assembly) -> Iterator[Demand]:
    """Pulses of a cell, beside its budget."""
    experiment, device = assembly.experiment, assembly.substrate
    # Of arrays of several kinds of cells, those that take the most.
    kinds = [one for one in device.capabilities.kinds if _mode(assembly, one) == experiment.writing.mode]
    programming = max(_programming_pulses(assembly, one) for one in kinds)
    training = max(_training_pulses(assembly, one) for one in kinds)
    # Of arrays that follow the signs of others; how many change is not known.
    anew = programming * programmings_of(experiment.rule, _steps(assembly))
    if experiment.writing.mode == "outright":
        yield Demand("writes of each cell", programming + anew + training, "")
    else:
        yield Demand("pulses of a cell, first programming", programming, "")
        if anew:
            yield Demand("pulses of a cell, programmed anew", anew, "")
        yield Demand("pulses of a cell, training", training, "")
    outlay = device.outlay
    if outlay is not None and np.isfinite(outlay.pulses_per_cell):
        given = outlay.most_given()
        yield Demand(f"pulses of a cell so far{'' if outlay.kept else ' (no pulse_ledger)'}", given, "")
        total = given + programming + training
        yield Demand("pulses of a cell, all of these", total + anew, "", outlay.pulses_per_cell, total)


def _steps(assembly: Assembly) -> int:
    training = assembly.experiment.training
    return training.epochs * (len(assembly.dataset.train_labels) // training.batch_size)


def _writes(assembly: Assembly) -> int:
    """Of an array in all steps."""
    experiment = assembly.experiment
    return _steps(assembly) * writes_of(experiment.rule, penalised=experiment.homeostasis.strength > 0)


def _by_tones(assembly: Assembly) -> bool:
    """Whether the penalty pushes every neuron."""
    section = assembly.experiment.homeostasis
    return section.strength > 0 and section.by_tones


def _burst(assembly: Assembly, cells: Capabilities) -> int:
    """Most pulses of one device in a write: those of a pair share them, unless they only go up."""
    burst = assembly.experiment.writing.largest_burst
    shared = cells.step_siemens[1] > 0
    single = any(coupling.polarities == 1 for coupling in assembly.substrate.network.arrays)
    return (burst + 1) // 2 if shared and not single else burst


def _mode(assembly: Assembly, cells: Capabilities) -> Mode:
    return mode_of(assembly.experiment.writing.mode, cells)


def _programming_pulses(assembly: Assembly, cells: Capabilities) -> int:
    if _mode(assembly, cells) == "outright":
        # Once more where cells did not follow, so that those beside them make up for it.
        return max(coupling.polarities for coupling in assembly.substrate.network.arrays)
    pulses = assembly.experiment.writing.plan().program_rounds * _burst(assembly, cells)
    # Pairs that have filled up are reset, and programmed anew.
    return 2 * pulses + 1 if _refreshes(cells) else pulses


def _training_pulses(assembly: Assembly, cells: Capabilities) -> int:
    plan, writes, burst = assembly.experiment.writing.plan(), _writes(assembly), _burst(assembly, cells)
    mode = _mode(assembly, cells)
    if mode == "outright":
        return writes
    pulses = writes * burst * (plan.rounds if mode == "verify" else 1)
    if _refreshes(cells):
        pulses += writes // plan.refresh_every * (1 + plan.refresh_rounds * burst)
    if mode == "tiki_taka":
        before, while_read = symmetry_cycles(cells, plan.largest_burst)
        pulses += sum(abs(count) for count in (*before, *while_read)) + 1
    return pulses


def _refreshes(cells: Capabilities) -> bool:
    return cells.resets and not cells.step_siemens[1]


def _record_seconds(tones: Iterable[SamplingPlan], pace: Pace) -> float:
    """Records of one sample under tones."""
    seconds = 0.0
    for tone in tones:
        filtered = tone.highest_harmonic * tone.periods * pace.filter_periods
        stepped = tone.sample_count * pace.point_seconds
        seconds += pace.record_seconds + (stepped or (tone.periods + filtered) / tone.frequency_hz)
    return seconds


def _nudging_again(assembly: Assembly, pace: Pace) -> Iterator[Demand]:
    """What an automatic amplitude that was too large for some samples costs on top: the others rest meanwhile."""
    experiment = assembly.experiment
    rule, nudge = experiment.rule, experiment.nudge
    if times := repeats_of(rule, nudge):
        batches = _steps(assembly) + preparations_of(rule, nudge)
        seconds = batches * times * experiment.training.batch_size * _record_seconds(records_of(rule, nudge), pace)
        yield Demand("time nudging samples again, at most", seconds, "s")


def _reading_seconds(assembly: Assembly, pace: Pace) -> float:
    """Steps, evaluations, and the cells that a run file keeps."""
    experiment, network = assembly.experiment, assembly.substrate.network
    training, section, rule, nudge = experiment.training, experiment.homeostasis, experiment.rule, experiment.nudge
    nodes = network.node_count
    patterns = nodes if network.resistive else len(sign_patterns(nodes))
    pushed = patterns * (pace.state_seconds + _record_seconds(octaves(nudge.plan(), nudge.richardson), pace))
    sample = (1 + states_of(rule)) * pace.state_seconds + products_of(rule, network) * pace.product_seconds
    recorded = _record_seconds(records_of(rule, nudge), pace)
    sample += recorded
    if rule.name == "multiplexed":
        sample += pushed
    step = training.batch_size * sample
    if isinstance(rule, AsymmetricEPSection):
        inner = [coupling for coupling in network.settling if coupling.source.start >= 0]
        # Arrays that work both ways are read both ways.
        lines = sum(one.source_lines + (one.shape[1] if network.feedback == "shared" else 0) for one in inner)
        # Measured, the network settles once more behind its tones.
        by_tones = rule.samples * pushed + training.batch_size * pace.state_seconds
        step += by_tones if rule.asymmetry == "measured" else lines * pace.product_seconds
    cells = _all_read_seconds(network.arrays, pace)
    if section.strength > 0:
        products = sum(
            2 * (section.probes or lines)
            for coupling in network.backward
            for lines in (coupling.source.size, coupling.target.size)
        )
        step += section.samples * pushed if section.by_tones else products * pace.product_seconds
    evaluation = len(assembly.dataset.test_labels) * pace.state_seconds
    prepared = training.batch_size * (pace.state_seconds + preparations_of(rule, nudge) * recorded)
    # Cells are read for the log, and for the symmetry of mirrored arrays.
    return prepared + _steps(assembly) * step + training.epochs * (evaluation + 2.0 * cells) + cells


def _writing_seconds(assembly: Assembly, outlay: Outlay) -> float:
    device, pace, seconds = assembly.substrate, outlay.pace, 0.0
    for kind in device.capabilities.kinds:
        arrays = [one for one in device.network.arrays if device.capabilities.of(one.name) == kind]
        readings, writes, pulses = _of_each_cell(assembly, kind)
        cells = sum(int(np.prod(coupling.cell_shape)) for coupling in arrays)
        seconds += readings * _all_read_seconds(arrays, pace)
        seconds += cells * (writes * pace.write_seconds + pulses * pace.pulse_seconds)
    return seconds


def _of_each_cell(assembly: Assembly, cells: Capabilities) -> tuple[int, int, int]:
    """Readings for the sake of writing, writes and pulses, in all."""
    plan, mode, changes = assembly.experiment.writing.plan(), _mode(assembly, cells), _writes(assembly)
    programmings = 1 + programmings_of(assembly.experiment.rule, _steps(assembly))
    pulses = programmings * _programming_pulses(assembly, cells) + _training_pulses(assembly, cells)
    if mode == "outright":
        return pulses, pulses, pulses
    # Writes, and those of them before which the cells are read.
    verified = programmings * plan.program_rounds + (changes * plan.rounds if mode == "verify" else 0)
    if _refreshes(cells):
        verified += programmings * plan.program_rounds + changes // plan.refresh_every * (1 + plan.refresh_rounds)
    writes = verified + (0 if mode == "verify" else changes)
    if mode == "tiki_taka":
        writes += sum(map(len, symmetry_cycles(cells, plan.largest_burst)))
    return verified, writes, pulses


def _all_read_seconds(arrays: Iterable[Coupling], pace: Pace) -> float:
    """All cells of arrays are read."""
    return sum(
        int(np.prod(coupling.cell_shape)) * pace.cell_seconds + coupling.shape[0] * pace.row_seconds
        for coupling in arrays
    )


def _outputs(assembly: Assembly) -> tuple[float, float]:
    """Lowest and highest output of a neuron, within what lines bear."""
    rail = _rail(assembly)
    low, high = _saturation(assembly)
    return max(low, -rail), min(high, rail)


def _rail(assembly: Assembly) -> float:
    """What lines bear, activity units."""
    device = assembly.substrate
    return device.capabilities.limits.read_volts / device.scale.volts_per_unit


def _saturation(assembly: Assembly) -> tuple[float, float]:
    """Lowest and highest output of a neuron by its own nature; infinite where there is none."""
    network = assembly.substrate.network
    if network.linear_outputs or network.resistive or network.activation == "linear":
        return -np.inf, np.inf
    low, high = ACTIVATIONS[network.activation].value(np.array([-FAR, FAR]))
    return float(low), float(high)


def _nudge_amperes(assembly: Assembly) -> tuple[float, float]:
    """Amplitude times the largest error, and times one that is met surely; 0: no nudge.

    An automatic amplitude goes up to the limit, and no further. Currents that fall with a node's voltage are taken, as
    devices take them, at the largest one that lines bear.
    """
    experiment, device = assembly.experiment, assembly.substrate
    nudge, rule = experiment.nudge, experiment.rule
    most = surely = max(experiment.homeostasis.amplitude if _by_tones(assembly) else 0.0, probe_of(rule))
    if "nudge.amplitude" not in rule.idle(nudge):
        if nudge.amplitude == "auto":
            limit = device.capabilities.limits.current_amperes
            return limit, limit
        amplitude = float(nudge.amplitude)
        error, least = (amplitude * one for one in _errors(assembly))
        clamp = clamp_of(rule, amplitude, device.scale.unit_siemens)
        if clamp:
            error, least = (clamp * (_rail(assembly) + one) for one in _sources(assembly))
        most, surely = max(most, error + _crossed(assembly)), max(surely, least)
    return most * device.scale.unit_amperes, surely * device.scale.unit_amperes


def _sources(assembly: Assembly) -> tuple[float, float]:
    """Largest activity of a source that outputs are joined to, and one that is met: a target, or on the way to it."""
    targets = max(abs(one) for one in assembly.experiment.cost.targets)
    if isinstance(assembly.experiment.rule, CoupledLearningSection):
        return max(targets, *(abs(one) for one in _outputs(assembly))), 0.0
    return targets, targets


def _crossed(assembly: Assembly) -> float:
    """Largest current of feedback across nodes, activity units, were all weights at the end of their window; 0: none.

    That of AsymEP, W - W^T times what nodes are at beside their free state. An array that works both ways makes it too:
    with wires it is no transpose of itself.
    """
    device, network = assembly.substrate, assembly.substrate.network
    if not isinstance(assembly.experiment.rule, AsymmetricEPSection):
        return 0.0
    joined = np.zeros(network.node_count)
    for coupling in network.settling:
        if coupling.source.start >= 0:
            low, high = device.capabilities.of(coupling.name).conductance_window_siemens
            weight = (high - low) / device.scale.unit_siemens
            joined[coupling.target.nodes] += weight * coupling.source.size
            joined[coupling.source.nodes] += weight * coupling.target.size
    return float(joined.max()) * (max(abs(one) for one in _outputs(assembly)) + _rail(assembly))


def _errors(assembly: Assembly) -> tuple[float, float]:
    """Largest error of an output that can be, and one that is met."""
    experiment = assembly.experiment
    # Neurons are pushed as they are; a softmax of any logits is within 0 .. 1, and so is its error.
    if experiment.rule.name == "multiplexed" or experiment.cost.name != "squared_error":
        return 1.0, 1.0
    (least, most), (low, high) = _outputs(assembly), experiment.cost.targets
    error = max(abs(most - low), abs(high - least))
    if np.all(np.abs(_saturation(assembly)) <= _rail(assembly)):
        return error, error
    # An output that does not tell classes apart yet is off by half their distance from one of them, or more.
    return error, min(error, 0.5 * (high - low))
