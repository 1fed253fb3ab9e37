"""The daemon: it follows what flows depend on, and reconciles what has changed.

    OVSDB (ports, protocols, controllers, fail modes)  ┐
    OpenFlow (ovs-vswitchd gone, flows lost)           ├─► schedule ─► work
    xenstore (vm-data), files (configuration, groups)  ┘
                                        └── a child of its own that follows XAPI (pool/)
                                            writes files, and a line when it has

One thread, one loop. An event asks for each task, and a task that is asked for too often has
to wait (schedule.py). What is known of bridges and VIFs is in known.py.
"""
