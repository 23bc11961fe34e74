"""The emulated circuit of an experiment or of a run, one sample held and nudged, for a circuit simulator."""

from pathlib import Path

import numpy as np

from substrate.capabilities import Nudge
from substrate.errors import CapabilityError, InputError
from substrate.experiment.assembly import Assembly, Trained


def deck_path(output: str | Path) -> Path:
    """Where a deck may be written.

    Raises:
        InputError: a folder, or a file in a folder that does not exist; a name that ngspice would not take.
    """
    path = Path(output)
    if not path.name or path.is_dir() or str(output).endswith("/"):
        raise InputError(f"--output {output}: expected the name of a deck, got a folder")
    if not path.parent.is_dir():
        raise InputError(f"--output {output}: the folder {path.parent} does not exist")
    if any(character.isspace() for character in path.stem):
        raise InputError(f"--output {output}: expected a name without spaces, which end a file's name in a deck")
    return path


def export_spice(assembly: Assembly, stem: str, sample: int = 0, trained: Trained | None = None) -> str:
    """A deck of the circuit with its initial, or trained, cells: the free state and the rule's nudge of one sample.

    Args:
        assembly: the experiment; its substrate is opened here.
        stem: of the names of the results.
        sample: of the training set.
        trained: a run, whose cells are taken; by default fresh cells.

    Raises:
        CapabilityError: a device that has no circuit to show.
        InputError: a sample that there is not, or that does not settle.
    """
    dataset, experiment = assembly.dataset, assembly.experiment
    if not 0 <= sample < len(dataset.train_labels):
        raise InputError(f"--sample: expected 0..{len(dataset.train_labels) - 1}, got {sample}")
    if assembly.substrate.export is None:
        backend = experiment.substrate["backend"]
        raise CapabilityError(f"substrate.backend: {backend} has no circuit to export; expected emulator")
    with assembly.substrate as substrate:
        controller = assembly.controller()
        assembly.bring_to(controller, trained)
        if trained is None or not assembly.same_rule(trained):
            first = experiment.training.batch_size
            controller.prepare(dataset.train_inputs[:first].astype(np.float64), dataset.train_labels[:first])
        held = slice(sample, sample + 1)
        phase, estimate = controller.measure(dataset.train_inputs[held].astype(np.float64), dataset.train_labels[held])
        if not phase.usable.all():
            raise InputError(f"--sample {sample}: its free phase does not settle or saturates; expected another sample")
        amperes = np.zeros((1, substrate.network.node_count))
        amperes[:, substrate.network.output.nodes] = estimate.amplitude[:, None] * phase.error
        export = substrate.export
        assert export is not None  # as it was before the device was opened
        return export.deck(Nudge(amperes * substrate.scale.unit_amperes), experiment.nudge.plan(), stem)
