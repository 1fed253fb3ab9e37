"""`xsisolate activate` and `deactivate`: whose hooks the toolstack calls."""
