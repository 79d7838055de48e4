"""Reports as one self-contained page (HTML) beside Markdown, of one run or of several."""

from .comparison_page import write_comparison
from .run_page import write_report

__all__ = ["write_comparison", "write_report"]
