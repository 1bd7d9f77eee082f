"""The command line: one file per verb."""

from __future__ import annotations

import sys

from statllm.errors import InputError

#: What a missing package belongs to.
_EXTRAS = {
    "numba": "watermark",
    "torch": "train",
    "transformers": "train",
    "tokenizers": "train",
    "accelerate": "train",
    "peft": "train",
    "matplotlib": "report",
    "jinja2": "report",
    "ray": "ray",
    "openai": "openai",
}


def main() -> None:
    """Run the command line; wrong input ends with exit code 2 and one sentence."""
    from statllm.cli.app import app

    try:
        app()
    except InputError as error:
        print(f"statllm: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRAS:
            raise
        install = f"pip install 'statllm[{_EXTRAS[missing]}]'"
        print(f"statllm: this needs the package {missing}: {install}", file=sys.stderr)
        raise SystemExit(2) from None
    except OSError as error:
        if error.errno is None:
            raise
        where = f" ({error.filename})" if error.filename else ""
        print(f"statllm: {error.strerror}{where}; nothing was left half-written", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("statllm: stopped; the same command goes on from here", file=sys.stderr)
        raise SystemExit(130) from None
