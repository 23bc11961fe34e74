"""Sweeps over the nodes of a resistive network whose wires join the nodes of a layer too, compiled.

One node after another moves to where its own balance is restored, within its box, all others held: the exact minimum of
the co-content along that node's voltage, so that no step raises it and the only state that stays is the constrained
minimum (Cryer 1971, SIAM J. Control 9, 385, without over-relaxation). Where wires have no resistance the nodes of a
layer don't see each other, and a pass over the layers is the block update of Scellier 2024 (PMLR 235).
"""

from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
def sweep_nodes(admittance, order, reach, volts, missing, siemens, resistance, low, high, count):  # type: ignore[no-untyped-def]
    """``count`` passes over all nodes in ``order``; ``volts`` and ``missing`` are changed in place.

    Args:
        admittance: (node, node) siemens, symmetric.
        order: (node,) places, in the order of updates.
        reach: (node, 2), from and up to which place a node is joined to others, itself among them.
        volts, low, high: (batch, node) volts and their bounds.
        missing: (batch, node) amperes of the drive that do not leave the nodes yet.
        siemens: (batch, node) from nodes to ground, beside the admittance; or (0, 0) for none.
        resistance: (batch or 1, node) ohms, 1/(admittance of the node itself + siemens).
    """
    loaded = siemens.size > 0
    for _ in range(count):
        for node in order:
            row = admittance[node]
            first, last = reach[node]
            for sample in range(len(volts)):
                before, short = volts[sample, node], missing[sample]
                after = before + short[node] * resistance[sample if loaded else 0, node]
                after = min(max(after, low[sample, node]), high[sample, node])
                step = after - before
                if step == 0.0:
                    # A diode holds it where it was.
                    continue
                volts[sample, node] = after
                if loaded:
                    short[node] -= siemens[sample, node] * step
                for other in range(first, last):
                    short[other] -= row[other] * step
