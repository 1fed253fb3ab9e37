"""The kernel and its like: netdevs, processes, locks, files, systemd, udev, syslog."""
