"""Named losses, exclusive options, and what importing costs."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from statllm.training.settings import PreferenceSettings, SFTSettings


@pytest.mark.parametrize(
    ("loss", "alpha", "weighted"), [("dpo", 0.0, False), ("irpo", 1.0, False), ("scpo", 1.0, True)]
)
def test_named_losses(loss: str, alpha: float, weighted: bool) -> None:
    settings = PreferenceSettings(loss=loss)
    assert (settings.nll_coefficient, settings.weighted) == (alpha, weighted)


def test_explicit_options_override_the_named_loss() -> None:
    settings = PreferenceSettings(loss="scpo", alpha=0.0, use_weights=False)
    assert (settings.nll_coefficient, settings.weighted) == (0.0, False)


def test_overriding_the_loss_of_dumped_settings_changes_what_it_decides() -> None:
    dumped = PreferenceSettings(loss="dpo").model_dump()
    assert PreferenceSettings(**{**dumped, "loss": "scpo"}).weighted


def test_preference_matching_needs_no_reference_and_no_beta() -> None:
    settings = PreferenceSettings(loss="pm", beta=7.0, entropy=0.5)
    assert not settings.needs_reference
    assert settings.reward_scale == 0.5
    assert PreferenceSettings(beta=7.0, entropy=0.5).reward_scale == 7.0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"warmup_steps": 3, "warmup_ratio": 0.1}, "exclude each other"),
        ({"lora_alpha": 16}, "need lora_rank"),
        ({"lora_rank": 8, "gradient_dtype": "bfloat16"}, "that are trained"),
        ({"lerning_rate": 1.0}, "lerning_rate"),
        ({"beta": 0.0}, "beta"),
        ({"entropy": 0.0}, "entropy"),
        ({"loss": "kto"}, "loss"),
    ],
)
def test_wrong_settings(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PreferenceSettings(**wrong)


def test_every_field_that_needs_it_is_described() -> None:
    obvious = {"adam_beta1", "adam_beta2", "adam_epsilon"}
    for settings in (PreferenceSettings, SFTSettings):
        undescribed = {n for n, f in settings.model_fields.items() if not f.description}
        assert undescribed <= obvious


def test_importing_the_package_imports_no_framework() -> None:
    code = (
        "import sys, statllm.training;"
        "print([m for m in ('torch', 'transformers', 'trl', 'datasets') if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
