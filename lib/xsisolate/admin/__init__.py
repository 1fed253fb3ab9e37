"""What an admin does to a VM through XAPI."""
