"""`python -m insitu_operator` is `insitu`."""

from insitu_operator.cli import main

if __name__ == "__main__":
    main(prog_name="insitu")
