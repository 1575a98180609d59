"""Studies: a grid of arms, planned as steps keyed by the hash of their inputs, run and summed up."""
