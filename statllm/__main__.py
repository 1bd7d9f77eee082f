"""`python -m statllm`."""

from statllm.cli import main

main()
