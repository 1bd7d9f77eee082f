"""The same documents tested for many keys."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

from statllm.estimators.watermark.detect import Detections, Test, detect
from statllm.estimators.watermark.marks import IntArray, Scheme
from statllm.estimators.watermark.places import PlacedScheme, Places
from statllm.ragged import Ragged


class Screening:
    """Tests of documents for one scheme after another; what is free of the key is done once.

    Where contexts can be told apart without the key (vLLM's, SGLang's and TextSeal's schemes), the
    first occurrence of each is found once, and a key reads its numbers there alone.

    Parameters
    ----------
    tokens : Ragged
        Documents of token ids.

    Examples
    --------
    >>> from statllm.estimators.watermark.schemes import make_scheme
    >>> screening = Screening(Ragged.from_lists([[101, 7, 7, 2050, 128000, 5]]))
    >>> [int(screening.detect(make_scheme("vllm-gumbel", key=key)).n_scored[0]) for key in (1, 2)]
    [6, 6]
    """

    def __init__(self, tokens: Ragged) -> None:
        self.tokens = tokens
        self._places: dict[Hashable, tuple[Places, IntArray]] = {}

    def detect(self, scheme: Scheme, test: Test = "sum", *, delta: float = 0.05) -> Detections:
        """Return what ``detect(scheme.marks(tokens), test, delta=delta)`` returns.

        Parameters and raised errors are those of `statllm.estimators.watermark.detect`.
        """
        if not isinstance(scheme, PlacedScheme):
            return detect(scheme.marks(self.tokens), test, delta=delta)
        if scheme.placing not in self._places:
            places = scheme.places(self.tokens)
            kept = places.kept(places.first())
            self._places[scheme.placing] = kept, places.lengths - kept.lengths
        kept, repeated = self._places[scheme.placing]
        found = detect(scheme.marks_at(kept), test, delta=delta, deduplicate="done")
        return replace(found, n_repeated=repeated)
