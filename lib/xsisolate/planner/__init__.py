"""Which items, and so which flows, a bridge should carry. Pure."""
