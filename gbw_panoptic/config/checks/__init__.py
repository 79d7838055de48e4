"""Contradictions between keys, found before anything is built; each is said once, in one sentence with its remedy.

What one value may be is for its row of the table to say (:mod:`gbw_panoptic.config.kinds`).
"""
