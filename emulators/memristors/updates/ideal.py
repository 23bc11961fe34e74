"""Continuous exact writing: a cell takes any conductance of the window, without pulses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from emulators.memristors.updates.base import UpdateLaw


@final
@dataclass(frozen=True, kw_only=True)
class Ideal(UpdateLaw):
    """The limit of ever finer steps: ``Devices.set`` writes any conductance in the window exactly."""

    law: ClassVar[str] = "ideal"
    pulsed: ClassVar[bool] = False

    @property
    def start(self) -> float:
        """The middle of the window."""
        return 0.0
