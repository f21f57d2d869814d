"""From a plan's points to rows: building components, running chips, one worker's share of a sweep.

Nothing here reads a command line or draws a table.
"""
