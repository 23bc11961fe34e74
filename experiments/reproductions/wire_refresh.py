"""Training 784 x 256 cells with wires: what it costs to solve them anew, and what a stale matrix does to gradients.

The array is trained by centred EP from random weights; ``wires.refresh`` says when its effective matrix follows the
cells. The gradient of the stale device is compared, before every write, with that of another whose cells are the same
and whose matrix has just been computed.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import numpy as np
from laboratory import bench, cosine, relative_error
from reproduction import reproduction

from substrate.arrays import FloatArray, IntArray
from substrate.controller import Controller
from substrate.network import Network
from substrate.rules.equilibrium_propagation import EquilibriumPropagation, EquilibriumPropagationSection

NETWORK = Network((784, 256))
COUPLING = NETWORK.forward[0]
ARRAY = COUPLING.name
REFRESH: tuple[str | float, ...] = ("every_write", 3, 6, 0.003, 0.03)
BATCH, STEPS, RATE = 64, 6, 0.05
SEGMENT_OHMS = 1.0


@contextmanager
def device(refresh: str | float) -> Iterator[Controller]:
    rng = np.random.default_rng(0)
    weights = {ARRAY: np.concatenate([rng.standard_normal((784, 256)) / 28.0, np.zeros((1, 256))])}
    section = {
        "backend": "emulator",
        "solver": {"residual": 1e-10},
        "limits": {"current_amperes": 1.0, "read_volts": 1.0},
        "wires": {"segment_ohms": SEGMENT_OHMS, "refresh": refresh},
    }
    rule = EquilibriumPropagation(EquilibriumPropagationSection(), 0.01, rng)
    with bench(NETWORK, rule, weights, section) as controller:
        yield controller


def batches() -> list[tuple[FloatArray, IntArray]]:
    """Bright patches of ten classes, a fifth of the pixels, as images are."""
    rng = np.random.default_rng(1)
    patches = rng.random((10, 784)) ** 8
    labels = rng.integers(0, 10, (STEPS, BATCH))
    return [(np.clip(patches[one] + 0.2 * rng.random((BATCH, 784)) ** 8, 0.0, 1.0), one) for one in labels]


@dataclass
class Course:
    """What one way of refreshing came to."""

    seconds: float = 0.0
    errors: list[float] = field(default_factory=list)
    cosines: list[float] = field(default_factory=list)


def train(controller: Controller, fresh: Controller) -> Course:
    course = Course()
    controller.measure(*batches()[0])
    for inputs, labels in batches():
        start = time.process_time()
        _, estimate = controller.measure(inputs, labels)
        course.seconds += time.process_time() - start
        fresh.program({ARRAY: controller.writer.weights(COUPLING)})
        _, true = fresh.measure(inputs, labels)
        course.errors.append(relative_error(estimate.directions, true.directions))
        course.cosines.append(cosine(estimate.directions, true.directions))
        start = time.process_time()
        controller.step(inputs, labels, RATE)
        course.seconds += time.process_time() - start
    return course


def main() -> None:
    with (
        reproduction(
            "wire_refresh",
            "Training with wires: when the effective matrix follows the cells",
            f"784 x 256, segments of {SEGMENT_OHMS:g} ohm, {STEPS} writes at batch {BATCH}, learning rate {RATE}; not "
            "published",
            "OMP_NUM_THREADS=1 python experiments/reproductions/wire_refresh.py",
        ) as result,
        ExitStack() as stack,
    ):
        fresh = stack.enter_context(device("every_write"))
        for refresh in REFRESH:
            with device(refresh) as controller:
                course = train(controller, fresh)
            what = {"every_write": "every write"}.get(str(refresh), "")
            what = what or (f"every {refresh:g} writes" if float(refresh) >= 1 else f"cells moved by {refresh:g}")
            result.found(
                f"wires.refresh: {what}",
                "-",
                f"{course.seconds / STEPS:.2f} s a step; gradient error {np.mean(course.errors):.1e} in the mean, "
                f"{np.max(course.errors):.1e} at most; cosine {min(course.cosines):.5f} at least",
            )


if __name__ == "__main__":
    main()
