"""The SCPI grammar of the virtual instruments: what clients send, and what nobody should."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulators.bench.clock import SimulatedClock
from emulators.bench.faults import Faults
from emulators.bench.fixture import Fixture
from emulators.bench.instruments import model, models
from emulators.bench.instruments.base import Instrument, Surroundings
from emulators.bench.plant import CrossbarPlant
from emulators.bench.protocol.framing import ScpiFramer, TooLong
from emulators.bench.protocol.scpi import block, parse_channels, parse_number
from substrate.errors import InputError

MODELS = ["keysight-33512b", "keysight-dsox3024t", "keithley-2400", "keysight-b2201a"]


def build(name: str, strict: bool = False, options: dict | None = None) -> Instrument:
    rng = np.random.default_rng(1)
    clock = SimulatedClock()
    fixture = Fixture(CrossbarPlant("array", (2, 2), rng), clock)
    around = Surroundings(clock, fixture, Faults(rng), rng, strict, threading.RLock())
    instrument = model(name)("it", around, options)
    instrument.power_on()
    return instrument


@pytest.fixture
def generator() -> Instrument:
    return build("keysight-33512b")


@pytest.mark.parametrize(
    ("message", "query", "answer"),
    [
        (b"FREQ 2e3", b"FREQ?", b"+2.000000000000000E+03\n"),
        (b":sour1:frequency +2E+3\r", b"SOURCE:FREQ?", b"+2.000000000000000E+03\n"),
        (b"FREQ 2 kHz;", b"SOUR1:frequency:CW?", b"+2.000000000000000E+03\n"),
        (b"SOUR2:FREQ 1e-06", b"SOUR2:FREQ?;:SOUR1:FREQ?", b"+1.000000000000000E-06;+1.000000000000000E+03\n"),
        (b"OUTP:STAT ON", b"OUTP?", b"1\n"),
        (b"OUTP2 1;:OUTP2 OFF", b"OUTPUT2:STATE?", b"0\n"),
        (b"SOUR:VOLT:LEV:IMM:AMPL .5;OFFS 0.1", b"SOUR:VOLT?;VOLT:OFFS?", None),
        (b"BURS:NCYC 3;MODE TRIG", b"BURS:NCYC?;MODE?", b"+3.000000000000000E+00;TRIG\n"),
        (b'DISP:TEXT "a;b,c"', b"DISP:TEXT?", b'"a;b,c"\n'),
        (b"DISP:TEXT 'it''s'", b"DISP:TEXT?", b'"it\'s"\n'),
        (b"VOLT MAX", b"VOLT?", b"+1.000000000000000E+01\n"),
        (b":*CLS;*ESE 32;*SRE 16", b"*ESE?;*SRE?", b"32;16\n"),
        (b"FUNC squ", b"FUNC?", b"SQU\n"),
        (b"FUNC SQUARE", b"FUNC?", b"SQU\n"),
    ],
)
def test_what_real_clients_send(generator: Instrument, message: bytes, query: bytes, answer: bytes | None) -> None:
    assert generator.execute(message) == b""
    found = generator.execute(query)
    if answer is None:
        assert [float(part) for part in found.split(b";")] == pytest.approx([0.5, 0.1])
    else:
        assert found == answer
    assert generator.execute(b"SYST:ERR?") == b'+0,"No error"\n'


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"FREQUENC 3", -113),
        (b"SOUR3:FREQ 3", -114),
        (b"FREQ", -109),
        (b"FREQ 1,2", -108),
        (b"FREQ abc", -104),
        (b"FREQ 1e12", -222),
        (b"FREQ 3 V", -131),
        (b"FUNC TRAPEZOID", -224),
        (b"%&!", -102),
        (b"DATA:ARB:DAC x,#3ab", -161),
        (b"*TRG", -211),
        (b'DISP:TEXT "open', -151),
        (b"FREQ 3;:FUNC:ARB NOTHERE", 786),
    ],
)
def test_errors_get_their_codes(generator: Instrument, message: bytes, code: int) -> None:
    generator.execute(message)
    assert int(generator.execute(b"SYST:ERR?").split(b",")[0]) == code
    assert generator.execute(b"SYST:ERR?") == b'+0,"No error"\n'


def test_units_after_a_refused_one_are_carried_out(generator: Instrument) -> None:
    assert generator.execute(b"NONSENSE;:FREQ 5;:FREQ?") == b"+5.000000000000000E+00\n"


def test_strict_finds_headers_from_the_root_only_after_a_colon() -> None:
    message, query = b"VOLT:OFFS 0.1;FREQ 5", b"FREQ?"
    lenient, strict = build("keysight-33512b"), build("keysight-33512b", strict=True)
    lenient.execute(message)
    strict.execute(message)
    assert float(lenient.execute(query)) == 5.0
    assert float(strict.execute(query)) == 1000.0
    assert strict.execute(b"SYST:ERR?").startswith(b"-113")


def test_queue_overflows_at_twenty(generator: Instrument) -> None:
    for _ in range(30):
        generator.execute(b"NONSENSE")
    assert generator.execute(b"SYST:ERR:COUN?") == b"20\n"
    codes = [int(generator.execute(b"SYST:ERR?").split(b",")[0]) for _ in range(21)]
    assert codes == [-113] * 19 + [-350, 0]


def test_status_of_ieee_488(generator: Instrument) -> None:
    assert generator.execute(b"*ESR?") == b"128\n"
    generator.execute(b"*ESE 32;NONSENSE;FREQ 1e12")
    assert int(generator.execute(b"*STB?")) & 36 == 36
    assert generator.execute(b"*ESR?;*ESR?") == b"48;0\n"
    generator.execute(b"*OPC")
    assert generator.execute(b"*ESR?") == b"1\n"


def test_samples_by_block_and_by_text_are_the_same(generator: Instrument) -> None:
    codes = np.arange(-8, 8) * 3855 + 10  # 3855 = 0x0F0F, and 10 is a newline
    framer = ScpiFramer()
    message = b"DATA:ARB:DAC one," + block(codes.astype(">i2").tobytes()) + b";:FREQ 7\r\n"
    # Whatever way the bytes are cut, one message comes out.
    for cut in range(1, len(message), 7):
        assert framer.feed(message[:cut]) == []
        assert framer.feed(message[cut:]) == [message[:-2]]
    generator.execute(message[:-2])
    generator.execute(b"DATA:ARB:DAC two," + b",".join(b"%d" % code for code in codes))
    assert generator.execute(b"FREQ?;:SYST:ERR?") == b'+7.000000000000000E+00;+0,"No error"\n'
    times = np.arange(64) / 160e3
    shown = []
    for name in (b"one", b"two"):
        generator.execute(b"FUNC ARB;FUNC:ARB " + name + b";:OUTP ON;:OUTP:LOAD INF;:VOLT 2")
        shown.append(generator.fixture.volts(["it.1"], times)[:, 0])
    np.testing.assert_array_equal(shown[0], shown[1])
    np.testing.assert_allclose(shown[0], np.repeat(codes, 4) / 32767, atol=2e-5)
    generator.execute(b"DATA:ARB:DAC one,1,2,3,4,5,6,7,8")
    assert generator.execute(b"SYST:ERR?").startswith(b"+785")


@pytest.mark.parametrize("size", [0, 1, 9, 10, 999, 12345])
def test_blocks_survive_framing(size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    message = b"A:B " + block(data) + b",1"
    framer = ScpiFramer()
    found = [
        one for start in range(0, len(message) + 1, 100) for one in framer.feed((message + b"\n")[start : start + 100])
    ]
    assert found == [message]


def test_messages_without_an_end_are_not_kept() -> None:
    framer = ScpiFramer(longest=1000, longest_block=5000)
    with pytest.raises(TooLong):
        framer.feed(b"A" * 1001)
    with pytest.raises(TooLong):
        ScpiFramer(longest_block=5000).feed(b"A #46000")
    assert ScpiFramer(longest=100, longest_block=5000).feed(b"A #3900" + b"\n" * 900 + b"\n") != []


def test_numbers_and_channel_lists() -> None:
    assert parse_number("1.5 MHZ", "HZ") == 1.5e6
    assert parse_number("1.5 mV", "V") == pytest.approx(1.5e-3)
    assert parse_number("#HFF") == 255.0
    assert parse_channels("(@101,110:112)") == [101, 110, 111, 112]
    assert parse_channels("(@10203)") == [10203]


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_nothing_raises(name: str, data: st.DataObject) -> None:
    instrument = INSTRUMENTS.setdefault(name, build(name))
    words = ["SOUR", "VOLT", "FREQ", "*IDN", "CHAN1", "WAV:DATA", "OUTP", "TRIG", "CLOS", "CURR:RANG", "LIST", "BURS"]
    words += [
        ":",
        ";",
        "?",
        " ",
        ",",
        "1",
        "-1e99",
        "#",
        "#15",
        "(@",
        ")",
        '"',
        "'",
        "INF",
        "NAN",
        "MIN",
        "1e400",
        "\x00",
    ]
    pieces = st.lists(st.one_of(st.sampled_from(words), st.text(max_size=3)), max_size=12)
    message = data.draw(
        st.one_of(pieces.map(lambda parts: "".join(parts).encode("utf-8", "replace")), st.binary(max_size=40))
    )
    instrument.execute(message)
    codes = [int(code) for code in instrument.execute(b"SYST:ERR:CODE:ALL?").split(b",")]
    # -310 is what an exception inside becomes.
    assert -310 not in codes
    assert instrument.execute(b"SYST:ERR?").strip() in (b'+0,"No error"', b'0,"No error"')


INSTRUMENTS: dict[str, Instrument] = {}


@pytest.mark.parametrize("data", [b"", b"#", b" #9", b" #91", b"'#15", b"a\n\n\nb\r\n", b'"\n"\n'])
def test_framing_of_fragments(data: bytes) -> None:
    whole, single = ScpiFramer().feed(data), ScpiFramer()
    assert [one for byte in data for one in single.feed(bytes([byte]))] == whole


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=60))
def test_framing_does_not_depend_on_how_bytes_arrive(data: bytes) -> None:
    single = ScpiFramer()
    assert [one for byte in data for one in single.feed(bytes([byte]))] == ScpiFramer().feed(data)


def test_models_and_options_are_checked() -> None:
    assert set(MODELS) <= set(models())
    with pytest.raises(InputError, match="keysight-33512b"):
        model("keysight-1")
    with pytest.raises(InputError, match=r"options\.dac_bit"):
        build("keysight-33512b", options={"dac_bit": 3})
    with pytest.raises(InputError, match="expected a number"):
        build("keysight-33512b", options={"dac_bits": "many"})
