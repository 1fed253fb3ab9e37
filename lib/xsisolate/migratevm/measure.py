"""Sizes and times as people read them."""

KIB = 1024
UNITS = ('bytes', 'KiB', 'MiB', 'GiB', 'TiB')


def sized(size: float) -> str:
    """Return a number of bytes.

    >>> sized(1536), sized(12)
    ('1.5 KiB', '12 bytes')
    """
    unit = 0
    while size >= KIB and unit < len(UNITS) - 1:
        size, unit = size / KIB, unit + 1
    return ('%.1f %s' if unit else '%d %s') % (size, UNITS[unit])


def lasting(seconds: float) -> str:
    """Return a length of time.

    >>> lasting(59.6), lasting(3725)
    ('1 min 0 s', '1 h 2 min')
    """
    whole = int(seconds + 0.5)
    if whole < 60:
        return '%d s' % whole
    if whole < 3600:
        return '%d min %d s' % (whole // 60, whole % 60)
    return '%d h %d min' % (whole // 3600, whole % 3600 // 60)
