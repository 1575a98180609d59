"""Rates, paired comparisons, power and the regression gate: numbers in, numbers out.

Every share is a fraction in [0, 1] and every rise is tuned minus base, in [-1, 1]. scipy is imported
inside the functions that need it, because ``import scipy.stats`` alone costs more than a second.
"""
