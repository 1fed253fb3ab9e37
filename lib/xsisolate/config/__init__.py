"""xsisolate.yaml: text -> Config."""
