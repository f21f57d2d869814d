"""What is asked for and what is known, as plain data on disk: plan, settings, stopping rules, store.

Nothing here computes a chip or needs torch.
"""
