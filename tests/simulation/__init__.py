"""The supervisor in a simulated world: seeded, in virtual time, with everything that can go wrong.

`python -m tests.simulation --seeds 2000` tries that many worlds; docs/reliability.md says what is
checked in each.
"""
