"""Samples of tasks with their verdicts, as `passk` reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from statllm.errors import InputError


class Samples:
    """Verdicts of each task, and where its other columns lie."""

    def __init__(
        self, correct: Any, items: list[str], clusters: Any, key: str | None, notes: tuple[str, ...]
    ) -> None:
        self.correct, self.items, self.clusters, self.key = correct, items, clusters, key
        self.notes = notes

    @classmethod
    def read(cls, source: Path, column: str | None, item: str | None, **options: Any) -> Samples:
        import numpy as np

        from statllm.integrations import read_scores
        from statllm.ragged import Ragged

        try:  # scores of a generation table have verdicts of samples and of their majority
            scores = read_scores(source, column or "correct", item=item, **options)
        except InputError:
            if column is not None:
                raise
            scores = read_scores(source, item=item, **options)
        rows: dict[str, list[float]] = {}
        for name, value in zip(scores.item, scores.score.tolist(), strict=True):
            rows.setdefault(name, []).append(value)
        groups = {} if scores.cluster is None else scores.cluster_of()
        missing = [name for name, values in rows.items() if np.isnan(values).any()]
        if missing:
            raise InputError(
                f"{source}: task '{missing[0]}' has a sample without a verdict; say whether it is "
                "a failure before (statllm score does)"
            )
        for name, values in rows.items():
            other = next((v for v in values if v not in (0, 1)), None)
            if other is not None:
                raise InputError(
                    f"{source}: {scores.metric} of task '{name}' is {other:g}, not 0 or 1"
                )
        items = list(rows)
        clusters = [groups[name] for name in items] if groups else None
        correct = Ragged.from_lists([rows[name] for name in items], np.float64)
        return cls(correct, items, clusters, item, scores.notes)

    def column(self, table: Any, source: Path, name: str, kind: type) -> Any:
        """Another column in the same order of tasks and samples."""
        import numpy as np

        from statllm.integrations.plain import ITEMS, item_label
        from statllm.ragged import Ragged

        if name not in table.column_names:
            raise InputError(f"{source} has no column '{name}'")
        key = self.key or next((each for each in ITEMS if each in table.column_names), None)
        if key is None:
            raise InputError(f"{source} has none of the columns {', '.join(ITEMS)}")
        rows: dict[str, list[Any]] = {each: [] for each in self.items}
        for given, value in zip(table[key].to_pylist(), table[name].to_pylist(), strict=True):
            label = item_label(given)
            if label in rows:
                rows[label].extend(value if isinstance(value, list) else [value])
        lists = [rows[each] for each in self.items]
        for task, values, count in zip(self.items, lists, self.correct.lengths, strict=True):
            if len(values) != count:
                raise InputError(
                    f"{source}: task '{task}' has {count} verdicts and {len(values)} of '{name}'"
                )
        if kind is object:
            return Ragged.from_lists(lists, object)
        filled = [[np.nan if v is None else v for v in values] for values in lists]
        try:
            return Ragged.from_lists(filled, np.float64)
        except (TypeError, ValueError) as error:
            raise InputError(f"{source}: '{name}' must hold numbers ({error})") from error
