"""`python -m hpcflow`: the command line."""

from hpcflow.cli import main

if __name__ == "__main__":
    main(prog_name="hpcflow")
