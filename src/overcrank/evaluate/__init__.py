"""How good a model is: does it obey text, does it keep a picture, what does its VAE lose.

And whether our numbers are those of independent implementations: `overcrank.evaluate.verify`.
"""

from overcrank.evaluate.report import PARTS, evaluate

__all__ = ["PARTS", "evaluate"]
