"""Commands over what a server keeps: replay, inspect, backup, restore. server/cli.py names them."""
