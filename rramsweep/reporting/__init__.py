"""Plots, findings in words, the page and the report of a sweep's folder.

The numbers that are shown are computed in `analysis`. Nothing here needs torch or Hydra.
"""
