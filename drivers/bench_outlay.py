"""What a bench of instruments around a device puts out, and how long it takes, from its wiring."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from drivers.node_readers import PERIODS_A_TIME_CONSTANT, SETTLED_TIME_CONSTANTS, LockInReader, NodeReader, ToneReader
from drivers.pulse_section import EXCHANGE_SECONDS
from drivers.smu_matrix import SmuMatrixArray
from drivers.wiring import WiringConfig
from substrate.outlay import Demand, Outlay

READOUT_SECONDS: Final = 0.1
"""Rule of thumb for the estimates of a dry run: what reads nodes is armed, and hands over what it has read."""


def bench_outlay(wiring: WiringConfig, arrays: Sequence[SmuMatrixArray], readers: Sequence[NodeReader]) -> Outlay:
    """Of instruments that hold, nudge and read the nodes of one device, and of the arrays of its cells."""
    first = arrays[0].outlay
    reference = [] if wiring.reference is None else [Demand("reference sine", wiring.reference.volts, "V")]
    setting = EXCHANGE_SECONDS * (len(wiring.inputs) + len(wiring.nudges)) + wiring.settle_seconds
    reading = READOUT_SECONDS * len(readers)
    free = setting + reading + wiring.free_seconds
    lock_ins = sum(isinstance(reader, LockInReader) for reader in readers)
    return replace(
        first,
        demands=(*first.demands, *reference),
        pace=replace(
            first.pace,
            state_seconds=free,
            point_seconds=0.0 if any(isinstance(reader, ToneReader) for reader in readers) else free,
            record_seconds=setting + reading,
            filter_periods=lock_ins * PERIODS_A_TIME_CONSTANT * SETTLED_TIME_CONSTANTS,
        ),
        most_given=lambda: max(array.outlay.most_given() for array in arrays),
        nudge_volts_per_ampere=max(1.0 / one.siemens for one in wiring.nudges.values()),
    )
