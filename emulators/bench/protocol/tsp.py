"""Keithley's TSP: the part of Lua that instrument programs are written in.

Statements of a line follow each other, with or without semicolons: assignments (to several names too), calls,
``local``, ``for ... do ... end``, ``if ... then ... else ... end``. Expressions: numbers, strings, tables in braces,
names with dots and indices, calls, arithmetic, comparisons, ``and or not``, ``..``. What names mean is the
instrument's business: a ``Namespace`` reads, writes and calls what is not a variable of the program.
"""

import math
import operator
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, final

Path = tuple[str | int, ...]
"""A name in its parts: ``smua.nvbuffer1.readings[3]`` is ("smua", "nvbuffer1", "readings", 3)."""

MOST_STEPS = 200_000
"""Statements carried out of one line."""

DEEPEST = 60
"""Levels of nesting."""

SYNTAX, RUNTIME = -285, -286
"""Error numbers of TSP: a program that cannot be read, and one that went wrong."""


class TspError(Exception):
    """``code`` of the error queue and text."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text


class Namespace(ABC):
    """What a program finds outside of its own variables."""

    @abstractmethod
    def get(self, path: Path) -> Any:
        """Value of an attribute: float, str, bool, None, or the path itself for a table.

        Raises:
            TspError: there is none.
        """

    @abstractmethod
    def put(self, path: Path, value: Any) -> None:
        """Write an attribute.

        Raises:
            TspError: there is none, or the value is refused.
        """

    @abstractmethod
    def call(self, path: Path, arguments: Sequence[Any]) -> Sequence[Any]:
        """Call a function; its results.

        Raises:
            TspError: there is none, or it went wrong.
        """


_TOKEN = re.compile(
    r"\s*(?:--[^\n]*|(?P<number>0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<text>\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*')|(?P<mark>\.\.|==|~=|<=|>=|[-+*/%^#<>=(){}\[\],;.:]))",
    re.ASCII,
)
_WORDS = {"and", "or", "not", "true", "false", "nil", "local", "for", "do", "end", "if", "then", "else"}
_LEVELS: tuple[tuple[str, ...], ...] = (
    ("or",), ("and",), ("<", ">", "<=", ">=", "==", "~="), ("..",), ("+", "-"), ("*", "/", "%"),
)  # fmt: skip


@final
class TspProgram:
    """Runs lines; variables last from line to line.

    Args:
        outside: everything that is not a variable.
    """

    def __init__(self, outside: Namespace) -> None:
        self._outside = outside
        self._variables: dict[str, Any] = {}

    def clear(self) -> None:
        """Forget all variables."""
        self._variables.clear()

    def run(self, line: str) -> None:
        """Carry out one line.

        Raises:
            TspError: -285 for what cannot be read; nothing was done then. Others as it runs.
        """
        tokens, at = [], 0
        while at < len(line.rstrip()):
            match = _TOKEN.match(line, at)
            if match is None or match.end() == at:
                raise TspError(SYNTAX, f"TSP Syntax error at {line[at : at + 20]!r}")
            at = match.end()
            if match.lastgroup:
                tokens.append((match.lastgroup, match[match.lastgroup]))
        block = _Parser(tokens).block(())
        _Run(self._outside, self._variables).block(block)


_ARITHMETIC: dict[str, Callable[[float, float], Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "%": operator.mod,
    "^": lambda a, b: math.pow(a, b), "<": operator.lt, ">": operator.gt, "<=": operator.le, ">=": operator.ge,
}  # fmt: skip

Node = tuple[Any, ...]


class _Parser:
    """Tokens to a tree of tuples, each with its sort first."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "end of line")

    def _take(self, wanted: str | None = None) -> str:
        sort, text = self._peek()
        if sort == "end" or (wanted is not None and (sort == "text" or text != wanted)):
            raise TspError(SYNTAX, f"TSP Syntax error: {wanted or 'more'} expected near {text!r}")
        self._at += 1
        return text

    def _accept(self, *wanted: str) -> str | None:
        sort, text = self._peek()
        if sort in ("mark", "name") and text in wanted:
            self._at += 1
            return text
        return None

    def block(self, ends: tuple[str, ...]) -> list[Node]:
        """Statements up to one of ``ends``, or the end of the line."""
        self._depth += 1
        if self._depth > DEEPEST:
            raise TspError(SYNTAX, "TSP Syntax error: nested too deep")
        out: list[Node] = []
        while True:
            while self._accept(";"):
                pass
            sort, text = self._peek()
            if sort == "end" or (sort == "name" and text in ends):
                if ends and sort == "end":
                    raise TspError(SYNTAX, f"TSP Syntax error: {ends[-1]} expected")
                self._depth -= 1
                return out
            out.append(self._statement())

    def _statement(self) -> Node:
        if self._accept("for"):
            name = self._take()
            self._take("=")
            bounds = self._list()
            self._take("do")
            body = self.block(("end",))
            self._take("end")
            if len(bounds) not in (2, 3):
                raise TspError(SYNTAX, "TSP Syntax error: for needs two or three numbers")
            return "for", name, bounds, body
        if self._accept("if"):
            test = self._expression(0)
            self._take("then")
            body = self.block(("else", "end"))
            other = self.block(("end",)) if self._accept("else") else []
            self._take("end")
            return "if", test, body, other
        self._accept("local")
        targets = [self._suffixed()]
        while self._accept(","):
            targets.append(self._suffixed())
        if self._accept("="):
            if any(target[0] != "path" for target in targets):
                raise TspError(SYNTAX, "TSP Syntax error: cannot assign to a call")
            return "set", targets, self._list()
        if len(targets) == 1 and targets[0][0] == "call":
            return targets[0]
        raise TspError(SYNTAX, f"TSP Syntax error: = expected near {self._peek()[1]!r}")

    def _list(self) -> list[Node]:
        out = [self._expression(0)]
        while self._accept(","):
            out.append(self._expression(0))
        return out

    def _expression(self, level: int) -> Node:
        self._depth += 1
        if self._depth > DEEPEST * 10:
            raise TspError(SYNTAX, "TSP Syntax error: nested too deep")
        if level == len(_LEVELS):
            found = self._unary()
        else:
            found = self._expression(level + 1)
            while (mark := self._accept(*_LEVELS[level])) is not None:
                found = ("binary", mark, found, self._expression(level + 1))
        self._depth -= 1
        return found

    def _unary(self) -> Node:
        mark = self._accept("-", "not", "#")
        if mark is not None:
            self._depth += 1
            if self._depth > DEEPEST * 10:
                raise TspError(SYNTAX, "TSP Syntax error: nested too deep")
            found: Node = ("unary", mark, self._unary())
            self._depth -= 1
            return found
        base = self._primary()
        return ("binary", "^", base, self._unary()) if self._accept("^") else base

    def _primary(self) -> Node:
        sort, text = self._peek()
        if sort == "number":
            self._at += 1
            return "value", float(int(text, 16)) if text[:2].lower() == "0x" else float(text)
        if sort == "text":
            self._at += 1
            return "value", re.sub(r"\\(.)", r"\1", text[1:-1])
        if self._accept("("):
            found = self._expression(0)
            self._take(")")
            return found
        if self._accept("{"):
            items = [] if self._peek()[1] == "}" else self._list()
            self._take("}")
            return "table", items
        for word, value in (("true", True), ("false", False), ("nil", None)):
            if self._accept(word):
                return "value", value
        return self._suffixed()

    def _suffixed(self) -> Node:
        sort, text = self._peek()
        if sort != "name" or text in _WORDS:
            raise TspError(SYNTAX, f"TSP Syntax error near {text!r}")
        self._at += 1
        parts: list[Node] = [("value", text)]
        found: Node = ("path", parts)
        while True:
            if found[0] == "path" and self._accept("."):
                parts.append(("value", self._take()))
            elif found[0] == "path" and self._accept("["):
                parts.append(self._expression(0))
                self._take("]")
            elif found[0] == "path" and self._accept("("):
                arguments = [] if self._peek()[1] == ")" and self._peek()[0] == "mark" else self._list()
                self._take(")")
                found = ("call", parts, arguments)
            else:
                return found


