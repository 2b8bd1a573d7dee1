"""The modules behind the scripts of Panotti; README.md describes the packages."""
