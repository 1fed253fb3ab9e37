"""The process that follows XAPI and writes down the members of groups on other hosts."""
