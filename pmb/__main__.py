"""`python -m pmb VERB`: the command line, pmb/cli.py."""

from pmb.cli import main

main()
