"""Templates: each loads, its placeholders fill, and a change without a new version is noticed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from statllm.errors import InputError
from statllm.sampling.prompts import PromptTemplate, load_template, template_names

DIGESTS: dict[str, str] = json.loads(
    (Path(__file__).parent / "digests.json").read_text(encoding="utf-8")
)
FIELDS = {
    "examples": "<<{prompt}>>",
    "n_examples": "<<3>>",
    "next_number": "<<4>>",
    "prompt": "<<Why {x}?>>",
    "max_words": "<<70>>",
    "document": "<<{document}>>",
    "response": "<<{prompt}>>",
}


@pytest.mark.parametrize("name", template_names())
def test_templates_of_the_package(name: str) -> None:
    template = load_template(name)
    assert template.name == name
    assert template.source
    filled = template.text(FIELDS)
    for placeholder in template.placeholders:
        assert FIELDS[placeholder] in filled  # what it holds isn't filled again
    assert load_template(name, template.task) is not None


@pytest.mark.parametrize("name", template_names())
def test_a_changed_template_has_a_new_version(name: str) -> None:
    """A digest that was published under a version stays; add a line for the next version."""
    template = load_template(name)
    assert template.stamp in DIGESTS, f"add {template.stamp}: {template.digest}"
    assert DIGESTS[template.stamp] == template.digest, (
        f"{template.stamp} has changed: raise its version, and add {template.digest}"
    )


def test_what_the_digest_covers() -> None:
    base = load_template("self_rip")
    changes: list[dict[str, Any]] = [
        {"user": base.user + " "},
        {"system": "Be brief."},
        {"example": base.example + " "},
        {"examples": 7},
        {"delimiters": {"begin": "<task>", "end": "</end>"}},
    ]
    digests = {dataclasses.replace(base, **change).digest for change in changes}
    assert len(digests | {base.digest}) == len(changes) + 1
    assert dataclasses.replace(base, source="elsewhere").digest == base.digest


def test_published_markers_and_wording() -> None:
    generic = load_template("tpo_generic")
    assert generic.delimiters["thought"] == "Here is my thought process:"
    assert generic.delimiters["response"] == "Here is my response:"
    assert all(marker in generic.user for marker in generic.delimiters.values())
    assert load_template("tpo_specific").delimiters == {"response": "<R>"}
    asked = load_template("lift_words").text({"max_words": "150", "prompt": "Hi"})
    assert asked == "Answer the following instruction using 150 words or less.\n\nHi"
    assert load_template("scpo_problem").examples == 4
    assert load_template("self_rip").examples == 8


def test_white_space_of_what_is_filled_in_stays() -> None:
    template = PromptTemplate("t", 1, "thoughts", "", " {prompt}\n", delimiters={"response": "#"})
    assert template.text({"prompt": "Q: 1\nA:\n"}) == "Q: 1\nA:\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "poetry"}, "task must be one of"),
        ({"version": 0}, "version must be a whole number from 1"),
        ({"version": True}, "version must be a whole number from 1"),
        ({"user": "Hi"}, "lacks examples"),
        ({"user": "{examples} {prompt}"}, "has prompt"),
        ({"example": "{numbr}"}, "example needs"),
        ({"examples": 0}, "examples must be"),
        ({"delimiters": {"start": "<"}}, "no delimiter 'start'"),
        ({"delimiters": {"begin": "<"}}, "the other delimiter is missing"),
        ({"delimiters": {"end": ""}}, "delimiter 'end' must be text"),
        ({"delimiters": "<"}, "delimiters must be a mapping"),
        ({"task": "thoughts", "user": "{prompt}"}, "example and examples belong to few_shot"),
        (
            {
                "task": "contrast",
                "user": "{prompt} {response}",
                "example": "",
                "examples": 0,
                "delimiters": {"response": "A:"},
            },
            "delimiter 'request' is missing",
        ),
    ],
)
def test_what_is_no_template(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        dataclasses.replace(load_template("self_rip"), **change)


def test_templates_in_files(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(
        'name: own\nversion: 2\ntask: length\nsource: ""\nuser: "{max_words} {prompt}"\n'
    )
    assert load_template(str(path)).stamp == "own@2"
    with pytest.raises(InputError, match="is for length; for thoughts: tpo_generic"):
        load_template(str(path), "thoughts")
    for content in ("- a\n", "name: [", "name: own\n", "colour: blue\n"):
        broken = tmp_path / f"{len(content)}.yaml"
        broken.write_text(content)
        with pytest.raises(InputError, match=broken.name):
            load_template(broken)
    with pytest.raises(InputError, match=r"nothing\.yaml doesn't exist"):
        load_template("nothing.yaml")
    with pytest.raises(InputError, match="'nothing' is none of back_translation_marked"):
        load_template("nothing")
