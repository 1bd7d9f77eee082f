"""What editing leaves of a watermark, and the law of what is read afterwards."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from statllm.estimators.watermark.chosen import ChosenLaw

Edit = Literal["substitute", "delete", "insert", "paste"]


def kept_share(rate: float, context_width: int, edit: Edit = "substitute") -> float:
    """Return the share of an edited text's tokens that still carry their mark.

    A mark survives where its token and the `context_width` tokens before it are the original ones,
    side by side. With h tokens of context, edits that fall on tokens independently leave

    - substitution of a share r of the tokens: (1 - r)^(h + 1),
    - deletion of a share r: (1 - r)^h of the tokens that are left,
    - insertion of new tokens up to a share r of the text: (1 - r)^(h + 1);

    a paste of one long piece that makes up a share r: 1 - r, but for its edges.

    Parameters
    ----------
    rate : float
        r, in [0, 1).
    context_width : int
        h, 0 for one list for all contexts.
    edit : {"substitute", "delete", "insert", "paste"}

    Raises
    ------
    ValueError
        If a number is out of range, or the edit is another.

    Examples
    --------
    >>> round(kept_share(0.2, 4), 4), round(kept_share(0.2, 4, "delete"), 4)
    (0.3277, 0.4096)
    """
    if not 0 <= rate < 1:
        raise ValueError(f"rate must lie in [0, 1), not {rate}")
    if context_width < 0:
        raise ValueError(f"context_width must not be negative, not {context_width}")
    if edit not in get_args(Edit):
        raise ValueError(f"edit must be one of {', '.join(get_args(Edit))}, not {edit!r}")
    if edit == "paste":
        return 1 - rate
    return float((1 - rate) ** (context_width + (edit != "delete")))


def edited_law(law: ChosenLaw, kept: float) -> ChosenLaw:
    """Return the law of a text of which a share `kept` of the tokens carries the watermark.

    The rest is human, or was edited: its pivots are uniform, as those of certain tokens (p = 1) are
    anyway. Every estimator that takes a `ChosenLaw` then answers for the edited text: the mixture
    (1 - kept) U(0, 1) + kept F of Li, Ruan, Wang, Long and Su (2024b).

    Parameters
    ----------
    law : ChosenLaw
    kept : float
        In (0, 1], as from `kept_share`.

    Raises
    ------
    ValueError
        If `kept` isn't in (0, 1].

    Examples
    --------
    >>> law = edited_law(ChosenLaw.least_favourable(0.4), 0.5)
    >>> law.probabilities, law.masses
    (array([0.4, 0.6, 1. ]), array([0.2, 0.3, 0.5]))
    """
    if not 0 < kept <= 1:
        raise ValueError(f"kept must lie in (0, 1], not {kept}")
    p, place = np.unique(np.append(law.probabilities, 1.0), return_inverse=True)
    masses = np.bincount(place, np.append(kept * law.masses, 1 - kept)).astype(np.float64)
    return ChosenLaw(p, masses)
