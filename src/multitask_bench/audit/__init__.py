"""The human audit: which answers are drawn, what was said of them, and the page on which a person says it."""
