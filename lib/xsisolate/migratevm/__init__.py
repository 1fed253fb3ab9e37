"""`migratevm`: moves a VM between hosts that share nothing, in one stream (docs/migratevm.md)."""
