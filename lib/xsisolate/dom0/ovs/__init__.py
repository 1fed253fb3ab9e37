"""Open vSwitch: its database, its flow tables, its control sockets."""
