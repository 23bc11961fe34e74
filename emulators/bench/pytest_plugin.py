"""A pytest fixture that gives tests a bench of their own.

```python
def test_my_script(virtual_bench):
    bench = virtual_bench("bench.yaml")          # or a mapping of the same form
    generator = visa.open_resource(bench.resources["generator"], read_termination="\\n")
```
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from emulators.bench.bench import VirtualBench


@pytest.fixture
def virtual_bench() -> "Iterator[Callable[[Mapping[str, Any] | str | Path], VirtualBench]]":
    """Opens benches; all are closed after the test, outputs off first."""
    with ExitStack() as stack:

        def opened(config: Mapping[str, Any] | str | Path, seed: int | None = None) -> "VirtualBench":
            # Imported on first use: a test session without a bench should not pay for it.
            from emulators.bench.bench import VirtualBench

            return stack.enter_context(VirtualBench(config, seed))

        yield opened
