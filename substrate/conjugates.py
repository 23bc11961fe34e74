"""From demodulated activities to descent directions, array by array (physics.md, 2.2).

Product rule: the cell's conjugate s_i s_j is demodulated itself; for symmetric couplings, whose one array (or
mirrored pair of arrays) descends along d(s_i s_j)/dbeta. Post-synaptic rule: for each directed weight j -> i, the
response of s_i times the free activity s_j(0); for separate feedback arrays, whatever their symmetry. Squared voltage:
of resistive networks, see ``voltage_conjugates``.
"""

from dataclasses import dataclass
from typing import Literal, final

import numpy as np

from substrate import voltage_conjugates
from substrate.arrays import BoolArray, FloatArray, Numbers
from substrate.errors import InputError
from substrate.network import Coupling, Layer, Network
from substrate.outer_products import Direction, OuterProducts

Conjugate = Literal["product", "postsynaptic", "squared_voltage"]


@final
@dataclass(frozen=True)
class Signals:
    """What a rule measured on a batch, in activity units.

    Attributes:
        inputs: (batch, input), held. What follows is of the precision that the device computes or reads with.
        activity: (batch, node), free.
        response: (batch, node), d(activity)/dbeta at nudge zero.
        response_variance: (batch,), variance that read-out noise leaves on one entry of ``response``; NaN: not known.
        waveform: (batch, time, node), the nudged record, or states under held nudges, which may be complex.
        weights: (batch, time), the functional that takes a record to its derivative at nudge zero; of complex ones the
            real part is meant.
    """

    inputs: FloatArray
    activity: FloatArray
    response: FloatArray
    response_variance: FloatArray
    waveform: Numbers
    weights: Numbers


def conjugate_of(network: Network, choice: str) -> Conjugate:
    """The conjugate that a rule uses on this network: ``auto`` is the product where one array serves both ways.

    Raises:
        InputError: the post-synaptic rule on a resistive network, where every cell joins its nodes both ways, and on
            shared arrays, which work both ways; any on a feedforward one, where a nudge of the outputs moves nothing
            else; the product rule on a loop.
    """
    if network.feedforward:
        raise InputError("rule: a nudge of the outputs does not reach the hidden layers of a feedforward network")
    if network.feedback == "loop" and choice == "product":
        raise InputError("rule.conjugate: the arrays of a loop have no mirror; expected postsynaptic")
    if network.resistive:
        if choice == "postsynaptic":
            raise InputError("rule.conjugate: the arrays of a resistive network work both ways; expected auto")
        return "squared_voltage"
    if network.feedback == "shared" and choice == "postsynaptic":
        raise InputError(
            "rule.conjugate: a shared array descends along both of its directions, of which the post-synaptic rule has "
            "one; expected product"
        )
    if choice == "auto":
        return "product" if network.feedback == "shared" else "postsynaptic"
    return "product" if choice == "product" else "postsynaptic"


def mean_directions(network: Network, signals: Signals, keep: BoolArray, conjugate: Conjugate) -> dict[str, Direction]:
    """Descent direction of every array, (rows, columns), as the mean over the samples that are kept."""
    share = (keep / max(int(keep.sum()), 1)).astype(signals.response.dtype, copy=False)
    return {coupling.name: _mean_direction(signals, coupling, share, conjugate) for coupling in network.settling}


def sample_directions(signals: Signals, coupling: Coupling, conjugate: Conjugate) -> FloatArray:
    """Descent direction of one array for every sample, (batch, rows, columns)."""
    if conjugate == "squared_voltage":
        lines = _rows(signals, coupling, signals.activity)
        return voltage_conjugates.sample_directions(
            coupling, lines, signals.response, signals.waveform, signals.weights
        )
    if conjugate == "product":
        return _sample_products(signals, coupling)
    rows = _rows(signals, coupling, signals.activity)
    return coupling.outer(rows, coupling.columns(signals.response[:, coupling.target.nodes]))


def standard_errors(network: Network, signals: Signals, keep: BoolArray, conjugate: Conjugate) -> dict[str, float]:
    """Frobenius norm of the error that read-out noise leaves on each mean direction; NaN where noise is not known."""
    count = max(int(keep.sum()), 1)
    variance = np.where(keep, signals.response_variance, 0.0)
    if np.isnan(variance).any():
        return {coupling.name: float("nan") for coupling in network.settling}
    errors = {}
    for coupling in network.settling:
        rows = _rows(signals, coupling, signals.activity).reshape(len(variance), -1)
        if conjugate == "squared_voltage":
            power = voltage_conjugates.noise_power(coupling, rows, signals.activity)
            errors[coupling.name] = float(np.sqrt(variance @ power) / count)
            continue
        power = coupling.shape[1] * np.sum(rows**2, axis=1)
        if conjugate == "product" and coupling.source.start >= 0:
            power = power + coupling.source_lines * np.sum(signals.activity[:, coupling.target.nodes] ** 2, axis=1)
        errors[coupling.name] = float(np.sqrt(variance @ power) / count)
    return errors


