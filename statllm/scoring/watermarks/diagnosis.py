"""Why is a watermark not found that should be there? A battery of mistakes, each with its name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from statllm.errors import InputError
from statllm.ragged import Ragged
from statllm.scoring.watermarks.battery import Battery, verdict
from statllm.scoring.watermarks.configurations import Configuration
from statllm.scoring.watermarks.context_agreement import context_agreement
from statllm.scoring.watermarks.device import cuda_schemes, is_device_bound
from statllm.scoring.watermarks.evidence import Evidence, pooled
from statllm.scoring.watermarks.facts import context_width, outside, too_little, without_prompts
from statllm.scoring.watermarks.findings import Diagnosis
from statllm.scoring.watermarks.hypotheses import (
    Hypothesis,
    other_settings,
    other_vocabularies,
    padded_sizes,
)
from statllm.scoring.watermarks.mistakes import (
    AS_DEPLOYED,
    DEVICE,
    PROMPT,
    TOO_LITTLE,
    UNKNOWN_KEY,
    WRONG_KEY,
    WRONG_SETTINGS,
    WRONG_TOKENIZER,
    WRONG_VOCABULARY,
)
from statllm.scoring.watermarks.prompt_prefix import SHARE, unmarked_prefix
from statllm.scoring.watermarks.readings import after_prompts, changed_evidence, other_beginnings


def diagnose(
    tokens: Ragged,
    deployed: Configuration,
    *,
    others: Sequence[Configuration] = (),
    rereadings: Mapping[str, Ragged] | None = None,
    vocabularies: Sequence[int] = (),
    prompts: Ragged | None = None,
    special_tokens: Sequence[int] = (),
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
    special_tokens : sequence of int
        Ids that may stand before or inside of a text, and whose absence or presence is tried.
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
    battery = Battery(alpha)
    no_ids = outside(tokens, deployed)
    own = _evidence(Hypothesis(AS_DEPLOYED, deployed.name, deployed.scheme, tokens))
    battery.add(AS_DEPLOYED, f"configuration '{deployed.name}' as it is", own.log_p)
    for hypothesis in _hypotheses(tokens, deployed, others, rereadings or {}, vocabularies):
        battery.add(hypothesis.mistake, hypothesis.name, _evidence(hypothesis).log_p)
    starts = 0.0
    if prompts is not None:
        starts, cut = without_prompts(tokens, prompts)
        if starts:
            found = _evidence(Hypothesis(PROMPT, "", deployed.scheme, cut))
            battery.add(PROMPT, "texts without their prompts", found.log_p)
    readings = [*other_beginnings(tokens, special_tokens)]
    if prompts is not None and starts <= 0.5:
        readings.append(after_prompts(tokens, prompts))
    for reading in readings:
        found = changed_evidence(deployed.scheme, tokens, reading)
        battery.add(reading.mistake, f"{reading.name}: {found.n_scored} tokens", found.log_p)
    if not no_ids:
        for test in unmarked_prefix(deployed.scheme, tokens):
            battery.add(
                PROMPT,
                f"the first {test.length} tokens have less than {SHARE:g} of the signal of the "
                f"rest (excess {test.prefix:.3f} against {test.rest:.3f})",
                test.log_p,
            )
    if reference is not None:
        width = context_width(deployed)
        agreement = context_agreement(tokens, reference, width, rng=rng)
        battery.add(
            UNKNOWN_KEY,
            f"after {width} equal tokens texts go on alike in {agreement.share:.1%} of "
            f"{agreement.n_pairs} pairs, in the reference in {agreement.reference:.1%}",
            agreement.log_p,
        )
    facts = {
        WRONG_TOKENIZER: no_ids,
        PROMPT: f"{starts:.0%} of the texts begin with their prompt" if starts > 0.5 else "",
        TOO_LITTLE: too_little(own, deployed, log_probabilities, alpha),
    }
    if device == "cuda" and is_device_bound(deployed.scheme):
        facts[DEVICE] = "generated on a GPU, and lists are drawn by the device's own generator"
    findings = battery.findings(facts)
    return Diagnosis(verdict(battery, facts), own, findings, len(battery.log_p), alpha)


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
