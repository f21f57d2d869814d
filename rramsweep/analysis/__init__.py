"""The results table and what follows from it: summary, comparison, lifetime. No torch, no plots."""
