"""The packet corpus: frames really sent, with every other port really listening."""
