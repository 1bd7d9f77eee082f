"""Where prompts come from, and what is put around them: templates with a version, and parsers."""

from statllm.sampling.prompts.back_translation import BackTranslated, Gate, back_translate
from statllm.sampling.prompts.contrast import (
    CONTRAST_FAILURES,
    Contrasts,
    contrast,
    read_contrast,
)
from statllm.sampling.prompts.documents import (
    CRITERIA,
    DOCUMENT_FAILURES,
    FULL_MARKS,
    Readings,
    document_prompts,
    read_back_translation,
    read_rubric,
)
from statllm.sampling.prompts.examples import few_shot_prompts
from statllm.sampling.prompts.few_shot import (
    VARIANTS,
    GeneratedQuestions,
    Variant,
    generate_questions,
)
from statllm.sampling.prompts.filters import FILTERS, QuestionFilters, filter_questions
from statllm.sampling.prompts.length import SCALES, length_prompts, shortest
from statllm.sampling.prompts.length_benchmark import length_benchmark
from statllm.sampling.prompts.novelty import RougePool, common_subsequence
from statllm.sampling.prompts.questions import QUESTION_FAILURES, Question, read_questions
from statllm.sampling.prompts.solutions import solution_prompts
from statllm.sampling.prompts.templates import PromptTemplate, load_template, template_names
from statllm.sampling.prompts.thoughts import (
    THOUGHT_FAILURES,
    Thoughts,
    split_thoughts,
    thought_counts,
    thought_prompts,
    with_thoughts,
)
from statllm.scoring.words import count_words

__all__ = [
    "CONTRAST_FAILURES",
    "CRITERIA",
    "DOCUMENT_FAILURES",
    "FILTERS",
    "FULL_MARKS",
    "QUESTION_FAILURES",
    "SCALES",
    "THOUGHT_FAILURES",
    "VARIANTS",
    "BackTranslated",
    "Contrasts",
    "Gate",
    "GeneratedQuestions",
    "PromptTemplate",
    "Question",
    "QuestionFilters",
    "Readings",
    "RougePool",
    "Thoughts",
    "Variant",
    "back_translate",
    "common_subsequence",
    "contrast",
    "count_words",
    "document_prompts",
    "few_shot_prompts",
    "filter_questions",
    "generate_questions",
    "length_benchmark",
    "length_prompts",
    "load_template",
    "read_back_translation",
    "read_contrast",
    "read_questions",
    "read_rubric",
    "shortest",
    "solution_prompts",
    "split_thoughts",
    "template_names",
    "thought_counts",
    "thought_prompts",
    "with_thoughts",
]
