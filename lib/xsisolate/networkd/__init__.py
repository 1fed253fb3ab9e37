"""What XAPI tells xcp-networkd of this host, so that it leaves bridges as we set them."""
