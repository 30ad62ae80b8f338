"""`python -m proxy.cli`."""

from proxy.cli.main import main

main()
