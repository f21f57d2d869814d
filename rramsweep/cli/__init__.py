"""The command line and the Python API: catalog, composing configs, planning, launching, progress.

The only package that imports Hydra and OmegaConf. What a job computes is in `simulation`, what a report says in
`reporting`.
"""
