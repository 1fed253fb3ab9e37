"""What DHCP servers lease to VIFs, as RFC 7513 has it learned: messages in, bindings out. Pure."""
