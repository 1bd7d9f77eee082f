"""Published figures that the study tests, as printed, and what they are shares of."""

from __future__ import annotations

from dataclasses import dataclass

KINDS = ("accuracy", "win rate")
SAYS = ("more", "less", "same")


@dataclass(frozen=True)
class Claim:
    """Two shares of the same n problems.

    Attributes
    ----------
    paper, what : str
    a, b : str
        Percentages as printed: the comparison's and the method's.
    n : int
        Problems of the benchmark.
    kind : str
        "accuracy": each problem is right or wrong. "win rate": a mean of preferences in [0, 1].
    says : str
        What the paper says of b: more, less, or the same (or not worse).
    source : str
    """

    paper: str
    what: str
    a: str
    b: str
    n: int
    kind: str
    says: str
    source: str

    def __post_init__(self) -> None:
        if self.kind not in KINDS or self.says not in SAYS:
            raise ValueError(f"{self.paper}, {self.what}: kind {self.kind!r}, says {self.says!r}")
        for share in (self.a, self.b):
            if not 0 <= float(share) <= 100:
                raise ValueError(f"{self.paper}, {self.what}: {share} isn't a percentage")
        gain = float(self.b) - float(self.a)
        if (self.says == "more" and gain <= 0) or (self.says == "less" and gain >= 0):
            raise ValueError(f"{self.paper}, {self.what}: {self.a} to {self.b} isn't {self.says}")


def _claims(paper: str, source: str, *rows: tuple[str, str, str, int, str, str]) -> list[Claim]:
    return [Claim(paper, *row, source) for row in rows]


ACC, WIN = KINDS
MORE, LESS, SAME = SAYS
GSM8K, MATH, ARC, ALPACA, ARENA, ZEBRA = 1319, 5000, 1172, 805, 500, 1000

CLAIMS: list[Claim] = [
    *_claims(
        "O1 Journey 1", "2410.18982, MATH500",
        ("journey / shortcut, Abel", "38.6", "47.0", 500, ACC, MORE),
        ("journey / shortcut, PRM800K", "34.8", "42.8", 500, ACC, MORE),
        ("shortcut / first SFT, Abel", "37.2", "38.6", 500, ACC, MORE),
        ("shortcut / first SFT, PRM800K", "29.0", "34.8", 500, ACC, MORE),
        ("DPO / journey, Abel", "47.0", "47.2", 500, ACC, MORE),
        ("DPO / journey, PRM800K", "42.8", "44.0", 500, ACC, MORE),
    ),
    *_claims(
        "O1 Journey 2", "2411.16489",
        ("AIME 2024 / o1-preview", "40.0", "43.3", 30, ACC, MORE),
        ("AIME 2024 / o1-mini", "70.0", "43.3", 30, ACC, LESS),
        ("MATH500 / o1-preview", "85.5", "87.2", 500, ACC, MORE),
        ("MATH500 / o1-mini", "90.0", "87.2", 500, ACC, LESS),
        ("WildSafety / baseline", "92.0", "86.5", 200, ACC, LESS),
        ("Flames / baseline", "91.0", "92.5", 200, ACC, MORE),
        ("DiaSafety / baseline", "100", "100", 200, ACC, SAME),
    ),
    *_claims(
        "IRPO", "2404.19733 v3, tables 1-2, Llama-2-70B-Chat",
        ("GSM8K: DPO + NLL / DPO", "61.8", "73.1", GSM8K, ACC, MORE),
        ("GSM8K: iteration 4 / 3", "81.1", "81.6", GSM8K, ACC, MORE),
        ("GSM8K: two iterations / one on 2x data", "74.8", "78.0", GSM8K, ACC, MORE),
        ("GSM8K: SFT start / chat start", "73.1", "73.1", GSM8K, ACC, SAME),
        ("ARC-C: DPO + NLL / DPO", "82.8", "84.8", ARC, ACC, MORE),
        ("ARC-C: iteration 3 / 2", "86.2", "86.7", ARC, ACC, MORE),
        ("MATH: DPO + NLL / SFT on chosen", "16.8", "17.7", MATH, ACC, MORE),
        ("MATH: iteration 3 / 2", "19.9", "20.8", MATH, ACC, MORE),
    ),
    *_claims(
        "ScPO", "2411.04109 v3, tables 1-3, Llama-3 8B, greedy",
        ("GSM8K: unsupervised / IRPO with ArmoRM", "50.11", "63.91", GSM8K, ACC, MORE),
        ("GSM8K: unsupervised / LMSI", "56.71", "63.91", GSM8K, ACC, MORE),
        ("GSM8K: unsupervised / IRPO with gold", "64.29", "63.91", GSM8K, ACC, SAME),
        ("GSM8K: semi-supervised / IRPO with gold", "64.29", "66.64", GSM8K, ACC, MORE),
        ("GSM8K: weighted / w = 1", "62.62", "63.91", GSM8K, ACC, MORE),
        ("MATH: unsupervised / IRPO with ArmoRM", "18.08", "19.72", MATH, ACC, MORE),
        ("MATH: unsupervised / LMSI", "16.96", "19.72", MATH, ACC, MORE),
        ("MATH: unsupervised / IRPO with gold", "20.32", "19.72", MATH, ACC, SAME),
        ("MATH: semi-supervised / IRPO with gold", "20.32", "20.48", MATH, ACC, MORE),
        ("MATH: weighted / w = 1", "18.74", "19.72", MATH, ACC, MORE),
        ("ZebraLogic: unsupervised / seed", "11.6", "18.1", ZEBRA, ACC, MORE),
        ("ZebraLogic: unsupervised / LMSI", "16.8", "18.1", ZEBRA, ACC, MORE),
        ("ZebraLogic: 8B / Llama-3-70B-Instruct", "17.2", "18.1", ZEBRA, ACC, MORE),
    ),
    *_claims(
        "TPO", "2410.10630, final headline figures",
        ("AlpacaEval LC / direct", "48.4", "52.5", ALPACA, WIN, MORE),
        ("AlpacaEval LC / seed", "24.9", "52.5", ALPACA, WIN, MORE),
        ("Arena-Hard / direct", "33.0", "37.3", ARENA, WIN, MORE),
        ("Arena-Hard / seed", "20.6", "37.3", ARENA, WIN, MORE),
    ),
    *_claims(
        "RIP", "2501.18578 v2, table 2, WildChat, Llama-3.1-8B",
        ("AlpacaEval LC / no filter", "48.4", "57.8", ALPACA, WIN, MORE),
        ("AlpacaEval win / no filter", "45.9", "57.2", ALPACA, WIN, MORE),
        ("Arena-Hard / no filter", "37.9", "43.1", ARENA, WIN, MORE),
        ("AlpacaEval LC: with gap filter / without", "57.1", "57.8", ALPACA, WIN, MORE),
        ("AlpacaEval LC: Self-RIP / Self-Instruct", "49.1", "60.2", ALPACA, WIN, MORE),
        ("Arena-Hard: Self-RIP / Self-Instruct", "38.5", "42.1", ARENA, WIN, MORE),
    ),
    *_claims(
        "LIFT", "2406.17744, draft tables",
        ("AlpacaEval-LI violations / DPO, 70B", "65.8", "7.1", 802, ACC, LESS),
        ("AlpacaEval-LI wins / DPO, 70B", "4.6", "13.6", 802, WIN, MORE),
        ("AlpacaEval-LI violations / DPO, 8B-Instruct", "7.1", "3.1", 802, ACC, LESS),
        ("AlpacaEval-LI wins / DPO, 8B-Instruct", "25.1", "25.6", 802, WIN, MORE),
        ("AlpacaEval-LI violations / D' only, 70B", "7.9", "7.1", 802, ACC, LESS),
        ("AlpacaEval win / DPO, 70B", "8.6", "9.9", ALPACA, WIN, SAME),
        ("AlpacaEval win / DPO, 8B-Instruct", "25.8", "22.7", ALPACA, WIN, SAME),
        ("AlpacaEval win / DPO, 8B-base", "7.8", "7.2", ALPACA, WIN, SAME),
    ),
]  # fmt: skip

