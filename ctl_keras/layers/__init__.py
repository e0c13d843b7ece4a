import keras  # noqa: F401  # first: its import brings in all modules here, see `ctl_keras._register`
