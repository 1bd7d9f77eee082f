"""A process that compares answers with math-verify: one JSON line in, one out.

SymPy can take for ever, or all memory, on a few characters (9^9^9^9), and math-verify's own
timeout is a signal that works in a main thread only, by the clock. A process of its own can be
given up, and by the time that it computes, so that a busy machine doesn't change a verdict.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import signal
import sys

_MEMORY = 4 << 30  # bytes of address space
_PI = re.compile(r"(?<![A-Za-z\\])pi(?![A-Za-z])")  # else it's read as p times i


def main() -> None:
    """Answer lines ``[a, b, seconds]`` with ``true`` or ``false`` until standard input ends.

    The process ends itself when a line takes more than its seconds of computing time.
    """
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    logging.disable(logging.CRITICAL)
    from math_verify import parse, verify

    def equal(a: str, b: str) -> bool:
        latex = (_PI.sub(r"\\pi ", text) for text in (a, b))
        x, y = (parse(f"${text}$", parsing_timeout=None) for text in latex)
        # math-verify treats its gold argument differently ("x = 5" and "5"); votes have no gold.
        return any(verify(p, q, timeout_seconds=None) for p, q in ((x, y), (y, x)))

    print("ready", flush=True)
    for line in sys.stdin:
        a, b, seconds = json.loads(line)
        _allow(seconds)
        try:
            verdict = equal(a, b)
        except (Exception, RecursionError, MemoryError):
            verdict = False
        _allow(0)
        print(json.dumps(verdict), flush=True)


def _allow(seconds: float) -> None:
    """Set the computing time after which the system ends this process; 0 for no limit."""
    if hasattr(signal, "ITIMER_PROF"):  # elsewhere the parent's clock is the only limit
        signal.setitimer(signal.ITIMER_PROF, seconds)


if __name__ == "__main__":
    main()
