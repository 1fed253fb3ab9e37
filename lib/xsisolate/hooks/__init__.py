"""What udev and xenopsd start: `vif` and `setup-vif-rules`."""
