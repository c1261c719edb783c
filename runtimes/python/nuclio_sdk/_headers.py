"""Request headers: a dict whose names may be written in any case, and which keeps repeated lines.

Names are written as Go writes them (``Content-Type``), which is what nuclio's handlers see. As a
dict it holds the first value of each name.
"""


def _canonical(name):
    return "-".join(word.capitalize() for word in name.split("-"))


class Headers(dict):
    """What ``event.headers`` is."""

    # Only where a name came more than once: lower-case name -> all its values.
    _repeated = None

    def get_all(self, name):
        """All values of a header in the order they came; an empty list if there is none."""
        if self._repeated is not None and isinstance(name, str):
            values = self._repeated.get(name.lower())
            if values is not None:
                return list(values)
        value = self.get(name)
        return [] if value is None else [value]

    def add(self, name, value):
        """One more line, behind those of the same name."""
        key = self._key(name)
        if not dict.__contains__(self, key):
            dict.__setitem__(self, name, value)
            return
        if self._repeated is None:
            self._repeated = {}
        self._repeated.setdefault(key.lower(), [dict.__getitem__(self, key)]).append(value)

    def _key(self, name):
        """The name as it stands in the dict; the same name if there is none."""
        if dict.__contains__(self, name) or not isinstance(name, str):
            return name
        canonical = _canonical(name)
        if dict.__contains__(self, canonical):
            return canonical
        lower = name.lower()
        for key in self:
            if isinstance(key, str) and key.lower() == lower:
                return key
        return name

    def _forget(self, key):
        if self._repeated is not None and isinstance(key, str):
            self._repeated.pop(key.lower(), None)

    def __missing__(self, name):
        key = self._key(name)
        if key is name or not dict.__contains__(self, key):
            raise KeyError(name)
        return dict.__getitem__(self, key)

    def __contains__(self, name):
        return dict.__contains__(self, name) or dict.__contains__(self, self._key(name))

    def __setitem__(self, name, value):
        key = self._key(name)
        self._forget(key)
        dict.__setitem__(self, key, value)

    def __delitem__(self, name):
        key = self._key(name)
        dict.__delitem__(self, key)
        self._forget(key)

    def get(self, name, default=None):
        value = dict.get(self, name, self)
        if value is not self:
            return value
        return dict.get(self, self._key(name), default)

    def pop(self, name, *default):
        key = self._key(name)
        self._forget(key)
        return dict.pop(self, key, *default)

    def setdefault(self, name, default=None):
        return dict.setdefault(self, self._key(name), default)

    def update(self, *others, **named):
        for name, value in dict(*others, **named).items():
            self[name] = value

    def copy(self):
        other = Headers(self)
        if self._repeated is not None:
            other._repeated = {name: list(values) for name, values in self._repeated.items()}
        return other
