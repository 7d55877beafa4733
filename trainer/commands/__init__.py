"""The subcommands of `clearcall-train`, by theme.

Arguments in, one call of the trainer, words out.
"""
