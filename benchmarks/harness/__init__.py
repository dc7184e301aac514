"""The benchmark: every promise of speed as a ratio to a peer, both sides measured in one run.

The programs lie beside it in `ours` and `peers`. Each runs in a process of its own and measures
when told to, so that the sides of a comparison take turns and the machine's moods hit them alike;
each says what it computed in a few numbers, and sides that disagree get no ratio. Nothing here
imports torch.
"""
