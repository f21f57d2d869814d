"""Request and facts of a sweep as plain data on disk: plan, settings, stopping rules, store.

Nothing here computes a chip or needs torch.
"""
