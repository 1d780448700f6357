"""What surrounds a run: its scratch folder."""

from __future__ import annotations

import os
from pathlib import Path

from stillhouse.config import scratch_folder


def test_scratch_folders_of_dead_runs_are_swept(tmp_path: Path) -> None:
    """What a killed run left goes; the folder of a living run, a young one, and what others
    have named alike stay."""
    with scratch_folder(tmp_path) as living:
        names = ["stillhouse-scratch-abcd1234", "stillhouse-scratch-young123"]
        dead, young = (tmp_path / name for name in names)
        others = [tmp_path / "stillhouse-main", tmp_path / "stillhouse-scratch-mine"]
        for folder in (dead, young, *others):
            folder.mkdir()
            (folder / "seen-0").write_bytes(b"x")
        for folder in (living, dead, *others):
            os.utime(folder, (0, 0))
        with scratch_folder(tmp_path) as other:
            assert not dead.exists()
            assert all(folder.exists() for folder in (living, young, other, *others))
    assert not living.exists()
