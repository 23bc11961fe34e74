"""Models of instruments by the names that wiring files give them."""

from collections.abc import Mapping
from typing import Any, Final

from drivers.keithley_2400 import Keithley2400
from drivers.keithley_2450 import Keithley2450
from drivers.keithley_2600 import Keithley2600
from drivers.keithley_2750 import Keithley2750
from drivers.keithley_daq6510 import KeithleyDaq6510
from drivers.keysight_33500b import Keysight33500B
from drivers.keysight_34970a import Keysight34970A
from drivers.keysight_b2200 import KeysightB2200
from drivers.keysight_infiniivision import KeysightInfiniiVision
from drivers.red_pitaya import RedPitaya
from drivers.rigol_ds1000z import RigolDS1000Z
from drivers.srs_sr830 import Sr830
from drivers.srs_sr860 import Sr860

DRIVING: Final[Mapping[str, Any]] = {
    "keysight-33500b": Keysight33500B,
    "red-pitaya": RedPitaya,
    "keithley-2400": Keithley2400,
    "keithley-2450": Keithley2450,
    "keithley-2600": Keithley2600,
    "srs-sr830": Sr830,
    "srs-sr860": Sr860,
}
"""Models that can drive something, and are given limits."""

READING: Final[Mapping[str, Any]] = {
    "keysight-infiniivision": KeysightInfiniiVision,
    "rigol-ds1000z": RigolDS1000Z,
    "keithley-daq6510": KeithleyDaq6510,
    "keysight-34970a": Keysight34970A,
    "keysight-b2200": KeysightB2200,
    "keithley-2750": Keithley2750,
}
"""Models that drive nothing themselves."""