class _Run:
    """Carries a tree out."""

    def __init__(self, outside: Namespace, variables: dict[str, Any]) -> None:
        self._outside = outside
        self._variables = variables
        self._steps = 0

    def block(self, statements: Sequence[Node]) -> None:
        """Statements in turn."""
        for statement in statements:
            self._steps += 1
            if self._steps > MOST_STEPS:
                raise TspError(RUNTIME, "TSP Runtime error: program runs too long")
            self._statement(statement)

    def _statement(self, node: Node) -> None:
        sort = node[0]
        if sort == "call":
            self._call(node)
        elif sort == "set":
            values = self._values(node[2])
            for place, target in enumerate(node[1]):
                self._assign(target, values[place] if place < len(values) else None)
        elif sort == "if":
            test = self._value(node[1])
            self.block(node[2] if test is not None and test is not False else node[3])
        else:
            first, last, step = (*(_number(self._value(bound)) for bound in node[2]), 1.0)[:3]
            if step == 0:
                raise TspError(RUNTIME, "TSP Runtime error: for with a step of 0")
            while (first <= last) if step > 0 else (first >= last):
                self._steps += 1
                self._variables[node[1]] = first
                self.block(node[3])
                first += step
                if self._steps > MOST_STEPS:
                    raise TspError(RUNTIME, "TSP Runtime error: program runs too long")

    def _assign(self, target: Node, value: Any) -> None:
        path = self._path(target[1])
        if len(path) == 1:
            self._variables[str(path[0])] = value
        else:
            self._outside.put(self._resolved(path), value)

    def _resolved(self, path: Path) -> Path:
        """A variable that holds a table of the instrument stands for it."""
        held = self._variables.get(str(path[0]))
        return (*held, *path[1:]) if isinstance(held, tuple) else path

    def _path(self, parts: Sequence[Node]) -> Path:
        out: list[str | int] = []
        for part in parts:
            value = self._value(part)
            out.append(round(value) if isinstance(value, float) else str(value))
        return tuple(out)

    def _values(self, nodes: Sequence[Node]) -> list[Any]:
        """Of a list, whose last call gives all its results."""
        out: list[Any] = []
        for place, node in enumerate(nodes):
            if node[0] == "call" and place + 1 == len(nodes):
                out += self._call(node)
            else:
                out.append(self._value(node))
        return out

    def _call(self, node: Node) -> Sequence[Any]:
        return self._outside.call(self._resolved(self._path(node[1])), self._values(node[2]))

    def _value(self, node: Node) -> Any:
        sort = node[0]
        if sort == "value":
            return node[1]
        if sort == "table":
            return [self._value(item) for item in node[1]]
        if sort == "call":
            results = self._call(node)
            return results[0] if results else None
        if sort == "path":
            return self._look_up(self._path(node[1]))
        if sort == "unary":
            value = self._value(node[2])
            if node[1] == "not":
                return value is None or value is False
            return float(len(value)) if node[1] == "#" and isinstance(value, (list, str)) else -_number(value)
        return self._binary(node[1], node[2], node[3])

    def _look_up(self, path: Path) -> Any:
        name = str(path[0])
        if name in self._variables:
            held = self._variables[name]
            for part in path[1:] if not isinstance(held, tuple) else ():
                if not (isinstance(held, list) and isinstance(part, int)):
                    raise TspError(RUNTIME, f"TSP Runtime error: {name} is no table")
                held = held[part - 1] if 1 <= part <= len(held) else None
            return self._outside.get(self._resolved(path)) if isinstance(held, tuple) else held
        return self._outside.get(path)

    def _binary(self, mark: str, left: Node, right: Node) -> Any:
        first = self._value(left)
        if mark in ("and", "or"):
            true = first is not None and first is not False
            return self._value(right) if true == (mark == "and") else first
        second = self._value(right)
        if mark == "..":
            return shown(first) + shown(second)
        if mark in ("==", "~="):
            return (first == second) == (mark == "==")
        a, b = _number(first), _number(second)
        try:
            return _ARITHMETIC[mark](a, b)
        except (ArithmeticError, ValueError):
            raise TspError(RUNTIME, f"TSP Runtime error: cannot compute {a:g} {mark} {b:g}") from None


def _number(value: Any) -> float:
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            pass
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TspError(RUNTIME, f"TSP Runtime error: attempt to perform arithmetic on {shown(value)[:20]}")
    return float(value)


def shown(value: Any, precision: int = 6) -> str:
    """As ``print`` writes it: numbers in ``precision`` significant digits with an exponent."""
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return f"{value:.{precision - 1}e}"
    if isinstance(value, (list, tuple)):
        return "table"
    return str(value)
