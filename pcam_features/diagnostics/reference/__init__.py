"""The families as people compute them today: the same columns from the libraries they use.

One module for each family, with

    LIBRARY   whose functions it calls, and what they leave out
    TOLERANCE how near our columns come: rtol and atol of numpy.testing.assert_allclose
    PLANES    the planes it needs
    features  those planes of one patch, as {name: (96, 96)}, to {column: value}

`pcam bench` times these; the tests hold our columns to their values. Columns that no library
computes are left out here, and held to their printed formula by a test of their own.
"""
