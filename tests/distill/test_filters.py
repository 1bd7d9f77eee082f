"""Filters of problems: tricky texts in eleven languages, and answers that are numbers or not."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statllm.distill import FILTER_REASONS, ProblemFilters, filter_problems, numerical_answer
from statllm.errors import InputError

IMAGE = [
    "In the figure, AB = 5. What is AC?",
    "As shown in the diagram below, a circle touches a line. Find the radius.",
    "The area of each region is shown in the accompanying picture. What is the total?",
    "What is the perimeter of the polygon pictured to the right?",
    "The graph shown below is that of f. What is f(2)?",
    "Use Figure 3 to find x.",
    "See the figure. How many triangles are there?",
    "How many squares are in the following figure?",
    "![a triangle](t.png) What is its area?",
    "\\includegraphics{tri.pdf} Find x.",
    "Find x. [asy] draw((0,0)--(1,1)); [/asy]",
    "<image> How many apples are there?",
    "The chart shows sales by month. What is the total?",
    "如图所示,圆O的半径为3,求弧长。",
    "如下图,求阴影部分的面积。",
    "观察右图,共有几个三角形?",
    "图1中有几个正方形?",
    "如圖,ABCD 是正方形,求面積。",
    "図のように、円に内接する三角形がある。面積を求めよ。",
    "右の図で、xの値を求めよ。",
    "그림과 같이 원이 있다. 넓이를 구하시오.",
    "En la figura, el ángulo A mide 30°. ¿Cuánto mide B?",
    "Na figura abaixo, qual é o valor de x?",
    "Sur la figure ci-contre, ABC est un triangle. Calculer AB.",
    "Nella figura, quanto vale x?",
    "Wie groß ist der Winkel in der Abbildung?",
    "Berechne die Fläche der nebenstehenden Figur.",
    "На рисунке изображён треугольник. Найдите x.",
    "في الشكل المجاور، أوجد قيمة س.",
]
PROOF = [
    "Prove that the square root of 2 is irrational.",
    "Let n be even. Show that n^2 is even.",
    "Find the limit, and prove that it is unique.",
    "Prove or disprove: every even number is a sum of two primes.",
    "(a) Compute f(1). (b) Show that f is increasing.",
    "Give a short proof of the identity.",
    "Your task is to prove that 7 is odd.",
    "证明:对任意正整数n,n(n+1)是偶数。",
    "求证:三角形内角和为180°。",
    "試證 n 是偶數。",
    "nが偶数であることを示せ。",
    "次の等式を証明せよ。",
    "n이 짝수임을 보이시오.",
    "다음 등식을 증명하시오.",
    "Demuestre que n es par.",
    "Sea n par. Prueba que n^2 es par.",
    "Prove que n é par.",
    "Mostre que n é par.",
    "Montrer que n est pair.",
    "Soit n pair. Démontrez qu'il existe k.",
    "Dimostrare che n è pari.",
    "Zeigen Sie, dass n gerade ist.",
    "Es ist zu zeigen, dass n gerade ist.",
    "Докажите, что n чётно.",
    "أثبت أن ن زوجي.",
]
NEITHER = [
    "A figure skater spins 5 times a minute. How often in an hour?",
    "How many significant figures does 0.050 have?",
    "Figure out how many apples 3 bags of 4 hold.",
    "What is the area of a plane figure with sides 3, 4 and 5?",
    "The graph of y = x^2 meets the line y = 4 at two points. What is their distance?",
    "A graph has 5 vertices, each of degree 4. How many edges are there?",
    "Ann drew a picture of 4 cats and 3 dogs. How many legs did she draw?",
    "A picture frame costs $5. What do 3 cost?",
    "The equations shown below: x + y = 3, x - y = 1. What is x?",
    "The image of 2 under f is 5. What is f(2)?",
    "A TV show that lasts 30 minutes begins at 8:15. When does it end?",
    "A bottle of 80 proof spirit is 40 percent alcohol. What of 100 proof?",
    "It can be proved to be useful: what is 2 + 2?",
    "How many pages does the proofreader read in 5 days at 20 a day?",
    "A waterproof coat costs $20. What do 3 cost?",
    "Find x. Justify your answer.",
    "Find all n and prove your answer is complete: how many are there?",
    "例如图书馆有3本书,每本5元,共多少元?",
    "图书馆有12本书,借出5本,还剩几本?",
    "比如图形有4条边,周长12,边长是多少?",
    "他试图中奖,买了3张彩票,每张2元,共多少元?",
    "地图中两地相距3厘米,比例尺1:100,实际多少厘米?",
    "办身份证明需要3天,5人需要几天?",
    "可以证明f是偶函数,求f(-1)的值,已知f(1)=2。",
    "図書館に本が12冊ある。5冊借りると残りは何冊か。",
    "証明書を3枚、1枚200円で買う。いくらか。",
    "그림을 3장 그리는 데 2시간이 걸린다. 9장은 몇 시간인가?",
    "Una figura geométrica tiene 4 lados de 3 cm. ¿Cuál es su perímetro?",
    "La prueba que hizo Ana tenía 20 preguntas y acertó 15. ¿Cuántas falló?",
    "Se puede demostrar que f es par. ¿Cuánto vale f(-1) si f(1) = 2?",
    "On peut montrer que f est paire. Calculer f(-1) si f(1) = 2.",
    "La montre que Paul achète coûte 20 euros. Combien coûtent 3 montres ?",
    "Sei f eine lineare Abbildung mit f(1) = 3. Was ist f(2)?",
    "Welche Dimension hat der Kern der folgenden Abbildung f?",
    "Was liegt im Bild von f, wenn f(1) = 3?",
    "Die Beweise der Polizei füllen 3 Ordner mit je 20 Seiten. Wie viele Seiten sind es?",
    "Маша нарисовала 3 рисунка. Сколько рисунков нарисуют 4 Маши?",
    "حديقة على شكل مستطيل طولها 5 وعرضها 3. ما مساحتها؟",
]  # fmt: skip


def table(prompts: list[Any], references: list[Any] | None = None, **columns: Any) -> pa.Table:
    given = {"reference": references or ["7"] * len(prompts), **columns}
    ids = [str(i) for i in range(len(prompts))]
    return pa.table({"prompt_id": ids, "prompt": prompts, **given})


@pytest.mark.parametrize(
    ("texts", "reason"), [(IMAGE, "image"), (PROOF, "proof"), (NEITHER, "kept")]
)
def test_tricky_texts(texts: list[str], reason: str) -> None:
    ledger = filter_problems(table(texts)).ledger.to_pylist()
    wrong = [(texts[i], row) for i, row in enumerate(ledger) if row["reason"] != reason]
    assert not wrong


def test_switches() -> None:
    asy = table(["Find x. [asy] draw((0,0)); [/asy]"])
    assert filter_problems(asy, ProblemFilters(drawings=False)).counts() == {"kept": 1}
    assert filter_problems(table(IMAGE), ProblemFilters(images=False)).counts()["kept"] == len(
        IMAGE
    )
    kept = filter_problems(table(PROOF), ProblemFilters(proofs=False)).counts()["kept"]
    assert kept == len(PROOF)


def test_pictures_that_are_attached() -> None:
    message = [{"role": "user", "content": [{"type": "image_url", "text": None},
                                            {"type": "text", "text": "How many?"}]}]  # fmt: skip
    plain = [{"role": "system", "content": [{"type": "text", "text": "See the figure."}]},
             {"role": "user", "content": [{"type": "text", "text": "2 + 5?"}]}]  # fmt: skip
    found = filter_problems(table([message, plain])).ledger.to_pylist()
    assert [row["reason"] for row in found] == ["image", "kept"]
    nothing = pa.array([{"bytes": None, "path": None}])
    for empty in ([float("nan")], [[None]], [False], [""], nothing):
        assert filter_problems(table(["2 + 5?"], image=empty)).counts() == {"kept": 1}
    shown = pa.array([{"bytes": b"x", "path": None}])
    assert filter_problems(table(["2 + 5?"], image=shown)).counts()["image"] == 1
    both = table(["2 + 5?", "2 + 5?"], images=[["a.png"], []])
    found = filter_problems(both).ledger.to_pylist()
    assert [(row["reason"], row["matched"]) for row in found] == [
        ("image", "images"),
        ("kept", None),
    ]


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("7", "kept"), ("-3", "kept"), ("$1,200", "kept"), ("12%", "kept"), ("5 cm", "kept"),
        ("3/4", "kept"), (r"\frac{3}{4}", "kept"), ("1 1/2", "kept"), ("x = 5", "kept"),
        ("٤٢", "kept"), (r"2\sqrt{3}", "kept"), (r"\frac{\pi}{4}", "kept"), ("2^{10} - 1", "kept"),
        (r"\frac{1+\sqrt{5}}{2}", "kept"), (r"$\log_{2} 3$", "not_numerical"),
        ("So 3 + 4 = 7. #### 7", "kept"), (r"Thus $\boxed{\dfrac{1}{2}}$.", "kept"),
        (r"Thus $\boxed{(3,4)}$.", "not_numerical"), ("(3, 4)", "not_numerical"),
        ("1, 2", "not_numerical"), ("n + 1", "not_numerical"), ("x^2", "not_numerical"),
        ("yes", "not_numerical"), ("B", "not_numerical"), ("e", "not_numerical"),
        (r"\infty", "not_numerical"), ("(0, 1)", "not_numerical"), ("3:2", "not_numerical"),
        (None, "no_answer"), ("", "no_answer"), ("  ", "no_answer"), ("-", "no_answer"),
        ("N/A", "no_answer"), ("See solution.", "no_answer"), ("Proof", "no_answer"),
        ("Answers may vary.", "no_answer"), ("略", "no_answer"), ("证明见解析", "no_answer"),
        ("It follows from the lemma that the sum converges. " * 6, "no_answer"),
    ],
)  # fmt: skip
def test_answers(reference: str | None, reason: str) -> None:
    found = filter_problems(table(["What is it?"], [reference]))
    assert found.ledger["reason"].to_pylist() == [reason]


def test_number_is_narrower_and_any_is_wider() -> None:
    given = table(["?"] * 4, ["7", r"2\sqrt{3}", "yes", None])
    for answers, kept in (("number", 1), ("closed", 2), ("any", 3)):
        assert filter_problems(given, ProblemFilters(answers=answers)).counts()["kept"] == kept


def test_a_solution_must_mark_its_answer() -> None:
    given = table(
        ["?"] * 3, [None, None, "9"],
        solution=[r"So \boxed{4}.", "So it is 4.", r"So \boxed{4}."],
    )  # fmt: skip
    found = filter_problems(given)
    assert found.ledger["reason"].to_pylist() == ["kept", "no_answer", "kept"]
    assert found.problems["answer_read"].to_pylist() == ["4", "9"]
    alone = given.drop_columns(["reference"])
    assert filter_problems(alone).counts() == {"kept": 2, "no_answer": 1}


def test_the_first_reason_stands_and_the_ledger_adds_up() -> None:
    given = table([None, " ", "See the figure. Prove that x = 1.", "Prove that x = 1.", "x?"],
                  ["1", "1", None, None, None])  # fmt: skip
    found = filter_problems(given)
    reasons = found.ledger["reason"].to_pylist()
    assert reasons == ["no_text", "no_text", "image", "proof", "no_answer"]
    assert set(reasons) <= FILTER_REASONS.keys()
    assert sum(found.counts().values()) == given.num_rows
    assert found.problems.num_rows == 0
    assert found.ledger["matched"].to_pylist()[2:4] == ["See the figure", "Prove"]


def test_wrong_input_is_named() -> None:
    with pytest.raises(InputError, match="'reference' nor 'solution'"):
        filter_problems(table(["?"]).drop_columns(["reference"]))
    with pytest.raises(InputError, match="'prompt'"):
        filter_problems(table(["?"]).drop_columns(["prompt"]))
    for prompt in (5, ["?"], [{"content": "?"}], {"role": "user"}):
        with pytest.raises(InputError, match="'prompt' of prompt_id '0' is"):
            filter_problems(table([prompt]))
    numbers = pa.table({"prompt_id": ["a"], "prompt": ["2 + 2?"], "solution": [4]})
    assert filter_problems(numbers).counts() == {"kept": 0, "no_answer": 1}  # it marks nothing


@given(st.fractions(max_denominator=10**6))
def test_every_fraction_is_a_number(value: Any) -> None:
    text = f"{value.numerator}/{value.denominator}"
    assert numerical_answer(text) is not None
    assert numerical_answer(text, closed=False) == numerical_answer(text)


@given(st.text(alphabet="如图证明 showthapicureinfg.,:(\n", max_size=300))
def test_any_text_has_a_verdict(text: str) -> None:
    counts = filter_problems(table([text])).counts()
    assert sum(counts.values()) == 1


def test_long_texts_take_little_time() -> None:
    """Four times the text takes about four times as long, not sixteen times."""
    import time

    for piece in ("in the ", "as shown in ", "zeigen ", "(" * 10, "give a a a ", "如", "{", "1+"):
        times = []
        for n in (1_000, 4_000):
            start = time.process_time()
            filter_problems(table([piece * n], [piece * n]))
            times.append(time.process_time() - start)
        assert times[1] < 9 * times[0] + 0.1, piece
