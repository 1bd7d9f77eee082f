"""From a walk through a tree to a text, and a text that a model has put into better words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from statllm.journey.traverse import Event
from statllm.journey.tree import Tree

if TYPE_CHECKING:
    from statllm.scoring.judges import JudgeModel


class Phrases(BaseModel):
    """How reflections and returns are worded; of several wordings one is drawn each time.

    Examples
    --------
    >>> Phrases(back=("Again:",)).back
    ('Again:',)
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    reflect: tuple[str, ...] = Field(
        ("Wait, {rationale}", "But {rationale}", "Let me check: {rationale}"),
        min_length=1,
        description="After a wrong step, with what is wrong with it.",
    )
    reflect_bare: tuple[str, ...] = Field(
        ("Wait, that is wrong.", "But that can't be right."),
        min_length=1,
        description="The same, where the process reward gave no reason.",
    )
    back: tuple[str, ...] = Field(
        ("Let me go back.", "Alternatively,", "Let me try this again."),
        min_length=1,
        description="Before the walk goes on from a node above.",
    )
    separator: str = Field("\n", description="Between steps, reflections and returns.")


@dataclass(frozen=True)
class Draft:
    """A long thought as text.

    Attributes
    ----------
    tree : Tree
    events : tuple of Event
    pieces : tuple of str
        One per event.
    separator : str
    """

    tree: Tree
    events: tuple[Event, ...]
    pieces: tuple[str, ...]
    separator: str

    @property
    def text(self) -> str:
        """All pieces, joined; an empty wording leaves nothing."""
        return self.separator.join(piece for piece in self.pieces if piece)

    @property
    def steps(self) -> tuple[str, ...]:
        """The pieces that are steps, right and wrong ones, in order."""
        both = zip(self.events, self.pieces, strict=True)
        return tuple(piece for event, piece in both if event.kind == "step")


def make_draft(
    tree: Tree, events: Sequence[Event], phrases: Phrases, rng: np.random.Generator | int = 0
) -> Draft:
    """Put a walk into words: its steps as they were written, the rest by template.

    Parameters
    ----------
    tree : Tree
    events : sequence of Event
        From `statllm.journey.traverse`.
    phrases : Phrases
    rng : Generator or int
        Draws among wordings.

    Examples
    --------
    >>> from statllm.journey.traverse import journey
    >>> from statllm.journey.tree import Node
    >>> nodes = (Node(-1), Node(0, "So 5.", right=False, rationale="2 + 2 is not 5."),
    ...          Node(0, "So 4.", right=True, end="answer", correct=True))
    >>> tree = Tree("a", "2 + 2?", "4", nodes)
    >>> words = Phrases(reflect=("Wait, {rationale}",), back=("Again.",), separator=" ")
    >>> make_draft(tree, journey(tree, 2), words).text
    'So 5. Wait, 2 + 2 is not 5. Again. So 4.'
    """
    rng = np.random.default_rng(rng)
    pieces = []
    for event in events:
        node = tree.nodes[event.node]
        if event.kind == "step":
            pieces.append(node.text.strip())
        elif event.kind == "back":
            pieces.append(_drawn(phrases.back, rng))
        elif node.rationale:
            # replace, not format: a rationale may hold braces.
            words = _drawn(phrases.reflect, rng)
            pieces.append(words.replace("{rationale}", node.rationale.strip()))
        else:
            pieces.append(_drawn(phrases.reflect_bare, rng))
    return Draft(tree, tuple(events), tuple(pieces), phrases.separator)


class Rewriter(Protocol):
    """Puts drafts into better words."""

    def rewrite(self, drafts: Sequence[Draft]) -> list[Rewritten]:
        """Return what became of each draft, in order."""
        ...


@dataclass(frozen=True)
class Rewritten:
    """A draft's new text, or why there is none."""

    text: str | None
    reason: str = "kept"


class TemplateRewriter:
    """Keeps drafts as they are: their words were drawn from `Phrases`."""

    def rewrite(self, drafts: Sequence[Draft]) -> list[Rewritten]:
        """Return the drafts' own texts."""
        return [Rewritten(draft.text) for draft in drafts]


