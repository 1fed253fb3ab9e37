"""Files below /run/xsisolate, by which our own processes tell each other things."""
