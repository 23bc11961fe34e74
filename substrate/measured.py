"""Networks that are measured: what hardware shares, however it is reached."""

from typing import final

from substrate.capabilities import Capabilities
from substrate.contract import Scale, Substrate
from substrate.network import Network


class MeasuredSubstrate(Substrate):
    """A network whose states are read and not known: it has no exact responses, and does not go back.

    Args:
        network: the topology that the device is wired as.
        scale: volts and siemens of a unit.
        capabilities: what the device can do and survive.
    """

    def __init__(self, network: Network, scale: Scale, capabilities: Capabilities) -> None:
        self._network, self._scale, self._capabilities = network, scale, capabilities

    @property
    @final
    def capabilities(self) -> Capabilities:
        """As given."""
        return self._capabilities

    @property
    @final
    def network(self) -> Network:
        """As given."""
        return self._network

    @property
    @final
    def scale(self) -> Scale:
        """As given."""
        return self._scale

    @property
    @final
    def oracle(self) -> None:
        """None: responses are measured."""
        return None

    @property
    @final
    def states(self) -> None:
        """None: hardware does not go back."""
        return None
