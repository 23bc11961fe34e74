"""A current-mode network moved by explicit steps, u += length (-u + W s + drive), s = f(u + noise).

With steps of one time constant this is the discrete map u <- W s + drive that equilibrium propagation is published on
(Ernoult et al. 2019, arXiv 1905.13633; arXiv 2005.04168): all layers at once, from the activities of the step before.

A step is one matrix product for each layer, or for several that see the same layers; neurons stand in an order in which
the layers that a layer sees are neighbours, so that nothing is copied. A complex state is two real ones, which pass the
arrays side by side and meet in the neurons alone.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import numpy.typing as npt

from emulators.networks.complex_states import complex_activity
from emulators.networks.current_mode import Block
from emulators.networks.equations import alternate
from emulators.neurons import Neurons
from substrate.arrays import FloatArray, IntArray, Numbers, Reals


@final
@dataclass
class Motion:
    """Where a network is: summed inputs and activities (part, row, node), in stepping order, changed in place.

    One part of a real state; real and imaginary parts of a complex one. Before the first step the rows may be so many
    ``copies`` of the first ones, which then sends the currents of these alone through the arrays.
    """

    u: Reals
    s: Reals
    copies: int = 1

    @property
    def complex(self) -> bool:
        """Whether it has an imaginary part."""
        return len(self.u) == 2

    def repeated(self, times: int) -> "Motion":
        """So many copies, one after another along the rows."""
        u, s = (np.concatenate([values] * times, axis=1) for values in (self.u, self.s))
        return Motion(u, s, times * self.copies)


@final
@dataclass(frozen=True)
class Push:
    """What acts on a network, in stepping order, activity units.

    Attributes:
        currents: (part, row, node), held.
        load: currents into nodes by their own activity, with a minus. None: none.
        cross: blocks of weights that act beside the network's own.
    """

    currents: Reals
    load: "Load | None" = None
    cross: tuple[tuple[slice, slice, Reals], ...] = ()


@final
class SteppingMap:
    """The map of a network.

    Args:
        layers: the layers' places on the node axis, in order.
        blocks: the weights between them.
        neurons: transfer functions of all nodes.
        dtype: float64 or float32, of everything.
        noise: standard deviation of white noise on the summed inputs, drawn at every step.
    """

    def __init__(
        self,
        layers: Sequence[slice],
        blocks: Sequence[Block],
        neurons: Neurons,
        dtype: npt.DTypeLike = np.float64,
        noise: float = 0.0,
    ) -> None:
        groups = alternate(layers)
        placed: list[slice] = [layer for group in groups for layer in group]
        self.order: IntArray = np.concatenate([np.arange(layer.start, layer.stop) for layer in placed])
        self.dtype = np.dtype(dtype)
        self._starts: dict[int, int] = {}
        start = 0
        for layer in placed:
            self._starts[layer.start] = start
            start += layer.stop - layer.start
        self._layers = tuple(placed)
        self._neurons = neurons.pick(self.order)
        self._transfer = _Transfer(self._neurons, self.dtype)
        self._noise = noise
        self._products = _Products((), self.dtype)
        self._places: list[tuple[slice, slice]] | None = None
        self._unreached: tuple[slice, ...] = ()
        self.weigh(blocks)

    def weigh(self, blocks: Sequence[Block]) -> None:
        """Take other weights between the same layers."""
        places = [(block.source, block.target) for block in blocks]
        if places != self._places:
            self._places = places
            self._products = _Products(
                [(self._placed(source), self._placed(target)) for source, target in places], self.dtype
            )
            self._unreached = tuple(
                place
                for place in map(self._placed, self._layers)
                if not any(_within(place, target) for target, _ in self._products.parts)
            )
        self._products.weigh([block.weights for block in blocks])

    def _placed(self, layer: slice) -> slice:
        start = self._starts[layer.start]
        return slice(start, start + layer.stop - layer.start)

    def arrange(self, values: Numbers) -> Reals:
        """Values (..., node) in stepping order and precision, (part, ..., node)."""
        parts = (values.real, values.imag) if np.iscomplexobj(values) else (values,)
        out = np.empty((len(parts), *values.shape), dtype=self.dtype)
        for part, given in zip(out, parts, strict=True):
            for layer in self._layers:
                part[..., self._placed(layer)] = given[..., layer]
        return out

    def restore(self, values: Reals) -> Numbers:
        """The reverse, real or complex, in the precision of this."""
        out = np.empty(
            values.shape[1:], dtype=np.result_type(self.dtype, np.complex64) if len(values) == 2 else self.dtype
        )
        for layer in self._layers:
            if len(values) == 1:
                out[..., layer] = values[0][..., self._placed(layer)]
            else:
                out.real[..., layer] = values[0][..., self._placed(layer)]
                out.imag[..., layer] = values[1][..., self._placed(layer)]
        return out

    def at(self, u: Numbers, rng: np.random.Generator) -> Motion:
        """The state with summed inputs (row, node)."""
        placed = self.arrange(u)
        s = np.empty_like(placed)
        self._activate(placed, s, rng)
        return Motion(placed, s)

    def cross(self, weights: FloatArray) -> tuple[tuple[slice, slice, Reals], ...]:
        """Blocks of further weights (source node, target node), those between layers without any left out."""
        blocks = [
            (source, target) for source in self._layers for target in self._layers if np.any(weights[source, target])
        ]
        products = _Products([(self._placed(source), self._placed(target)) for source, target in blocks], self.dtype)
        products.weigh([weights[source, target] for source, target in blocks])
        return tuple((target, source, part) for target, parts in products.parts for source, part in parts)

    def advance(
        self, motion: Motion, push: Push, steps: int, length: float, rng: np.random.Generator
    ) -> npt.NDArray[np.float64]:
        """Take steps, in place; (row,) the largest |-u + W s + currents| in the last one.

        Args:
            motion: the state; with complex currents or loads it must have two parts.
            push: what acts.
            steps: at least one.
            length: of a step, time constants.
            rng: draws the noise.
        """
        u, s = motion.u, motion.s
        parts, rows, nodes = u.shape
        force = np.empty_like(u)
        activities = s.reshape(parts * rows, nodes)
        loaded = push.load
        residual = np.zeros(rows)
        copies, motion.copies = motion.copies if parts == 1 else 1, 1
        products = self._products.parts
        for step in range(steps):
            sent = activities[: parts * rows // copies]
            out = force.reshape(parts * rows, nodes)[: len(sent)]
            for nodes_of in self._unreached:
                out[:, nodes_of] = 0.0
            for target, ((source, weights), *others) in products:
                np.matmul(sent[:, source], weights, out=out[:, target])
                for source, weights in others:
                    out[:, target] += sent[:, source] @ weights
            for target, source, weights in push.cross:
                out[:, target] += sent[:, source] @ weights
            if copies > 1:
                force.reshape(copies, len(sent), nodes)[1:] = out
                copies = 1
            force += push.currents
            if loaded is not None:
                loaded.subtract(force, s)
            if step == steps - 1:
                change = force - u
                residual[:] = (np.abs(change[0]) if parts == 1 else np.hypot(change[0], change[1])).max(axis=1)
            if length == 1.0:
                u, force = force, u
            else:
                force -= u
                force *= length
                u += force
            self._activate(u, s, rng)
        motion.u = u
        return residual

    def _activate(self, u: Reals, s: Reals, rng: np.random.Generator) -> None:
        if self._noise:
            noise = rng.standard_normal(u.shape[1:], dtype=np.float32 if self.dtype == np.float32 else np.float64)
            noise *= self._noise
            u = u.copy()
            u[0] += noise
        self._transfer.apply(u, s)


@final
class _Transfer:
    """Activities of all nodes with as few passes as the neurons allow."""

    def __init__(self, neurons: Neurons, dtype: npt.DTypeLike) -> None:
        self._dtype = dtype
        self._runs: list[tuple[slice, Neurons, _Tanh | None]] = []
        linear = np.zeros(len(neurons.gain), dtype=np.bool_) if neurons.linear is None else neurons.linear
        edges = [0, *(int(place) for place in np.flatnonzero(np.diff(linear)) + 1), len(linear)]
        for start, stop in itertools.pairwise(edges):
            run = slice(start, stop)
            own = neurons.part(run)
            by_tanh = own.linear is None and own.activation in _Tanh.FORMS
            self._runs.append((run, own, _Tanh(own, dtype) if by_tanh else None))

    def apply(self, u: Reals, out: Reals) -> None:
        """f(u) (part, row, node) into ``out``."""
        for run, neurons, tanh in self._runs:
            if len(u) == 1:
                if tanh is None:
                    out[0, :, run] = neurons.activity(u[0, :, run].astype(np.float64))
                else:
                    tanh.apply(u[0, :, run], out[0, :, run])
            elif tanh is None:
                outputs = complex_activity(neurons, u[0, :, run] + 1j * u[1, :, run])
                out[0, :, run], out[1, :, run] = outputs.real, outputs.imag
            else:
                tanh.apply_complex(u[:, :, run], out[:, :, run])


@final
class _Tanh:
    """Neurons whose transfer function is raised + swing tanh(slope u + shift); what does nothing is left out."""

    FORMS: ClassVar[Mapping[str, tuple[float, float, float, float]]] = {
        "tanh": (1.0, 0.0, 1.0, 0.0),
        # 1/(1 + exp(-4z + 2)) = (1 + tanh(2z - 1))/2.
        "logistic": (2.0, -1.0, 0.5, 0.5),
    }
    """Slope, shift, swing and rise of nominal neurons."""

    def __init__(self, neurons: Neurons, dtype: npt.DTypeLike) -> None:
        slope, shift, swing, raised = self.FORMS[neurons.activation]
        self._slope = _plain(slope * neurons.gain, 1.0, dtype)
        self._shift = _plain(slope * neurons.gain * neurons.offset + shift, 0.0, dtype)
        self._swing = _plain(swing * neurons.saturation, 1.0, dtype)
        self._raised = _plain(raised * neurons.saturation, 0.0, dtype)

    def apply(self, u: Reals, out: Reals) -> None:
        """Of ``u`` (row, node) into ``out``."""
        argument = u
        if self._slope is not None:
            argument = np.multiply(argument, self._slope, out=out)
        if self._shift is not None:
            argument = np.add(argument, self._shift, out=out)
        np.tanh(argument, out=out)
        if self._swing is not None:
            out *= self._swing
        if self._raised is not None:
            out += self._raised

    def apply_complex(self, u: Reals, out: Reals) -> None:
        """Of real and imaginary parts ``u`` (2, row, node) into ``out``.

        With t = tanh a: tanh(a + ib) = (t + i (1 - t^2) sin b cos b)/(cos^2 b + t^2 sin^2 b), from functions of real
        numbers, which are many times as fast. At a pole it is infinite, or no number.
        """
        argument, turned = u[0], u[1]
        if self._slope is not None:
            argument, turned = argument * self._slope, turned * self._slope
        if self._shift is not None:
            argument = argument + self._shift
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            t, sine, cosine = np.tanh(argument), np.sin(turned), np.cos(turned)
            squared = t * t
            inverse = 1.0 / (cosine * cosine + squared * sine * sine)
            np.multiply(t, inverse, out=out[0])
            np.multiply((1.0 - squared) * sine * cosine, inverse, out=out[1])
            if self._swing is not None:
                out *= self._swing
            if self._raised is not None:
                out[0] += self._raised


def _plain(values: FloatArray, neutral: float, dtype: npt.DTypeLike) -> Reals | None:
    """None where nothing is to be done; one number where all are equal."""
    if np.all(values == neutral):
        return None
    return np.asarray(values[0] if np.all(values == values[0]) else values, dtype=dtype)


@final
class Load:
    """Currents out of nodes by their own activity, of (row, node) times it, real or complex, in stepping order.

    Only the nodes that have any are looked at.
    """

    def __init__(self, load: Numbers, dtype: npt.DTypeLike) -> None:
        found = np.flatnonzero(np.any(load, axis=0))
        self._nodes = slice(int(found[0]), int(found[-1]) + 1) if len(found) else slice(0, 0)
        part = load[:, self._nodes]
        self._real = np.ascontiguousarray(part.real, dtype=dtype)
        self._imaginary = np.ascontiguousarray(part.imag, dtype=dtype) if np.iscomplexobj(load) else None

    def subtract(self, force: Reals, s: Reals) -> None:
        """From (part, row, node)."""
        own = s[:, :, self._nodes]
        force[:, :, self._nodes] -= self._real * own
        if self._imaginary is not None:
            force[0][:, self._nodes] += self._imaginary * own[1]
            force[1][:, self._nodes] -= self._imaginary * own[0]


def _within(inner: slice, outer: slice) -> bool:
    return bool(outer.start <= inner.start and inner.stop <= outer.stop)


@final
class _Products:
    """Blocks of weights between places as few products: by target, its sources and weights, contiguous.

    Neighbouring sources of a target become one, and so do neighbouring targets with the same sources.

    Args:
        places: source and target of each block; blocks in the same place add up.
        dtype: of the weights.

    Attributes:
        parts: (target, [(source, weights (source node, target node)), ...]).
    """

    def __init__(self, places: Sequence[tuple[slice, slice]], dtype: npt.DTypeLike) -> None:
        sources: dict[tuple[int, int], list[slice]] = {}
        for source, target in sorted(places, key=lambda place: (place[1].start, place[0].start)):
            known = sources.setdefault((target.start, target.stop), [])
            if known and known[-1].stop == source.start:
                known[-1] = slice(known[-1].start, source.stop)
            elif not (known and _within(source, known[-1])):
                known.append(source)
        joined: list[tuple[slice, list[slice]]] = []
        for (start, stop), known in sources.items():
            if joined and joined[-1][0].stop == start and joined[-1][1] == known:
                joined[-1] = slice(joined[-1][0].start, stop), known
            else:
                joined.append((slice(start, stop), known))
        self.parts = [
            (
                target,
                [
                    (source, np.zeros((source.stop - source.start, target.stop - target.start), dtype))
                    for source in known
                ],
            )
            for target, known in joined
        ]
        # Where the weights of each block go, and whether others are there already.
        self._views: list[tuple[Reals, bool]] = []
        taken: list[tuple[slice, slice]] = []
        for source, target in places:
            self._views.append((self._view(source, target), (source, target) in taken))
            taken.append((source, target))

    def _view(self, source: slice, target: slice) -> Reals:
        for whole, parts in self.parts:
            for joined, weights in parts:
                if _within(source, joined) and _within(target, whole):
                    rows = slice(source.start - joined.start, source.stop - joined.start)
                    return weights[rows, target.start - whole.start : target.stop - whole.start]
        raise AssertionError("every block is part of a product")

    def weigh(self, weights: Sequence[FloatArray]) -> None:
        """Take the weights of all blocks (source node, target node)."""
        for (view, added), block in zip(self._views, weights, strict=True):
            if added:
                view += block.astype(view.dtype, copy=False)
            else:
                view[...] = block
