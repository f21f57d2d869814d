"""The command line and the Python API: composing configs, planning, launching, progress. The only package on Hydra."""
