"""XAPI, and what it leaves in files."""
