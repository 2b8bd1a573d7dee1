"""What the scripts of Panotti share, and the tools that make, cut and look at sounds."""