#: NaturalReasoning: averages of GPQA-Diamond and MMLU-Pro, percent, and their numbers of problems.
AVERAGES = [
    ("RFT, self-score / seed", 40.81, 42.35),
    ("RFT, filtered / not filtered", 42.35, 42.54),
    ("DPO, self-score / seed", 40.81, 43.22),
    ("DPO, filtered / not filtered", 43.22, 43.67),
    ("DPO, filtered / seed", 40.81, 43.67),
    ("DPO, filtered / RFT, filtered", 42.54, 43.67),
]
AVERAGED = {"GPQA-Diamond": 198, "MMLU-Pro": 12_032}

#: RIP's abstract: gain over no filter that it names, and the two figures of table 2.
ABSTRACT = [
    ("AlpacaEval 2 LC", 9.4, 48.4, 57.8),
    ("Arena-Hard", 8.7, 37.9, 43.1),
    ("WildBench", 9.9, 41.5, 45.6),
]

#: Claims without what a test needs.
UNTESTABLE = [
    ("O1 Journey 1", "F1 of step rewards (.880 / .867)", "the numbers of steps aren't given"),
    ("O1 Journey 2", "Auto-J 81.6 to 88.0, LIMA 77.2 to 87.2",
     "50 prompts each, scores of 0-100; their spread isn't given"),
    ("O1 Journey 2", "SimpleQA, Chinese SimpleQA, CFE (sycophancy 89.70 to 92.65)",
     "the numbers of questions used aren't given"),
    ("RIP", "WildBench 41.5 to 45.6", "a rescaled mean of scores; their spread isn't given"),
    ("LIFT", "MT-Bench-LI (violations 21.3 to 10.8)",
     "240 prompts are 80 questions with 3 limits each: clusters of unknown correlation"),
    ("LLMCrit", "all", "no table was available to us"),
]  # fmt: skip
