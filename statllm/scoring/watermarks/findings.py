"""What a diagnosis has found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from statllm.results import format_p
from statllm.scoring.watermarks.evidence import Evidence
from statllm.scoring.watermarks.mistakes import ADVICE

if TYPE_CHECKING:
    import pandas as pd


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
