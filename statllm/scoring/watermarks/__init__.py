"""Which documents carry a watermark: configurations, documents as tokens, and a table of tests."""

from statllm.scoring.watermarks.configurations import Configuration, read_configurations
from statllm.scoring.watermarks.detection import detect_watermarks
from statllm.scoring.watermarks.diagnosis import diagnose
from statllm.scoring.watermarks.documents import Documents, documents_of
from statllm.scoring.watermarks.findings import Diagnosis, Finding
from statllm.scoring.watermarks.settings import DetectionSettings

__all__ = [
    "Configuration",
    "DetectionSettings",
    "Diagnosis",
    "Documents",
    "Finding",
    "detect_watermarks",
    "diagnose",
    "documents_of",
    "read_configurations",
]
