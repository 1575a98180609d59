"""Run a program that a model wrote against tests that it cannot see, in a process that can reach nothing.

This package runs what it is given and knows nothing of where it came from; who may be run is decided in
``multitask_bench.data.code_tests``, the one module that imports it. Standard library only: the same files run
inside, where nothing else exists.
"""
