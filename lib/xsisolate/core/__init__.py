"""The pure core: values in, values out; no file, no socket, no process."""
