"""The sandbox Dom0: real Open vSwitch, real oxenstored, VMs as network namespaces."""
