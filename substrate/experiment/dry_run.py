"""What an experiment would ask of its device at most, known without opening it.

All figures are bounds from the experiment file, the data and the device's description: what stands on lines is known
from the data, the nudge from its amplitude and the largest error that outputs can have, pulses from the largest burst
of a write. A device whose neurons have no saturation is taken to reach the largest voltage that its lines bear.
"""

from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np

from substrate.activations import ACTIVATIONS
from substrate.experiment.assembly import Assembly

FAR = 1e3
"""Summed input, activity units, at which a neuron that saturates has done so."""


@final
@dataclass(frozen=True)
class Demand:
    """One figure: what is asked for at most, and what the device survives (infinite: no limit is known)."""

    what: str
    value: float
    unit: str
    limit: float = float("inf")

    @property
    def refused(self) -> bool:
        """Whether a request of this size would be refused."""
        return self.value > self.limit * (1 + 1e-12)

    def __str__(self) -> str:
        value = f"{self.value:.4g} {self.unit}".rstrip()
        if np.isinf(self.limit):
            return f"{self.what:44}{value}"
        return (
            f"{self.what:44}{value:16}limit {self.limit:.4g} {self.unit}{'  BEYOND: refused' if self.refused else ''}"
        )


@final
@dataclass(frozen=True)
class DryRun:
    """All demands of an experiment."""

    experiment: str
    backend: str
    demands: tuple[Demand, ...]

    @property
    def refused(self) -> bool:
        """Whether any request may be refused."""
        return any(one.refused for one in self.demands)

    def as_data(self) -> dict[str, Any]:
        """Plain data, for JSON; what has no limit has None."""
        out = asdict(self)
        for one in out["demands"]:
            one["limit"] = None if np.isinf(one["limit"]) else one["limit"]
        return out


def dry_run(assembly: Assembly) -> DryRun:
    """The demands of an experiment whose device is described, and stays closed."""
    experiment, device, data = assembly.experiment, assembly.substrate, assembly.dataset
    limits, scale, network = device.capabilities.limits, device.scale, device.network
    training, writing = experiment.training, experiment.writing.plan()
    inputs = max(float(np.abs(part).max(initial=0.0)) for part in (data.train_inputs, data.test_inputs))
    rails = max((abs(line) for coupling in network.arrays for line in coupling.bias_lines), default=0.0)
    demands = [
        Demand("largest input", inputs * scale.volts_per_unit, "V", limits.read_volts),
        Demand("bias lines", rails * scale.volts_per_unit, "V", limits.read_volts),
    ]
    steps = training.epochs * (len(data.train_labels) // training.batch_size)
    if experiment.rule.periodic:
        demands.append(Demand("largest nudge", _nudge_amperes(assembly), "A", limits.current_amperes))
        nudge = experiment.nudge
        tone = sum(nudge.plan().periods / nudge.frequency_hz * 2**halving for halving in range(nudge.richardson))
        demands.append(Demand("time under nudges, one sample at a time", steps * training.batch_size * tone, "s"))
    if writing.mode == "outright":
        demands.append(Demand("writes of each cell", steps + 1, ""))
    else:
        rounds = writing.rounds if writing.mode == "verify" else 1
        demands += [
            Demand("largest programming pulse", limits.write_volts, "V", limits.write_volts),
            Demand("pulses of a cell, first programming", writing.program_rounds * writing.largest_burst, ""),
            Demand("pulses of a cell, training", steps * rounds * writing.largest_burst, ""),
        ]
    return DryRun(experiment.experiment, str(experiment.substrate["backend"]), tuple(demands))


def _nudge_amperes(assembly: Assembly) -> float:
    """Amplitude times the largest error; an automatic amplitude goes up to the limit, and no further."""
    experiment, device = assembly.experiment, assembly.substrate
    limit = device.capabilities.limits.current_amperes
    if experiment.nudge.amplitude == "auto":
        return limit
    rail = device.capabilities.limits.read_volts / device.scale.volts_per_unit
    network = device.network
    linear = network.linear_outputs or network.resistive or network.activation == "linear"
    # A softmax of any logits is within 0 .. 1, and so is its error.
    if experiment.cost.name != "squared_error":
        error = 1.0
    else:
        value = rail if linear else float(ACTIVATIONS[network.activation].value(np.array([FAR]))[0])
        low, high = experiment.cost.targets
        least = -rail if linear else float(ACTIVATIONS[network.activation].value(np.array([-FAR]))[0])
        error = max(abs(min(value, rail) - low), abs(high - max(least, -rail)))
    return float(experiment.nudge.amplitude) * error * device.scale.unit_amperes
