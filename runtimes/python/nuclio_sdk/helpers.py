"""Names that code written for several versions of Python asks for."""

PYTHON3 = True
PYTHON2 = False
