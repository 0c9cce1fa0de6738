"""Run the command line with `python -m score_jax.cli`."""

from score_jax.cli import main

main()
