"""The skew part of a network's couplings, W - W^T in activity coordinates, from what can be measured of them.

W_ij is the weight from node j to node i. The susceptibility at an operating point is chi = (D^-1 - W)^-1 with D the
slopes of the neurons, which are on the diagonal and hence symmetric: chi - chi^T = chi (W - W^T) chi^T, so that
W - W^T = chi^-1 (chi - chi^T) chi^-T exactly (physics.md, section 3).
"""

import numpy as np

from substrate.arrays import BoolArray, FloatArray
from substrate.contract import Substrate
from substrate.network import Network
from substrate.products import weighted_sums
from substrate.rules.perturbation import Perturbed


def asymmetry_from_products(substrate: Substrate) -> FloatArray:
    """W - W^T from readings of every array that takes part while the network settles, (node, node).

    An array that works both ways is read both ways.

    Raises:
        CapabilityError: the device lacks ``forward_products``, or ``transposed_products`` for shared arrays.
    """
    network = substrate.network
    weights = np.zeros((network.node_count, network.node_count))
    for coupling in network.settling:
        if coupling.source.start < 0:
            continue
        source, target = coupling.source.nodes, coupling.target.nodes
        forward = weighted_sums(substrate, coupling, np.eye(coupling.source_lines))
        weights[target, source] += coupling.block(forward).T
        if network.feedback == "shared":
            backward = weighted_sums(substrate, coupling, np.eye(coupling.shape[1]), "backward")
            weights[source, target] += coupling.block(backward.T)
    return np.asarray(weights - weights.T)


def asymmetry_from_susceptibility(network: Network, found: Perturbed) -> FloatArray | None:
    """W - W^T from measured susceptibilities, (node, node); None if no sample is sound.

    The inverse is (chi^T chi + n s^2)^-1 chi^T with s^2 the measured variance of an entry: noise of n x n entries has
    singular values of the order of sqrt(n) s, and directions in which chi has less are not amplified.

    Between nodes that nothing joins W - W^T is zero, and what is found there is error: of noise, or of curvature, which
    at saturated neurons outweighs their own answer (more harmonics or a smaller amplitude help). Its mean square v
    weighs samples by 1/v, and shrinks their mean by 1 - v/p, p the mean square of the entries that are kept, much as
    James & Stein (1961) do: what is all error is not acted on.
    """
    chi = found.susceptibility[found.sound]
    if not len(chi):
        return None
    noise = chi.shape[1] * found.susceptibility_variance
    turned = np.swapaxes(chi, 1, 2)
    inverse = np.linalg.solve(turned @ chi + noise * np.eye(chi.shape[1]), turned)
    skew = inverse @ (chi - turned) @ np.swapaxes(inverse, 1, 2)
    there = joined(network)
    apart = ~there & ~np.eye(len(there), dtype=np.bool_)
    if not apart.any():
        return np.where(there, skew.mean(axis=0), 0.0)
    errors = np.maximum(np.mean(skew[:, apart] ** 2, axis=1), np.finfo(float).tiny)
    mean = np.average(skew, axis=0, weights=errors.min() / errors)
    power = float(np.mean(mean[there] ** 2))
    share = max(0.0, 1.0 - float(np.mean(mean[apart] ** 2)) / power) if power else 0.0
    return np.where(there, share * mean, 0.0)


def first_order_asymmetry(network: Network, found: Perturbed) -> FloatArray | None:
    """(chi_ij - chi_ji)/(chi_ii chi_jj): W - W^T to first order in the couplings, from each pair of neurons alone.

    The mean over samples; None if no sample is sound. Neurons whose own answer is negative tell nothing to first order:
    their entries are zero.
    """
    chi = found.susceptibility[found.sound]
    if not len(chi):
        return None
    own = np.diagonal(chi, axis1=1, axis2=2)
    inverse = np.divide(1.0, own, out=np.zeros_like(own), where=own > 0.0)
    skew = (chi - np.swapaxes(chi, 1, 2)) * inverse[:, :, None] * inverse[:, None, :]
    return np.where(joined(network), skew.mean(axis=0), 0.0)


def joined(network: Network) -> BoolArray:
    """Which pairs of free nodes a coupling joins, in either direction, (node, node)."""
    found = np.zeros((network.node_count, network.node_count), dtype=np.bool_)
    for coupling in network.settling:
        if coupling.source.start >= 0:
            found[coupling.target.nodes, coupling.source.nodes] = True
    return np.asarray(found | found.T)
