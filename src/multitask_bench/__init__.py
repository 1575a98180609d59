"""Did a fine-tune break the model's safety guardrails, in which form of request, and what mends it?"""

__version__ = "0.1.0"
