"""xenstore, and what xenopsd leaves in files."""
