"""The hooks on a real Xen, booted in QEMU: not for pytest, see `tests/programs/xen/boot.py`."""
