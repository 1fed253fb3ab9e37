"""SHA-256 without OpenSSL, whose loading by hashlib costs a hook's start 1 ms."""
from xsisolate.typing_compat import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import sha256 as sha256
else:
    try:
        from _sha256 import sha256      # until Python 3.11
    except ImportError:
        try:
            from _sha2 import sha256    # since 3.12
        except ImportError:
            from hashlib import sha256  # noqa: F401
