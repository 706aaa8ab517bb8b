"""How good a model is: does it obey text and keep pictures, what does its VAE lose, its cost.

And whether our numbers are those of independent implementations: `overcrank.evaluate.verify`.
"""

from overcrank.evaluate.report import evaluate
from overcrank.evaluate.suites import FULL, QUICK, Setting, Suite

__all__ = ["FULL", "QUICK", "Setting", "Suite", "evaluate"]
