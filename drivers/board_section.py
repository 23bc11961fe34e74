"""The ``substrate`` section of a reference board, and what a board that is there says of itself."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, final

import numpy as np
from pydantic import Field, model_validator

from drivers.board_session import BoardSession, Patience
from drivers.errors import ProtocolError
from drivers.transport import SerialLink
from substrate.capabilities import Capabilities, Limits
from substrate.errors import InputError
from substrate.network import Network
from substrate.sections import NonNegative, Positive, Section

FLAGS: Final = ("continuous_writing", "resets", "node_nudges", "forward_products", "transposed_products")
"""What a board offers or not."""

REQUIRED: Final = {
    "protocol": int, "max_payload": int, "inputs": int, "nodes": int, "outputs": int, "arrays": list,
    "volts_per_unit": float, "unit_siemens": float, "input_range_volts": float, "node_range_volts": float,
    "current_range_amperes": float, "limits": dict, "window_siemens": list, "step_siemens": list,
    "step_seconds": float, "pulse_volts": float, "pulse_seconds": float, "largest_burst": int,
    **dict.fromkeys(("pulses", *FLAGS), bool),
}  # fmt: skip
"""What a board says of itself."""


@final
class BoardLimitsConfig(Section):
    """What no request may exceed; not above what the board itself allows."""

    read_volts: Positive = 0.25
    write_volts: Positive = 2.0
    current_amperes: Positive = 2.0e-5


@final
class BoardConfig(Section):
    """The ``substrate`` section of a reference board: what is used of it, known before it is opened.

    When it is opened, the board's own description has to agree, and to offer what is declared; ``section_of`` writes a
    section for a board that is there.

    Attributes:
        port: device file, or ``socket://host:port``.
        baud: of a real port.
        volts_per_unit: volts of an activity of one.
        unit_siemens: conductance of a weight of one.
        window_siemens: lowest and highest conductance of a cell.
        step_siemens: mean change of a cell by one pulse (up, down); zeros: no pulses are given.
        pulse_volts: magnitude of the board's pulses at most; None: not known before it is opened.
        pulses_per_cell: budget of a cell; a write that would exceed it is refused. A reset counts as one, and so does
            programming to a conductance: how many pulses the board takes for it, it says for all cells together.
        pulse_ledger: file that keeps the pulses of each cell over all runs (``pulse_budget``). None: they are counted
            from 0 whenever the board is described anew.
        pulse_seconds, step_seconds: of a pulse and of a level of a record, for the estimates of a dry run.
        continuous_writing: the board programs cells to conductances by itself.
        resets: cells can be reset.
        node_nudges: there are current ports at all nodes, not only at the outputs.
        forward_products: single arrays can be read.
        transposed_products: the other way as well.
        reading_step_volts: between neighbouring readings of a node, that of the board's converters, which may be
            coarser than the codes it sends; 0 where it is not known: then only noise counts that is seen.
        limits: see ``BoardLimitsConfig``.
        answer_seconds: deadline of an answer, beyond what the request itself takes.
        attempts: times that a request is sent.
        reconnect_seconds: for a lost port to come back, and for a board to start up.
        watchdog_seconds: after which the board takes the host for dead, and brings its outputs to zero.
        transcript: file that all bytes, both ways, are written to.
    """

    backend: Literal["board"]
    port: str
    baud: Annotated[int, Field(gt=0)] = 921600
    volts_per_unit: Positive = 0.2
    unit_siemens: Positive = 2.5e-5
    window_siemens: tuple[NonNegative, Positive] = (1.0e-6, 1.0e-4)
    step_siemens: tuple[NonNegative, NonNegative] = (0.0, 0.0)
    pulse_volts: Positive | None = None
    pulses_per_cell: Annotated[int, Field(ge=0)] = 1_000_000
    pulse_ledger: str | None = None
    pulse_seconds: Positive = 1.0e-5
    step_seconds: Positive = 2.0e-4
    continuous_writing: bool = False
    resets: bool = False
    node_nudges: bool = True
    forward_products: bool = True
    transposed_products: bool = False
    reading_step_volts: NonNegative = 0.0
    limits: BoardLimitsConfig = BoardLimitsConfig()
    answer_seconds: Positive = 2.0
    attempts: Annotated[int, Field(ge=1)] = 4
    reconnect_seconds: Positive = 5.0
    watchdog_seconds: Annotated[float, Field(ge=0.2, le=60.0)] = 2.0
    transcript: str | None = None

    @property
    def capabilities(self) -> Capabilities:
        """What the section declares. A board that is stepped has no highest frequency."""
        return Capabilities(
            limits=Limits(self.limits.read_volts, self.limits.write_volts, self.limits.current_amperes),
            conductance_window_siemens=self.window_siemens,
            step_siemens=self.step_siemens,
            highest_frequency_hz=float("inf"),
            pulses=any(self.step_siemens),
            continuous_writing=self.continuous_writing,
            simultaneous_sampling=True,
            complex_nudges=False,
            node_nudges=self.node_nudges,
            forward_products=self.forward_products,
            exact_adjoint=False,
            state_snapshots=False,
            resets=self.resets,
            transposed_products=self.transposed_products,
            reading_step_volts=self.reading_step_volts,
        )

    @model_validator(mode="after")
    def _ordered(self) -> "BoardConfig":
        low, high = self.window_siemens
        if not low < high:
            raise ValueError(f"window_siemens: expected [lowest, highest], got [{low:g}, {high:g}]")
        return self


def agree(config: BoardConfig, network: Network, info: Mapping[str, Any]) -> None:
    """Hold what the board says of itself against the network and the section.

    Raises:
        InputError: it is wired or scaled in another way, allows less, or lacks what is declared.
    """
    wired = [[coupling.name, *coupling.cell_shape] for coupling in network.arrays]
    if info["arrays"] != wired or (info["inputs"], info["nodes"]) != (network.input_size, network.node_count):
        raise InputError(
            f"network: the board at {config.port} is wired for {info['inputs']} inputs, {info['nodes']} nodes and "
            f"arrays {info['arrays']}; the experiment has {network.input_size}, {network.node_count} and {wired}"
        )
    own = _offered(info)
    # Boards may reckon in single precision; the mean step of a pulse is known no better than this.
    for key, tolerance in (
        ("volts_per_unit", 1e-6),
        ("unit_siemens", 1e-6),
        ("window_siemens", 1e-6),
        ("step_siemens", 1e-2),
    ):
        said, declared = np.asarray(own[key]), np.asarray(getattr(config, key))
        unused = key == "step_siemens" and not declared.any()
        if not unused and np.any(np.abs(said - declared) > tolerance * np.abs(declared)):
            raise InputError(f"substrate.{key}: the board's is {own[key]}, the section's {declared.tolist()}")
    for key, limit in own["limits"].items():
        asked = getattr(config.limits, key)
        if asked > limit * (1 + 1e-6):
            raise InputError(f"substrate.limits.{key}: the board allows {limit:.6g}, the section {asked:.6g}")
    if config.pulse_volts is not None and info["pulse_volts"] > config.pulse_volts * (1 + 1e-6):
        raise InputError(
            f"substrate.pulse_volts: the board's pulses are of {info['pulse_volts']:.6g} V, the section's "
            f"{config.pulse_volts:.6g} V"
        )
    for key in FLAGS:
        if getattr(config, key) and not own[key]:
            raise InputError(f"substrate.{key}: declared, but the board does not offer it")


def section_of(port: str, baud: int = 921600) -> dict[str, Any]:
    """The ``substrate`` section for the board at a port, as plain data: the board is asked what it is.

    Raises:
        BenchError: there is none, or it does not say what it has to.
    """
    session = BoardSession(SerialLink(port, baud), Patience(baud=baud))
    try:
        session.open()
        return {"backend": "board", "port": port, "baud": baud, **_offered(described(port, session.info))}
    finally:
        session.close()


def described(port: str, info: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a board says of itself, once it is complete.

    Raises:
        ProtocolError: names what is missing.
    """
    for key, kind in REQUIRED.items():
        given = info.get(key)
        if not isinstance(given, kind) and not (kind is float and isinstance(given, int)):
            raise ProtocolError(f"{port}: the board's greeting gives {key} as {given!r}")
    return info


def _offered(info: Mapping[str, Any]) -> dict[str, Any]:
    """What a section may declare of a board at most."""
    limits = info["limits"]
    return {
        "volts_per_unit": info["volts_per_unit"],
        "unit_siemens": info["unit_siemens"],
        "window_siemens": info["window_siemens"],
        "step_siemens": info["step_siemens"] if info["pulses"] else [0.0, 0.0],
        **{key: info[key] for key in ("pulse_volts", "pulse_seconds", "step_seconds")},
        **{key: info[key] for key in FLAGS},
        "limits": {
            "read_volts": min(limits["read_volts"], info["input_range_volts"]),
            "write_volts": limits["write_volts"],
            "current_amperes": min(limits["current_amperes"], info["current_range_amperes"]),
        },
    }
