"""All tests of a diagnosis, adjusted together, and what they say as a whole."""

from __future__ import annotations

import math
from collections.abc import Mapping

from statllm.estimators.multiplicity import holm
from statllm.scoring.watermarks.findings import Finding
from statllm.scoring.watermarks.mistakes import (
    AS_DEPLOYED,
    DEVICE,
    NOTHING,
    PROMPT,
    PROMPT_MISSING,
    SPECIAL,
    TOO_LITTLE,
    UNKNOWN_KEY,
    WRONG_KEY,
    WRONG_SETTINGS,
    WRONG_TOKENIZER,
    WRONG_VOCABULARY,
)


class Battery:
    """All tests of a diagnosis, adjusted together."""

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha
        self.mistakes: list[str] = []
        self.names: list[str] = []
        self.log_p: list[float] = []

    def add(self, mistake: str, name: str, log_p: float) -> None:
        """Add a test; NaN, where there was nothing to test, counts as 1."""
        self.mistakes.append(mistake)
        self.names.append(name)
        self.log_p.append(0.0 if math.isnan(log_p) else min(log_p, 0.0))

    def best(self, mistake: str) -> tuple[int, float] | None:
        """Place and adjusted log p of the mistake's most telling test; None if there is none."""
        adjusted = holm(self.log_p)
        places = [k for k, each in enumerate(self.mistakes) if each == mistake]
        if not places:
            return None
        place = min(places, key=lambda k: self.log_p[k])
        return place, float(adjusted[place])

    def is_found(self, mistake: str) -> bool:
        """Whether its most telling test is significant after the adjustment."""
        best = self.best(mistake)
        return best is not None and best[1] <= math.log(self.alpha)

    def findings(self, facts: Mapping[str, str]) -> list[Finding]:
        """Every mistake that was looked for, and every fact."""
        out = []
        for mistake in dict.fromkeys(self.mistakes):
            place, adjusted = self.best(mistake) or (0, 0.0)
            found = adjusted <= math.log(self.alpha)
            out.append(
                Finding(mistake, self.names[place], self.log_p[place], adjusted, bool(found))
            )
        out += [
            Finding(mistake, fact, math.nan, math.nan, True)
            for mistake, fact in facts.items()
            if fact
        ]
        return out


#: Mistakes of which the text is read otherwise, and shows the mark then.
_EXPLAINED = (
    WRONG_KEY, WRONG_SETTINGS, WRONG_TOKENIZER, WRONG_VOCABULARY, PROMPT_MISSING, SPECIAL, DEVICE,
)  # fmt: skip


def verdict(battery: Battery, facts: Mapping[str, str]) -> str:
    """The mistake that explains the text best: exact facts, then tests, then exclusion."""
    if facts.get(PROMPT) or battery.is_found(PROMPT):
        return PROMPT
    own = battery.log_p[0]
    best = min(
        (
            (battery.log_p[place], mistake)
            for mistake in _EXPLAINED
            if (found := battery.best(mistake)) is not None
            and battery.is_found(mistake)
            for place in (found[0],)
        ),
        default=(0.0, ""),
    )  # fmt: skip
    if battery.is_found(AS_DEPLOYED):
        # near relatives (another share of the same list) see the mark, too, but worse
        return best[1] if best[1] and best[0] < 1.2 * own - 10 else AS_DEPLOYED
    if best[1]:
        return best[1]
    for mistake in (WRONG_TOKENIZER, DEVICE):
        if facts.get(mistake):
            return mistake
    if battery.is_found(UNKNOWN_KEY):
        return UNKNOWN_KEY
    return TOO_LITTLE if facts.get(TOO_LITTLE) else NOTHING
