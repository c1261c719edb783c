import json

class Encoder(json.JSONEncoder):
    """Writes NaN and infinities as strings, and an unknown object as what it says of itself."""
