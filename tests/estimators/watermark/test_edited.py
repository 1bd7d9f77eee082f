"""What edits leave, counted on texts that were edited."""

from __future__ import annotations

import numpy as np
import pytest

from statllm.estimators.watermark.chosen import ChosenLaw
from statllm.estimators.watermark.edited import Edit, edited_law, kept_share


def survivors(rate: float, width: int, edit: Edit, n: int, rng: np.random.Generator) -> float:
    """Share of marks whose token and context stand side by side as they were written."""
    written = np.arange(n)  # each token is its own place; -1 is a new one
    if edit == "substitute":
        text = np.where(rng.random(n) < rate, -1, written)
    elif edit == "delete":
        text = written[rng.random(n) >= rate]
    else:
        text = np.full(int(n / (1 - rate)), -1)
        places = np.sort(rng.choice(len(text), n, replace=False))
        text[places] = written
    kept = text[width:] >= 0
    for back in range(1, width + 1):
        kept &= text[width - back : len(text) - back] == text[width:] - back
    return float(kept.mean())


@pytest.mark.parametrize("edit", ["substitute", "delete", "insert"])
@pytest.mark.parametrize(("rate", "width"), [(0.1, 4), (0.3, 1), (0.5, 2), (0.2, 0)])
def test_kept_share(edit: Edit, rate: float, width: int) -> None:
    n, rng = 200_000, np.random.default_rng(8)
    found = survivors(rate, width, edit, n, rng)
    # neighbours share tokens: width + 1 times the variance of as many coins, at most
    error = np.sqrt((width + 1) * 0.25 / n)
    assert kept_share(rate, width, edit) == pytest.approx(found, abs=4 * error)


def test_nothing_edited_and_pasted() -> None:
    assert kept_share(0.0, 4) == 1
    assert kept_share(0.3, 4, "paste") == 0.7


def test_edited_law_is_a_mixture() -> None:
    law = ChosenLaw.least_favourable([0.5, 0.0])  # certain tokens are there already
    y = np.linspace(0.01, 0.99, 20)
    found = edited_law(law, 0.3)
    np.testing.assert_allclose(found.cdf(y), 0.7 * y + 0.3 * law.cdf(y))
    assert found.masses.sum() == pytest.approx(1)
    np.testing.assert_allclose(edited_law(law, 1.0).cdf(y), law.cdf(y))


def test_bad_numbers_are_named() -> None:
    with pytest.raises(ValueError, match="rate must lie"):
        kept_share(1.0, 4)
    with pytest.raises(ValueError, match="context_width must not be negative"):
        kept_share(0.1, -1)
    with pytest.raises(ValueError, match="edit must be one of substitute"):
        kept_share(0.1, 1, "swap")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="kept must lie"):
        edited_law(ChosenLaw.least_favourable(0.5), 0.0)
