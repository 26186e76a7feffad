"""The whole cluster in one process, on virtual time, with faults from a seed: `python -m tests.simulator --seed S`."""
