"""What the scripts of Panotti are made of; README.md describes the rooms."""
