"""Simulation of a plan's points: building components, running chips to rows of facts, one worker's share of a sweep.

Nothing here reads a command line or makes a table.
"""
