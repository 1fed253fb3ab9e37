"""What XAPI asks of this host."""
