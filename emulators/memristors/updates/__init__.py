"""How cells are programmed: one family of update laws a file, and the registry that names them."""

from emulators.memristors.updates.base import AffineLaw, PulsedLaw, ShapedLaw, UpdateLaw
from emulators.memristors.updates.constant import Constant
from emulators.memristors.updates.exponential import Exponential
from emulators.memristors.updates.ideal import Ideal
from emulators.memristors.updates.linear import Linear
from emulators.memristors.updates.one_sided import OneSided
from emulators.memristors.updates.piecewise import Piecewise
from emulators.memristors.updates.power import Power
from emulators.memristors.updates.registry import UPDATE_LAWS, update_from_config
from emulators.memristors.updates.retention import Leak, PowerLawDrift, Retention
from emulators.memristors.updates.soft_bounds import SoftBounds

__all__ = [
    "UPDATE_LAWS",
    "AffineLaw",
    "Constant",
    "Exponential",
    "Ideal",
    "Leak",
    "Linear",
    "OneSided",
    "Piecewise",
    "Power",
    "PowerLawDrift",
    "PulsedLaw",
    "Retention",
    "ShapedLaw",
    "SoftBounds",
    "UpdateLaw",
    "update_from_config",
]
