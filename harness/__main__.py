"""`python -m harness` is `harness`."""

from harness.cli.app import main

main()
