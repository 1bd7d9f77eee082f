"""Why is a watermark not found that should be there? A battery of mistakes, each with its name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from statllm.errors import InputError
from statllm.estimators.multiplicity import holm
from statllm.estimators.watermark.chosen import ChosenLaw
from statllm.estimators.watermark.power import power
from statllm.ragged import Ragged
from statllm.results import format_p
from statllm.scoring.watermarks.configurations import Configuration
from statllm.scoring.watermarks.context_agreement import context_agreement
from statllm.scoring.watermarks.device import cuda_schemes, is_device_bound
from statllm.scoring.watermarks.evidence import Evidence, pooled
from statllm.scoring.watermarks.hypotheses import (
    DEVICE,
    PROMPT,
    WRONG_KEY,
    WRONG_SETTINGS,
    WRONG_TOKENIZER,
    WRONG_VOCABULARY,
    Hypothesis,
    other_settings,
    other_vocabularies,
    padded_sizes,
)
from statllm.scoring.watermarks.prompt_prefix import SHARE, unmarked_prefix

if TYPE_CHECKING:
    import pandas as pd

AS_DEPLOYED = "as deployed"
UNKNOWN_KEY = "unlisted key"
TOO_LITTLE = "too little to see"
NOTHING = "nothing found"

ADVICE: Mapping[str, str] = {
    AS_DEPLOYED: "Nothing to mend: the deployed configuration explains the text.",
    WRONG_KEY: "Detect with the configuration that explains the text.",
    WRONG_SETTINGS: "Set these options in the key file; they must be those of the generator.",
    WRONG_TOKENIZER: "Detect on the generator's own token ids, or re-encode texts with its "
    "tokenizer.",
    WRONG_VOCABULARY: "Set 'vocabulary' to the size of the model's logits, padding included.",
    PROMPT: "Detect on the completion alone: cut the prompt's tokens off.",
    DEVICE: "The lists were drawn by a CUDA generator, which a CPU doesn't repeat: generate with "
    "the processor's generator on the CPU, or detect on the device.",
    UNKNOWN_KEY: "Something makes equal contexts go on alike: a key that isn't listed, or a lower "
    "temperature than the reference's. Look for the key that the generator had.",
    TOO_LITTLE: "Collect more or longer texts, or text that is less predictable.",
    NOTHING: "Not under this key, and nothing else was found. Check that the generator had the "
    "watermark switched on, and give --try-keys, --try-tokenizer, --prompt or --reference.",
}
_FEW_PAIRS = 50


@dataclass(frozen=True)
class Finding:
    """One mistake that was looked for.

    Attributes
    ----------
    mistake : str
    evidence : str
        In words; it shows no key.
    log_p : float
        Of the most telling test; NaN where the evidence is a fact, not a test.
    log_p_adjusted : float
        Adjusted by Holm over all tests of the battery.
    found : bool
        Whether it is true of the corpus: significant, or a fact.
    """

    mistake: str
    evidence: str
    log_p: float
    log_p_adjusted: float
    found: bool

    @property
    def advice(self) -> str:
        """What to do."""
        return ADVICE[self.mistake]


@dataclass(frozen=True)
class Diagnosis:
    """What a corpus that should be watermarked carries.

    Attributes
    ----------
    verdict : str
        The mistake that explains it best, ``"as deployed"`` or ``"nothing found"``.
    deployed : Evidence
        Of the corpus as it is, for the configuration as it is.
    findings : list of Finding
        All that were looked for.
    n_tests : int
        Of the battery.
    alpha : float
    """

    verdict: str
    deployed: Evidence
    findings: list[Finding]
    n_tests: int
    alpha: float

    @property
    def advice(self) -> str:
        """What to do."""
        return ADVICE[self.verdict]

    def to_frame(self) -> pd.DataFrame:
        """Return one row per finding."""
        import pandas as pd

        columns = ("mistake", "evidence", "log_p", "log_p_adjusted", "found", "advice")
        rows = [[getattr(found, name) for name in columns] for found in self.findings]
        return pd.DataFrame(rows, columns=list(columns))

    def summary(self) -> str:
        """Return one line of text."""
        return (
            f"{self.verdict}: deployed configuration p {format_p(self.deployed.log_p)} on "
            f"{self.deployed.n_scored} distinct pairs; {self.n_tests} tests, Holm at "
            f"{self.alpha:g}"
        )


def diagnose(
    tokens: Ragged,
    deployed: Configuration,
    *,
    others: Sequence[Configuration] = (),
    rereadings: Mapping[str, Ragged] | None = None,
    vocabularies: Sequence[int] = (),
    prompts: Ragged | None = None,
    reference: Ragged | None = None,
    log_probabilities: ArrayLike | None = None,
    device: str | None = None,
    alpha: float = 0.01,
    rng: np.random.Generator | int = 0,
) -> Diagnosis:
    """Name the mistake that hides a watermark in texts that should carry it.

    Every hypothesis is one exact test of the corpus as a whole (`pooled`); prefixes and agreement
    have tests of their own (`unmarked_prefix`, `context_agreement`). All p-values of the battery
    are adjusted together by Holm's rule, so that on text without any watermark the chance that
    anything is named is at most `alpha`.

    Parameters
    ----------
    tokens : Ragged of int64
        The texts as they are given to the detector.
    deployed : Configuration
        That the texts should carry.
    others : sequence of Configuration
        Other keys that may have been used.
    rereadings : mapping of str to Ragged
        The same texts as tokens of other tokenizers, by their names.
    vocabularies : sequence of int
        Sizes that the model's logits may have.
    prompts : Ragged of int64, optional
        The tokens of each text's prompt.
    reference : Ragged of int64, optional
        Unmarked texts of the same model to the same kind of prompts.
    log_probabilities : array_like, optional
        Of the texts' tokens under the model, nats; to see whether they leave room for a mark.
    device : str, optional
        Where the texts were generated, if it is known: ``"cuda"`` or ``"cpu"``.
    alpha : float
    rng : Generator or int

    Raises
    ------
    InputError
        If there is no token, `alpha` isn't in (0, 1), or numbers of texts differ.

    Examples
    --------
    >>> from statllm.estimators.watermark.schemes import make_scheme
    >>> mine, theirs = (Configuration(n, make_scheme("vllm-gumbel", key=k)) for n, k in
    ...                 (("mine", 1), ("theirs", 2)))
    >>> text, rng = [], np.random.default_rng(0)
    >>> for _ in range(80):
    ...     law = theirs.scheme.reweighted(rng.dirichlet(np.ones(50)), np.array(text, np.int64))
    ...     text.append(int(law.argmax()))
    >>> found = diagnose(Ragged.from_lists([text], np.int64), mine, others=[theirs])
    >>> found.verdict
    'wrong key'
    """
    if not 0 < alpha < 1:
        raise InputError(f"alpha must lie between 0 and 1, not {alpha}")
    if not len(tokens.values):
        raise InputError("there is no token to diagnose")
    for name, given in {"prompts": prompts, **dict(rereadings or {})}.items():
        if given is not None and len(given.offsets) != len(tokens.offsets):
            raise InputError(f"{name} has another number of texts than the corpus")
    battery = _Battery(alpha)
    outside = _outside(tokens, deployed)
    own = _evidence(Hypothesis(AS_DEPLOYED, deployed.name, deployed.scheme, tokens))
    battery.add(AS_DEPLOYED, f"configuration '{deployed.name}' as it is", own.log_p)
    for hypothesis in _hypotheses(tokens, deployed, others, rereadings or {}, vocabularies):
        battery.add(hypothesis.mistake, hypothesis.name, _evidence(hypothesis).log_p)
    starts = 0.0
    if prompts is not None:
        starts, cut = _without_prompts(tokens, prompts)
        if starts:
            found = _evidence(Hypothesis(PROMPT, "", deployed.scheme, cut))
            battery.add(PROMPT, "texts without their prompts", found.log_p)
    if not outside:
        for test in unmarked_prefix(deployed.scheme, tokens):
            battery.add(
                PROMPT,
                f"the first {test.length} tokens have less than {SHARE:g} of the signal of the "
                f"rest (excess {test.prefix:.3f} against {test.rest:.3f})",
                test.log_p,
            )
    if reference is not None:
        width = _context_width(deployed)
        agreement = context_agreement(tokens, reference, width, rng=rng)
        battery.add(
            UNKNOWN_KEY,
            f"after {width} equal tokens texts go on alike in {agreement.share:.1%} of "
            f"{agreement.n_pairs} pairs, in the reference in {agreement.reference:.1%}",
            agreement.log_p,
        )
    facts = {
        WRONG_TOKENIZER: outside,
        PROMPT: f"{starts:.0%} of the texts begin with their prompt" if starts > 0.5 else "",
        TOO_LITTLE: _too_little(own, deployed, log_probabilities, alpha),
    }
    if device == "cuda" and is_device_bound(deployed.scheme):
        facts[DEVICE] = "generated on a GPU, and lists are drawn by the device's own generator"
    findings = battery.findings(facts)
    return Diagnosis(_verdict(battery, facts), own, findings, len(battery.log_p), alpha)


class _Battery:
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


#: Mistakes that another hypothesis on the same text explains.
_EXPLAINED = (WRONG_KEY, WRONG_SETTINGS, WRONG_TOKENIZER, WRONG_VOCABULARY, DEVICE)


def _verdict(battery: _Battery, facts: Mapping[str, str]) -> str:
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


def _hypotheses(
    tokens: Ragged,
    deployed: Configuration,
    others: Sequence[Configuration],
    rereadings: Mapping[str, Ragged],
    vocabularies: Sequence[int],
) -> list[Hypothesis]:
    scheme = deployed.scheme
    known = {deployed.digest()}
    out = []
    for other in others:
        if other.digest() not in known:
            known.add(other.digest())
            out.append(Hypothesis(WRONG_KEY, f"configuration '{other.name}'", other.scheme, tokens))
    for name, changed in other_settings(scheme):
        out.append(Hypothesis(WRONG_SETTINGS, name, changed, tokens))
    sizes = [size for each in (*vocabularies, int(tokens.values.max()) + 1)
             for size in padded_sizes(each)]  # fmt: skip
    for name, changed in other_vocabularies(scheme, sizes):
        out.append(Hypothesis(WRONG_VOCABULARY, name, changed, tokens))
    for name, reread in rereadings.items():
        out.append(Hypothesis(WRONG_TOKENIZER, f"tokenizer {name}", scheme, reread))
        largest = int(reread.values.max(initial=0)) + 1
        for size, changed in other_vocabularies(scheme, [*vocabularies, largest]):
            out.append(Hypothesis(WRONG_TOKENIZER, f"tokenizer {name}, {size}", changed, reread))
    for name, changed in cuda_schemes(scheme):
        out.append(Hypothesis(DEVICE, name, changed, tokens))
    return out


def _evidence(hypothesis: Hypothesis) -> Evidence:
    """NaN where the scheme can't read these tokens, a larger vocabulary's for example."""
    try:
        return pooled(hypothesis.scheme, hypothesis.tokens)
    except ValueError:
        return Evidence(math.nan, 0, 0)


def _outside(tokens: Ragged, deployed: Configuration) -> str:
    """Say that ids lie outside of the scheme's vocabulary; empty if none does."""
    scheme: Any = deployed.scheme
    size = getattr(scheme, "vocabulary", None)
    wrong = 0 if size is None else int(np.sum(tokens.values >= size))
    if not wrong:
        return ""
    return f"{wrong} token ids aren't below the vocabulary of {size}"


