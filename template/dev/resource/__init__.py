"""`make resource`: writes a resource with all its layers, its migration and its tests.

`command` reads what is wanted, by `names` and `fields`; `sources` renders the new files, `wiring`
edits those that exist, and `collisions` refuses what would clash with them.
"""
