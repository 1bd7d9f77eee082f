"""`python -m statllm.stages FOLDER ITERATION STAGE`."""

from statllm.stages.running import main

raise SystemExit(main())