def _without_prompts(tokens: Ragged, prompts: Ragged) -> tuple[float, Ragged]:
    """Share of texts that begin with their prompt, and all texts without theirs."""
    rows, begins = [], 0
    for k in range(len(tokens.offsets) - 1):
        text = tokens.values[tokens.offsets[k] : tokens.offsets[k + 1]]
        prompt = prompts.values[prompts.offsets[k] : prompts.offsets[k + 1]]
        sure = max(len(prompt) - 1, 1)  # the last one may have grown together with the response
        if len(prompt) and np.array_equal(text[:sure], prompt[:sure]):
            begins += 1
            text = text[len(prompt) :]
        rows.append(text)
    lengths = [len(row) for row in rows]
    return begins / len(rows), Ragged.from_lengths(np.concatenate(rows), lengths)


def _context_width(deployed: Configuration) -> int:
    scheme: Any = deployed.scheme
    if scheme.name == "unigram":
        return 0
    if scheme.name == "kgw" and scheme.seeding == "lefthash":
        return 1
    return int(getattr(scheme, "context_width", getattr(scheme, "ngram", 2) - 1))


def _too_little(
    own: Evidence, deployed: Configuration, log_probabilities: ArrayLike | None, alpha: float
) -> str:
    """Say why a watermark could not be seen even if it were there; empty if it could."""
    total = own.n_scored + own.n_repeated
    if own.n_scored < _FEW_PAIRS:
        return f"{own.n_scored} distinct pairs of {total} tokens are scored"
    if own.n_repeated > 0.9 * total:
        return f"{own.n_repeated} of {total} tokens repeat a pair, and don't count"
    if log_probabilities is None or "gumbel" not in deployed.scheme.name:
        return ""
    given = np.asarray(log_probabilities, np.float64).ravel()
    try:
        law = ChosenLaw.from_log_probabilities(given[~np.isnan(given)])
    except ValueError as error:
        raise InputError(str(error)) from error
    n = min(own.n_scored, 100_000)
    chance = power(n, law, alpha)
    if chance >= 0.5:
        return ""
    return (
        f"tokens this probable leave a watermark a chance of {chance:.0%} to be seen in {n} "
        f"distinct pairs at {alpha:g}"
    )
