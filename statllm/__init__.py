"""The statistics of what language models say, and training data chosen by them.

Examples
--------
>>> from statllm.estimators import vote_entropy
>>> vote_entropy([["4", "4", "5"], ["7", "7", "7"]], estimator="plugin").value.round(4)
array([0.6365, 0.    ])
"""

from statllm._version import __version__
from statllm.errors import InputError

__all__ = ["InputError", "__version__"]
