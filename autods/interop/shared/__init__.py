"""Features that are given on: a folder anyone can host, and how it is fetched and installed.

``manifest`` says what is in a published folder, ``publish`` makes one, ``locate`` finds one,
``install`` brings its feature sets under a data root, ``hub`` uploads one.
"""
