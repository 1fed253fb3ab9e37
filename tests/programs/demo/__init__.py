"""`make demo`: VMs isolated by the real hooks on a real Open vSwitch, and tried."""
