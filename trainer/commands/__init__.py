"""The subcommands of `clearcall-train`, by theme: arguments in, one call of the trainer, words out."""
