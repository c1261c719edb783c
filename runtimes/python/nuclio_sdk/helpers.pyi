PYTHON3: bool
PYTHON2: bool
