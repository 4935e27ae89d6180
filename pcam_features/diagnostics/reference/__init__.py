"""The feature families computed with common libraries, as an independent reference.

Each family has one module with

    LIBRARY    the libraries it calls, and what they do not compute
    TOLERANCE  rtol and atol of numpy.testing.assert_allclose between their columns and ours
    PLANES     the color planes it needs
    features   a function from the planes of one patch, {name: (96, 96)}, to {column: value}

`pcam bench` times these modules, and the tests compare our columns with theirs. Columns that no
library computes are missing here; separate tests compare them with their published formulas.
"""
