"""Plots, findings in words, the page and the report of a sweep's folder. No torch."""
