"""How good a process reward is: its verdicts and scores against the truth, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from statllm.errors import InputError
from statllm.estimators.calibration import brier_score, calibration_error
from statllm.estimators.detection import Detection, detection
from statllm.estimators.selective.auroc import auroc
from statllm.journey.process_reward import Candidate, Verdict
from statllm.journey.tree import Tree
from statllm.results import Estimate


@dataclass(frozen=True)
class RewardQuality:
    """A process reward against the truth.

    Attributes
    ----------
    wrong_steps : Detection
        How well it finds wrong steps: these are the positive class.
    right_steps : Detection
        How well it finds right steps.
    calibration : Estimate
        Expected calibration error of its scores as probabilities that the step is right.
    brier : Estimate
        Mean squared distance of score and truth.
    auroc : Estimate or None
        Probability that a right step has a higher score than a wrong one; None where all steps are
        right, or all wrong.
    n_steps : int
    """

    wrong_steps: Detection
    right_steps: Detection
    calibration: Estimate
    brier: Estimate
    auroc: Estimate | None
    n_steps: int


def candidates_of(trees: Sequence[Tree]) -> list[Candidate]:
    """Return every step of the trees as it was rated.

    Examples
    --------
    >>> from statllm.journey.tree import Node
    >>> tree = Tree("a", "2 + 2 + 1?", "5", (Node(-1), Node(0, "4."), Node(1, " So 5.")))
    >>> [one.text for one in candidates_of([tree])]
    ['4.', '4. So 5.']
    """
    return [
        Candidate(tree.prompt_id, tree.prompt, tree.reference, tree.steps(node.parent), node.text)
        for tree in trees
        for node in tree.nodes[1:]
    ]


def reward_quality(
    verdicts: Sequence[Verdict], truths: Sequence[Verdict], problems: Sequence[str]
) -> RewardQuality:
    """Compare verdicts with those of an exact verifier, or of people.

    Every figure's error counts problems as the random sample: the steps of one tree depend on each
    other.

    Parameters
    ----------
    verdicts, truths : sequence of Verdict
        Of the same steps.
    problems : sequence of str
        prompt_id of each step.

    Raises
    ------
    InputError
        If lengths differ, or there are no steps.

    Examples
    --------
    >>> said = [Verdict(0.9, True), Verdict(0.2, False), Verdict(0.7, True), Verdict(0.4, False)]
    >>> true = [Verdict(1, True), Verdict(0, False), Verdict(0, False), Verdict(0, False)]
    >>> quality = reward_quality(said, true, ["a", "a", "b", "b"])
    >>> quality.wrong_steps.precision.value, round(quality.wrong_steps.recall.value, 3)
    (1.0, 0.667)
    """
    if not len(verdicts) == len(truths) == len(problems) or not verdicts:
        raise InputError(
            f"{len(verdicts)} verdicts, {len(truths)} truths and {len(problems)} problems: they "
            "must be equally many, and at least one"
        )
    said = np.array([one.right for one in verdicts])
    true = np.array([one.right for one in truths])
    score = np.array([one.score for one in verdicts], dtype=np.float64)
    clusters = np.asarray(problems)
    return RewardQuality(
        detection(~said, ~true, clusters),
        detection(said, true, clusters),
        calibration_error(score, true, clusters=clusters),
        brier_score(score, true, clusters=clusters),
        auroc(score, true, clusters=clusters) if 0 < true.sum() < len(true) else None,
        len(said),
    )