#: What a model is asked, to make a draft read as one thought.
REWRITE_PROMPT = """Below are a problem and the notes of somebody who solved it: steps, errors, \
remarks on the errors, and new attempts.

Problem:
{problem}

Notes:
{draft}

Write the notes again as one fluent train of thought, in the first person. Keep every step, the \
wrong ones too, in the same order and with the same formulas and numbers; keep every remark on an \
error and every correction, and the final answer exactly as it stands. You may add words that join \
them. Write nothing but the new text."""


class ModelRewriter:
    """A language model that rewrites drafts, checked: what loses a step isn't used.

    Training on drafts as they are was worse in the paper, which had GPT-4o rewrite them.

    Parameters
    ----------
    writer : JudgeModel
        From `statllm.sampling.judge_model.open_judge`.
    cache : str or Path, optional
        Folder of what was written before.
    """

    def __init__(self, writer: JudgeModel, cache: str | Path | None = None) -> None:
        self.writer, self.cache = writer, cache

    def rewrite(self, drafts: Sequence[Draft]) -> list[Rewritten]:
        """Return new texts; ``unanswered`` or ``lost_step`` where there is none."""
        from statllm.scoring.judges import ask

        questions = [rewrite_question(draft) for draft in drafts]
        found = []
        for draft, (text,) in zip(drafts, ask(self.writer, questions, 1, self.cache), strict=True):
            if text is None or not text.strip():
                found.append(Rewritten(None, "unanswered"))
            elif lost_step(draft.steps, text) is not None:
                found.append(Rewritten(None, "lost_step"))
            else:
                found.append(Rewritten(text.strip()))
        return found


def rewrite_question(draft: Draft) -> list[dict[str, str]]:
    """Return the messages that ask for a rewritten draft."""
    problem: Any = draft.tree.prompt
    if not isinstance(problem, str):
        problem = "\n".join(str(message["content"]) for message in problem)
    text = REWRITE_PROMPT.replace("{draft}", draft.text).replace("{problem}", problem.strip())
    return [{"role": "user", "content": text}]


def lost_step(steps: Sequence[str], text: str) -> int | None:
    """Return the number (from 0) of the first step that a text doesn't hold after the others.

    Of a step, what must survive is its formulas and numbers: every maximal run of numbers,
    operators and symbols with a digit in it, in order; of a step without any, its words. Case,
    spaces and the dot at the end don't count.

    Examples
    --------
    >>> steps = ["First 2 + 3 = 6.", "First 2 + 3 = 5.", "#### 5"]
    >>> lost_step(steps, "So 2+3 = 6? No: 2 + 3 = 5. The answer: #### 5") is None
    True
    >>> lost_step(steps, "2 + 3 = 5. #### 5")
    0
    """
    whole, place = text.casefold(), 0
    for number, step in enumerate(steps):
        for part in _parts(step):
            found = part.search(whole, place)
            if found is None:
                return number
            place = found.end()
    return None


_FORMULA = re.compile(r"[^\sA-Za-z]+(?: [^\sA-Za-z]+)*")


def _parts(step: str) -> list[re.Pattern[str]]:
    """What of a step must survive: patterns that don't care about spaces between signs."""
    runs = [found.group() for found in _FORMULA.finditer(" ".join(step.split()))]
    parts = [run for run in runs if re.search(r"\d", run)] or [step]
    return [_pattern(part.casefold()) for part in parts if part.strip()]


def _pattern(part: str) -> re.Pattern[str]:
    signs = re.sub(r"\s+", " ", part).strip().rstrip(".,;:")
    pieces = []
    for before, sign in zip(" " + signs, signs, strict=False):
        # Spaces may come and go, but not within a number or a word.
        if not (before.isalnum() and sign.isalnum()):
            pieces.append(r"\s+" if sign == " " and signs[-1].isalpha() else r"\s*")
        if sign != " ":
            pieces.append(re.escape(sign))
    return re.compile(rf"(?<!\d)(?<!\d\.)(?:{''.join(pieces)})(?!\.?\d)")


def _drawn(wordings: Sequence[str], rng: np.random.Generator) -> str:
    return wordings[int(rng.integers(len(wordings)))]
