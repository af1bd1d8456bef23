"""`python -m fgsn`, the same as the command `fgsn`."""

from fgsn.cli import main

if __name__ == "__main__":
    main()
