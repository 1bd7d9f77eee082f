"""What says that a problem needs a picture, or wants a proof; by language.

Every repetition is bounded, so a search takes time linear in the text. Words that only look alike
(a figure skater, a linear Abbildung, 图书馆, a TV show that ...) are excluded; the tests list them.
Languages: English, Chinese, Japanese, Korean, Spanish, Portuguese, French, Italian, German, Russian
and Arabic. In others, only markup and attached images are seen.
"""

from __future__ import annotations

import re

_PICTURE = r"(?:figure|diagram|picture|image|illustration|drawing|sketch|photo(?:graph)?|chart|map)"
_SIDE = r"(?:below|above|(?:at|on|to) (?:the )?(?:right|left))"


def _any(*parts: str, flags: int = re.IGNORECASE) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{part})" for part in parts), flags)


#: A picture within the text.
MARKUP = _any(r"!\[[^\]\n]{0,200}\]\(", r"<img\b", r"\\includegraphics\b", r"<image(?:_?\d{1,2})?>")

#: A drawing as code.
DRAWING = _any(r"\[asy\]", r"\\begin\{(?:asy|tikzpicture|pspicture|picture)\}")

_IMAGE_WORDS = (
    # English; a graph is a picture only where it is shown, since graphs of functions are not
    rf"\b(?:shown|pictured|depicted|illustrated|drawn|seen|indicated) (?:in|by|on) (?:the |this )?"
    rf"(?:\w{{1,20}} ){{0,2}}(?:{_PICTURE}|graph|plot)s?\b",
    rf"\b(?:pictured|depicted|illustrated) (?:here|{_SIDE})",
    rf"\b(?:shown|drawn) (?:here|{_SIDE})(?! ?:)\b",
    rf"\b(?:{_PICTURE}|graph|plot)s?,? (?:is |are |as )?(?:shown |given |drawn )?{_SIDE}\b",
    rf"\b(?:following|accompanying|adjoining|adjacent|attached) {_PICTURE}\b(?! of speech)",
    r"\b(?:in|see|from) the (?:\w{1,20} )?(?:figure|diagram)\b(?! (?:skat|of speech|eight))",
    rf"\b(?:the|this) (?:{_PICTURE}|graph) (?:shows|depicts|illustrates)\b",
    r"(?-i:\b(?:Fig(?:ure|\.)|Diagram) ?\d)",
    # Chinese, in both scripts
    r"(?<![例比假诸諸譬])如[上下左右]?[图圖](?![书書形案谋謀])",
    r"(?<![以之])[上下左右附][图圖](?![书書案谋謀])",
    r"(?<![地意企试試版])[图圖](?:中|所示|示|\s?[\d一二三甲乙])",
    # Japanese
    r"(?<![地意])図(?:の(?:よう|通り)|に(?:示|おいて)|で(?:は|、)|[1-9１-９])",
    r"[上下左右](?:の|記の)?図(?!書|形)",
    # Korean
    r"(?:다음|아래|위|오른쪽|왼쪽)(?:의)? ?그림|그림(?:과 같|에서)",
    # Spanish, Portuguese, Italian
    r"\ben (?:la|esta) (?:figura|imagen)\b|\ben el (?:diagrama|dibujo)\b",
    r"\b(?:figura|imagen|diagrama|dibujo|gráfico) (?:siguiente|adjunt[oa]|de (?:abajo|la derecha))",
    r"\bsiguiente (?:figura|imagen|diagrama|dibujo)\b",
    r"\bn[ao] (?:figura|diagrama)\b|\b(?:figura|imagem) (?:abaixo|acima|ao lado|a seguir|seguinte)",
    r"\b(?:nella|in) figura\b|\bfigura (?:seguente|sotto|a (?:destra|lato|fianco))",
    # French
    r"\b(?:figure|schéma|image|dessin) (?:ci-(?:dessous|contre|dessus|après)|suivante?|jointe?)\b",
    r"\b(?:sur|dans) (?:la|cette) figure\b",
    # German; a linear Abbildung is a map
    r"\b(?:Abbildung|Abb\.|Bild|Skizze|Zeichnung|Figur|Grafik) (?:unten|oben|rechts|links|\d)",
    r"\b(?:folgende|nebenstehende|obige|untenstehende)n? "
    r"(?:Abbildung|Skizze|Zeichnung|Figur|Grafik)(?! [a-z$\\])",
    r"\bin der (?:Abbildung|Skizze|Zeichnung|Figur)(?! (?:von|[a-zA-Z$\\](?!\w)))\b",
    r"\bim (?:Bild|Diagramm)\b(?! (?:von|der|des|einer))|\bwie abgebildet\b",
    r"\bsiehe (?:Abb|Skizze|Zeichnung|Bild|Figur)",
    # Russian
    r"\bна (?:рисунк|чертеж|картинк|схем)[еах]|\bрис\. ?\d|\bсм\. ?рис",
    # Arabic
    r"في الشكل|الشكل (?:المجاور|التالي|أدناه|المقابل)",
)

