"""Network isolation for the VMs of XCP-ng and XenServer hosts."""

__version__ = '0.1.0'
