"""How good feedback is where the truth is known: layers, and verdicts criterion by criterion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from statllm.errors import InputError
from statllm.estimators.agreement import cohen_kappa
from statllm.estimators.proportions import proportion
from statllm.results import Estimate
from statllm.scoring.criteria.columns import BOOL, BOOLS, TEXT, WHOLE, typed
from statllm.scoring.criteria.parse import same_name
from statllm.scoring.judges.criteria import LAYERS, LayeredRates, layered_rates

if TYPE_CHECKING:
    import pandas as pd

FloatArray = NDArray[np.float64]

_TRUTH = {"text_id": TEXT, "criterion": TEXT, "met": BOOL, "text_place": WHOLE, "fix": TEXT}
_FINDINGS = {
    "text_id": TEXT, "text_place": WHOLE, "criterion": TEXT, "met": BOOL, "reason": TEXT,
    "in_text": BOOLS, "in_example_only": BOOLS, "fix": TEXT, "helpful": BOOL,
}  # fmt: skip

#: text_id, text_place, criterion.
Place = tuple[str, int, str]


@dataclass(frozen=True)
class Truth:
    """What is true of a text and a criterion.

    Attributes
    ----------
    met : bool or None
        None: it doesn't apply.
    fix : str
        What should be done about a violation; empty where any advice counts.
    """

    met: bool | None
    fix: str = ""


@dataclass(frozen=True)
class CriterionQuality:
    """Verdicts on one criterion; a violation is what is to be found.

    Attributes
    ----------
    criterion : str
    precision : Estimate
        Of the claims of a violation, the share that is true.
    recall : Estimate
        Of the violations, the share that is claimed; one without a readable verdict isn't.
    n_unread : int
        Verdicts that couldn't be read or are missing.
    """

    criterion: str
    precision: Estimate
    recall: Estimate
    n_unread: int


@dataclass(frozen=True)
class Evaluation:
    """Feedback against the truth.

    Attributes
    ----------
    layers : LayeredRates
        Of the claims of a violation; the number falls from layer to layer. Helpfulness is there
        where the findings have it.
    criteria : tuple of CriterionQuality
    overall : CriterionQuality
        All criteria together.
    right : Estimate
        Verdicts (met, violated, doesn't apply) that are true; unreadable ones aren't.
    from_examples : Estimate
        Claims of a violation with a quotation that stands in a demonstration only.
    kappa : Estimate
        Of readable verdicts with the truth, three categories; texts are the clusters.
    """

    layers: LayeredRates
    criteria: tuple[CriterionQuality, ...]
    overall: CriterionQuality
    right: Estimate
    from_examples: Estimate
    kappa: Estimate

    def to_frame(self) -> pd.DataFrame:
        """Return a row per criterion, and one for all."""
        import pandas as pd

        rows = []
        for one in (*self.criteria, self.overall):
            row: dict[str, Any] = {"criterion": one.criterion, "n_unread": one.n_unread}
            for name, estimate in (("precision", one.precision), ("recall", one.recall)):
                interval = estimate.interval()
                row |= {
                    name: estimate.value, f"{name}_low": interval.low,
                    f"{name}_high": interval.high, f"n_{name}": estimate.n,
                }  # fmt: skip
            rows.append(row)
        return pd.DataFrame(rows)


def read_truth(table: pa.Table) -> dict[Place, Truth]:
    """Read a table with ``text_id``, ``criterion`` (key), ``met`` (null: doesn't apply).

    ``text_place`` is 0 and ``fix`` empty where they are left out.

    Raises
    ------
    InputError
        If a column is missing or wrong, or a text and criterion occur twice; names the row.
    """
    table = typed(table, _TRUTH, "truth", optional=("text_place", "fix"))
    truth: dict[Place, Truth] = {}
    for number, row in enumerate(table.to_pylist()):
        place = (str(row["text_id"]), int(row.get("text_place") or 0), str(row["criterion"]))
        if place in truth:
            raise InputError(f"text '{place[0]}' and '{place[2]}' occur twice (row {number})")
        truth[place] = Truth(row["met"], row.get("fix") or "")
    return truth


def claim_layers(findings: pa.Table, truth: Mapping[Place, Truth]) -> FloatArray:
    """Return which layers each claim of a violation passes.

    Validity: the criterion is violated. Contextualisation: a passage is quoted that stands in
    the text. Constructiveness: there is a fix, and it is the right one where the truth names one.
    Helpfulness: the column ``helpful`` of the findings, 1 where following the advice helps; NaN
    without it. (Yuan et al. 2024, arXiv 2403.01069, have people and a model assess the four.)

    Parameters
    ----------
    findings : pyarrow.Table
        Of `statllm.scoring.criteria.read_answers`; rows whose ``met`` isn't false are no claims.
    truth : mapping
        Of `read_truth`.

    Returns
    -------
    ndarray of float64, shape (n_claims, 4)
        1, 0, NaN; give it to `statllm.scoring.judges.layered_rates`.

    Raises
    ------
    InputError
        If a claim is about a text or criterion of which the truth says nothing.
    """
    passed = []
    for row in _rows(findings):
        if row["met"] is not False:
            continue
        known = _truth_of(row, truth)
        fix = same_name(row["fix"] or "")
        helpful = row.get("helpful")
        passed.append(
            [
                known.met is False,
                any(row["in_text"] or ()),
                bool(fix) and (not known.fix or fix == same_name(known.fix)),
                np.nan if helpful is None else bool(helpful),
            ]
        )
    return np.array(passed, dtype=np.float64).reshape(-1, len(LAYERS))


def evaluate(findings: pa.Table, truth: Mapping[Place, Truth]) -> Evaluation:
    """Hold findings against the truth.

    Intervals are Wilson's. Those of one criterion are over texts; the overall ones and the
    layers take claims for independent, which those on one text are only roughly.

    Parameters
    ----------
    findings : pyarrow.Table
        A text and criterion should occur once: evaluate strategies and votes one by one.
    truth : mapping

    Raises
    ------
    InputError
        If there are no findings, a text and criterion occur twice, or the truth doesn't know them.

    Examples
    --------
    >>> found = pa.Table.from_pylist([
    ...     {"text_id": "a", "text_place": 0, "criterion": "tests/None test", "met": False,
    ...      "reason": "", "in_text": [True], "in_example_only": [False], "fix": "use is"},
    ...     {"text_id": "b", "text_place": 0, "criterion": "tests/None test", "met": False,
    ...      "reason": "", "in_text": [False], "in_example_only": [True], "fix": "use is"},
    ... ])
    >>> truth = {("a", 0, "tests/None test"): Truth(False, "use is"),
    ...          ("b", 0, "tests/None test"): Truth(True)}
    >>> result = evaluate(found, truth)
    >>> result.overall.precision.value, result.overall.recall.value, result.layers.n_passed
    (0.5, 1.0, (1, 1, 1))
    >>> result.from_examples.value
    0.5
    """
    rows = _rows(findings)
    if not rows:
        raise InputError("there are no findings")
    seen: set[Place] = set()
    for row in rows:
        place = _place(row)
        if place in seen:
            raise InputError(
                f"text '{place[0]}', place {place[1]}, has two findings on '{place[2]}': "
                "evaluate one strategy, granularity and vote at a time"
            )
        seen.add(place)
    said = [_said(row) for row in rows]
    true = [{True: "met", False: "violated", None: "n/a"}[_truth_of(r, truth).met] for r in rows]
    names = list(dict.fromkeys(row["criterion"] for row in rows))
    of = np.array([names.index(row["criterion"]) for row in rows])
    claimed, violated = np.array([s == "violated" for s in said]), np.array(true) == "violated"
    unread = np.array([s is None for s in said])
    quality = [
        _quality(name, claimed[of == i], violated[of == i], unread[of == i])
        for i, name in enumerate(names)
    ]
    passed = claim_layers(findings, truth)
    depth = len(LAYERS) - ("helpful" not in findings.column_names)
    from_examples = [any(r["in_example_only"] or ()) for r in rows if r["met"] is False]
    pairs = [(s, t, r) for s, t, r in zip(said, true, rows, strict=True) if s is not None]
    kappa = cohen_kappa(
        [s for s, _, _ in pairs],
        [t for _, t, _ in pairs],
        clusters=[f"{r['text_id']}\n{r['text_place']}" for _, _, r in pairs],
    )
    right = sum(s == t for s, t in zip(said, true, strict=True))
    return Evaluation(
        layered_rates(passed[:, :depth], tuple(LAYERS)[:depth]),
        tuple(quality),
        _quality("all", claimed, violated, unread),
        proportion(right, len(rows), name="right verdicts"),
        proportion(sum(from_examples), len(from_examples), name="claims quoting an example"),
        kappa,
    )


def _quality(
    name: str, claimed: NDArray[np.bool_], violated: NDArray[np.bool_], unread: NDArray[np.bool_]
) -> CriterionQuality:
    hits = int((claimed & violated).sum())
    return CriterionQuality(
        name,
        proportion(hits, int(claimed.sum()), name=f"precision, {name}"),
        proportion(hits, int(violated.sum()), name=f"recall, {name}"),
        int(unread.sum()),
    )


def _said(row: Mapping[str, Any]) -> str | None:
    """The verdict in a word; None where it can't be read."""
    if row["met"] is None:
        return "n/a" if row["reason"] == "not_applicable" else None
    return "met" if row["met"] else "violated"


def _rows(findings: pa.Table) -> Sequence[dict[str, Any]]:
    rows: list[dict[str, Any]] = typed(findings, _FINDINGS, "findings", ("helpful",)).to_pylist()
    return rows


def _place(row: Mapping[str, Any]) -> Place:
    return str(row["text_id"]), int(row["text_place"] or 0), str(row["criterion"])


def _truth_of(row: Mapping[str, Any], truth: Mapping[Place, Truth]) -> Truth:
    place = _place(row)
    if place not in truth:
        raise InputError(
            f"the truth has nothing on text '{place[0]}', place {place[1]}, '{place[2]}'"
        )
    return truth[place]
