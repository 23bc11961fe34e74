"""The series of a training run's file."""

from dataclasses import fields

import numpy as np

from substrate.arrays import FloatArray
from substrate.controller import StepReport
from substrate.experiment.assembly import Assembly
from substrate.experiment.layout import Column, Series
from substrate.ledger import ACTIVITIES, Ledger
from substrate.network import Network
from substrate.tones import SamplingPlan

_COUNTS = frozenset(
    {
        "pulses",
        "failed_cells",
        "saturated_weights",
        "refreshed_pairs",
        "cut_pulses",
        "lost_branch",
        "saturated",
        "unsettled",
        "kinked",
    }
)

_WIRE_SERIES = Series(
    (
        Column("seconds", units="s", description="since 1970, when it was sent or had come in"),
        Column("instrument", "S48"),
        Column("direction", "S1", description="> to the instrument, < from it"),
        Column("bytes", "i8", units="byte", description="length of the whole"),
        Column("text", "S240", description="the beginning; what is not printable ASCII is escaped"),
    ),
    index="line",
    group="instruments/transcript",
)


def series_of(assembly: Assembly) -> dict[str, Series]:
    """Every series that the runner appends to, by name."""
    experiment, network = assembly.experiment, assembly.substrate.network
    layers = [layer.name for layer in network.layers[1:]]
    plan = experiment.nudge.plan()
    outputs, classes = network.output.size, assembly.dataset.class_count
    steps = [Column(field.name, "i8" if field.name in _COUNTS else "f8", "1") for field in fields(StepReport)]
    steps += [Column("learning_rate")]
    steps += [
        Column(f"error_cosine_{name}", description="cosine between measured and exact error, mean over samples")
        for name in layers
    ]
    series = {
        "epochs": Series(
            (
                Column("test_accuracy"),
                Column("train_accuracy"),
                Column("train_loss"),
                Column("test_loss"),
                Column("test_unsettled", "i8"),
                Column("symmetry"),
                Column("learning_rate"),
                Column("pulses", "i8"),
                Column("excluded_fraction"),
                Column("gradient_cosine"),
                Column("seconds", units="s"),
                Column("samples_per_second", units="1/s"),
            ),
            index="epoch",
        ),
        "train": Series(tuple(steps), index="step"),
        "conductances": _cell_series(network, "f8", "siemens"),
        "evaluation": Series(
            (Column("confusion", "i8", shape=(classes, classes), dims=("label", "prediction")),), index="epoch"
        ),
    }
    if assembly.substrate.capabilities.pulses_anywhere:
        series["pulses"] = _cell_series(network, "i8", "1")
    if experiment.rule.periodic:
        series["nudge"] = _nudge_series(plan, outputs)
    if experiment.logging.records:
        samples = plan.sample_count * experiment.nudge.richardson
        shape = (experiment.training.batch_size, samples, network.node_count)
        series["records"] = Series(
            (
                Column(
                    "nodes",
                    units="volts",
                    shape=shape,
                    dims=("sample", "time", "node"),
                    coordinates={"time": _record_seconds(plan, experiment.nudge.richardson)},
                ),
            ),
            index="epoch",
        )
    instruments = assembly.substrate.instruments
    if instruments is not None and instruments.wire_log is not None:
        series["transcript"] = _WIRE_SERIES
    if assembly.substrate.ledger is not None:
        series["ledger"] = _ledger_series(assembly.substrate.ledger)
    return series


def _cell_series(network: Network, dtype: str, units: str) -> Series:
    """A number of every cell, by array, at the end of every epoch; the row of index 0 is after programming."""
    dims = ("polarity", "wordline", "bitline")
    columns = (Column(c.name, dtype, units, shape=c.cell_shape, dims=dims) for c in network.arrays)
    return Series(tuple(columns), index="epoch")


def _nudge_series(plan: SamplingPlan, outputs: int) -> Series:
    """One period of the tone at the outputs, and its harmonics, at the end of every epoch."""
    spectrum, dims = (plan.highest_harmonic + 1, outputs), ("harmonic", "output")
    return Series(
        (
            Column(
                "output_volts",
                units="volts",
                shape=(plan.samples_per_period, outputs),
                dims=("phase", "output"),
                coordinates={"phase": np.degrees(plan.phases())},
            ),
            Column("cosine_volts", units="volts", shape=spectrum, dims=dims),
            Column("sine_volts", units="volts", shape=spectrum, dims=dims),
            Column("nudge_amperes", units="amperes", shape=(outputs,), dims=("output",)),
            Column("harmonics", "i8", description="the highest that the derivative was taken from"),
        ),
        index="epoch",
    )


def _ledger_series(ledger: Ledger) -> Series:
    """Totals since the run began, at the end of every epoch; the row of index 0 is what programming has cost."""
    shape, dims = (len(ledger.parts), len(ACTIVITIES)), ("part", "activity")
    names = {"part": ledger.parts, "activity": ACTIVITIES}
    return Series(
        (
            Column("energy_joules", units="joules", description="all parts and activities"),
            Column("device_seconds", units="s", description="time on the device's clock"),
            Column("joules", units="joules", shape=shape, dims=dims, coordinates=names),
            Column("seconds", units="s", shape=shape, dims=dims, coordinates=names, description="each part busy"),
            Column(
                "elapsed_seconds",
                units="s",
                shape=(len(ACTIVITIES),),
                dims=("activity",),
                coordinates={"activity": ACTIVITIES},
            ),
            Column(
                "pulses",
                "i8",
                shape=(len(ledger.arrays),),
                dims=("array",),
                coordinates={"array": ledger.arrays},
                description="taken by moving cells",
            ),
        ),
        index="epoch",
    )


def _record_seconds(plan: SamplingPlan, frequencies: int) -> FloatArray:
    """Time of every sample of the records of all frequencies, one after another, from the first crest on."""
    steps = np.concatenate([np.full(plan.sample_count, 2.0**octave / plan.rate_hz) for octave in range(frequencies)])
    return np.concatenate([[0.0], np.cumsum(steps)[:-1]])
