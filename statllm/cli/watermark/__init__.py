"""`statllm watermark`: find the marks of keys in a corpus, and certify how often it errs."""

import typer

from statllm.cli.radioactivity import radioactivity
from statllm.cli.watermark.certify import certify
from statllm.cli.watermark.detect import detect
from statllm.cli.watermark.diagnose import diagnose
from statllm.cli.watermark.embed import embed
from statllm.cli.watermark.locate import locate
from statllm.cli.watermark.options import (
    Corpus,
    KeyFile,
    SchemeName,
    Text,
    Tokenizer,
    Tokens,
    detection_settings,
    document_column,
    tokenizer_of,
)
from statllm.cli.watermark.plan import plan

__all__ = [
    "Corpus",
    "KeyFile",
    "SchemeName",
    "Text",
    "Tokenizer",
    "Tokens",
    "detection_settings",
    "document_column",
    "tokenizer_of",
    "watermark",
]

watermark = typer.Typer(
    no_args_is_help=True,
    help="Watermarks of language models: detect, certify, diagnose, plan, locate, embed; "
    "radioactivity.",
)
for command in (detect, certify, diagnose, locate, embed, plan, radioactivity):
    watermark.command()(command)