def exact_directions(
    network: Network, inputs: FloatArray, activity: FloatArray, adjoint: FloatArray, coupling: Coupling
) -> FloatArray:
    """Descent direction of one array for every sample from the adjoint chi^T e, (batch, rows, columns).

    -dC/dw_{j -> i} = (chi^T e)_i s_j; a shared array has both directions.
    """
    rows = coupling.lines(inputs if coupling.source.start < 0 else activity[:, coupling.source.nodes])
    if network.resistive:
        return voltage_conjugates.exact_samples(coupling, rows, activity, adjoint)
    direction = coupling.outer(rows, coupling.columns(adjoint[:, coupling.target.nodes]))
    if network.feedback == "shared" and coupling.source.start >= 0:
        lines = coupling.driven(adjoint[:, coupling.source.nodes])
        direction[:, : lines.shape[1]] += coupling.outer(lines, coupling.columns(activity[:, coupling.target.nodes]))
    return direction


def exact_mean(
    network: Network,
    inputs: FloatArray,
    activity: FloatArray,
    adjoint: FloatArray,
    share: FloatArray,
    coupling: Coupling,
) -> FloatArray:
    """The mean of ``exact_directions`` with the weights ``share`` (batch,), (rows, columns)."""
    rows = coupling.lines(inputs if coupling.source.start < 0 else activity[:, coupling.source.nodes])
    if network.resistive:
        return voltage_conjugates.exact_mean(coupling, rows, activity, adjoint, share)
    direction = rows.T @ coupling.columns(share[:, None] * adjoint[:, coupling.target.nodes])
    if network.feedback == "shared" and coupling.source.start >= 0:
        lines = coupling.driven(adjoint[:, coupling.source.nodes])
        direction[: lines.shape[1]] += lines.T @ coupling.columns(share[:, None] * activity[:, coupling.target.nodes])
    return np.asarray(direction)


def _rows(signals: Signals, coupling: Coupling, activity: FloatArray) -> FloatArray:
    """Free activities on the word lines of an array, the bias line included, (batch, rows), as precise as responses."""
    source = signals.inputs if coupling.source.start < 0 else activity[:, coupling.source.nodes]
    return coupling.lines(source.astype(signals.response.dtype, copy=False))


def _mean_direction(signals: Signals, coupling: Coupling, share: FloatArray, conjugate: Conjugate) -> Direction:
    if conjugate == "product":
        return _mean_product(signals, coupling, share)
    lines = _rows(signals, coupling, signals.activity)
    if conjugate == "squared_voltage":
        response, functional = share[:, None] * signals.response, share[:, None] * signals.weights
        return voltage_conjugates.mean_direction(coupling, lines, response, signals.waveform, functional)
    return OuterProducts(lines, coupling.columns(share[:, None] * signals.response[:, coupling.target.nodes]))


def _weighted(signals: Signals, layer: Layer, share: FloatArray) -> Numbers:
    return signals.waveform[:, :, layer.nodes] * (share[:, None] * signals.weights)[:, :, None]


def _mean_product(signals: Signals, coupling: Coupling, share: FloatArray) -> Direction:
    source, target = coupling.source, coupling.target
    if source.start < 0:
        # A held line does not move, so its product with a node is the node's response times its own activity.
        rows = _rows(signals, coupling, signals.activity)
        return OuterProducts(rows, coupling.columns(share[:, None] * signals.response[:, target.nodes]))
    weighted = coupling.columns(_weighted(signals, target, share).reshape(-1, target.size))
    lines = coupling.lines(signals.waveform[:, :, source.nodes].reshape(-1, source.size))
    return np.asarray((lines.T @ weighted).real) if np.iscomplexobj(weighted) else OuterProducts(lines, weighted)


def _sample_products(signals: Signals, coupling: Coupling) -> FloatArray:
    source, target = coupling.source, coupling.target
    if source.start < 0:
        rows = _rows(signals, coupling, signals.activity)
        return coupling.outer(rows, coupling.columns(signals.response[:, target.nodes]))
    batch = len(signals.weights)
    moved = _weighted(signals, target, np.ones(batch)).reshape(-1, target.size)
    weighted = coupling.columns(moved).reshape(batch, -1, coupling.shape[1])
    driven = coupling.driven(signals.waveform[:, :, source.nodes].reshape(-1, source.size))
    products = driven.reshape(batch, -1, coupling.source_lines).transpose(0, 2, 1) @ weighted
    if not coupling.bias:
        return np.asarray(products.real)
    return np.concatenate([products, weighted.sum(axis=1)[:, None]], axis=1).real
