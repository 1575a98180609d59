"""The local engine: greedy answers from fixed, length-sorted batches, stored batch by batch."""
