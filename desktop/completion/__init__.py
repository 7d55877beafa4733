"""Shell completion from the commands' parsers."""
