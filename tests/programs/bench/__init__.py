"""`make bench`: what hooks, sync and data plane cost, measured side by side in one run."""
