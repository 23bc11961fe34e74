from pathlib import Path
from typing import Any

import pytest

from substrate import load_experiment, resume, run
from substrate.errors import RunFileError
from substrate.writing import Writer

TINY = ["network.layers=[64, 6, 10]", "data={name: digits, train_limit: 16, test_limit: 4}", "training.epochs=1"]


def test_a_checkpoint_that_lacks_what_this_version_keeps_is_refused_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Writer.snapshot

    def older(writer: Writer) -> dict[str, Any]:
        return {name: kept for name, kept in whole(writer).items() if name != "unmoved"}

    with monkeypatch.context() as patched:
        patched.setattr(Writer, "snapshot", older)
        path = run(load_experiment("digits-ideal", TINY), tmp_path / "run.h5")
    with pytest.raises(RunFileError, match=r"run\.h5: its checkpoint has no 'unmoved'"):
        resume(path, 2)
