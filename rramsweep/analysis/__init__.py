"""The results table and what follows from it: summary, paired comparison, lifetime, the table of layers.

Plots and sentences are in `reporting`; plans and stored facts are in `study`. Nothing here needs torch.
"""