#: A picture that the text speaks of.
IMAGE = _any(*_IMAGE_WORDS)

_START = r"(?:^|[.;:?!,()\n]\s{0,3}|\b(?:and|or|then|hence|thus|please|also)\s)"
_ASKED = r"\b(?:asked|required|is|need|have|how) to\s"

_PROOF_WORDS = (
    # English
    rf"(?:{_START}|{_ASKED})(?:show|demonstrate|verify) that\b",
    rf"(?:{_START}|{_ASKED})(?:dis)?prove(?: or disprove)?\b(?! (?:your|to be|useful|wrong))",
    r"\b(?:give|write|provide|construct|complete) (?:a|an|the|your) (?:\w{1,20} ){0,3}proof\b"
    r"(?! of (?:purchase|payment|address|identity|concept))",
    # Chinese, in both scripts; what can be, or was, proved is a hint, and a certificate isn't one
    r"(?<![份作入历歷产產已被])(?<!可以)(?<!已经)(?<!已經)[证證]明(?![书書文材信人])",
    r"[求试試][证證](?![书書件])",
    # Japanese
    r"証明(?:せよ|しなさい|して|する)|を示(?:せ|しなさい)|ことを示",
    # Korean
    r"증명하(?:시오|여라|라|세요|십시오)|임을 보(?:이시오|여라|이라)",
    # Spanish, Portuguese, Italian
    r"\b(?:demuestr[ea]n?|(?<!puede )(?<!puedes )demostrar|pruebe|(?<!puede )probar|muestr[ea])"
    r" que\b",
    r"(?:^|[.;:?!,]\s{0,3})prueba que\b",
    r"\b(?:prove|demonstre|mostre|(?<!pode )(?<!se )(?:demonstrar|provar)) que\b",
    r"\b(?:dimostra(?:re|te)?|si dimostri|mostra(?:re|te)) che\b",
    # French
    r"\b(?:(?<!peut )(?<!pourra )(?:dé)?montrer|(?:dé)?montrez|(?<!peut )prouver|prouvez)"
    r" qu(?:e\b|[’'])",
    r"(?:^|[.;:?!,]\s{0,3})(?:dé)?montre qu(?:e\b|[’'])",
    # German; Beweise are also what the police have
    r"(?:^|[.;:?!,]\s{0,3})(?:zeigen?|beweisen?)(?: Sie)?\b[^.?!\n]{0,120}?\bdass\b",
    r"\bman (?:zeige|beweise)\b|\bzu (?:zeigen|beweisen)(?: ist|,|:)",
    r"\bist zu (?:zeigen|beweisen)\b",
    # Russian
    r"\bдокажите\b|\b(?<!можно )доказать\b|\bдокажи\b",
    # Arabic
    r"أثبت أن|برهن (?:على )?أن",
)

#: A proof is asked for.
PROOF = _any(*_PROOF_WORDS)

#: A reference that is no answer.
NO_ANSWER = re.compile(
    r"""[\s.]{0,5}(?: n/?a | unknown | omitted | no\ answer | not\ given | [-—–?]{1,3}
      | (?:see\ )?(?:the\ )?(?:solution|proof|explanation)s?(?:\ (?:above|below))?
      | (?:answers?\ (?:may|will|can)\ vary) | various
      | 略 | 证明?略 | 见解析 | 证明见解析 | 见证明 | 省略 | 無し
      | siehe\ lösung | voir\ (?:la\ )?solution | ver\ (?:la\ )?soluci[oó]n | см\.\ решение
    )[\s.]{0,5}""",
    re.IGNORECASE | re.VERBOSE,
)
