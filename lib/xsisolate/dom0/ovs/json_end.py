"""Where a JSON object ends that arrives in pieces, of which none is looked at twice."""

NO_BRACES = bytes(sorted(set(range(256)) - set(b'{}')))


class ObjectEnd:
    """Counts braces outside strings, by whole pieces: no line of Python runs for each byte."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._held = b''        # a backslash, which belongs to the next piece's first byte

    def is_in(self, piece: bytes) -> bool:
        """Take in the next piece; tell whether the first object ends in it."""
        braces = self._braces(self._held + piece)
        if not self._depth and braces:
            self._depth, braces = 1, braces[1:]
        while b'{}' in braces:      # as often as objects are nested: what is left is }}{{
            braces = braces.replace(b'{}', b'')
        closing = braces.count(b'}')
        if closing and closing >= self._depth:
            return True
        self._depth += len(braces) - 2 * closing
        return False

    def _braces(self, text: bytes) -> bytes:
        """Return the braces outside strings."""
        self._held = b'\\' * ((len(text) - len(text.rstrip(b'\\'))) % 2)
        text = text[:len(text) - len(self._held)]
        parts = text.replace(b'\\\\', b'').replace(b'\\"', b'').split(b'"')
        outside = b''.join(parts[self._in_string::2])
        if len(parts) % 2 == 0:
            self._in_string = not self._in_string
        return outside.translate(None, NO_BRACES)
