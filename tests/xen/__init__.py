"""The hooks on a real Xen, booted in QEMU: not for pytest, see `make test-xen`."""
