"""Families of metrics by subject (L0, pure); `observe.meters` has the others, and loads all of them.

What a name may be, and that each combination of labels is there from the start, is `observe.family`'s business.
"""
