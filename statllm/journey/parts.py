"""Shards of a search that isn't complete: what a killed search goes on from."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from statllm.errors import InputError
from statllm.files import read_json, sweep_temporary, write_json
from statllm.journey.tree import Tree, read_trees, write_trees

if TYPE_CHECKING:
    from statllm.journey.policy import StepPolicy
    from statllm.journey.process_reward import ProcessReward
    from statllm.journey.search import SearchSettings


class Parts:
    """Shards of a search that isn't complete, in ``<out>.parts``."""

    def __init__(
        self,
        out: Path,
        rows: Sequence[dict[str, Any]],
        policy: StepPolicy,
        reward: ProcessReward,
        settings: SearchSettings,
    ) -> None:
        self.out, self.folder = out, out.with_name(f"{out.name}.parts")
        about = [rows, policy.identity, reward.identity, settings.model_dump()]
        digest = hashlib.sha256(json.dumps(about, default=str).encode()).hexdigest()
        record = self.folder / "search.json"
        other = record.is_file() and read_json(record) != {"digest": digest}
        # One that stopped before it had anything to go on from stands in nobody's way.
        if other and any(self.folder.glob("*.jsonl")):
            raise InputError(
                f"{self.folder} belongs to another search (other problems, model, reward or "
                "settings); remove it, or write to another file"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        sweep_temporary(self.folder)
        write_json({"digest": digest}, record)

    def read(self, number: int) -> list[Tree] | None:
        path = self._path(number)
        return read_trees(path) if path.is_file() else None

    def write(self, number: int, trees: Sequence[Tree]) -> None:
        write_trees(trees, self._path(number))

    def journal(self, number: int) -> Path:
        """Where a server's answers are kept while their shard isn't complete."""
        return self.folder / f"answers-{number:06d}.jsonl"

    def finish(self, trees: Sequence[Tree]) -> None:
        write_trees(trees, self.out)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, number: int) -> Path:
        return self.folder / f"part-{number:06d}.jsonl"
