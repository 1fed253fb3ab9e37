"""The hooks on a real Xen, booted in QEMU: not for pytest, see `tests/xen/boot.py`."""
