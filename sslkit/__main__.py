"""`python -m sslkit` and `torchrun -m sslkit` are the same command as `sslkit`."""

from sslkit.cli import main

if __name__ == "__main__":
    main()
