"""`python -m server` is `everstep`."""

from server.cli import main

main()
