"""What processes are forked from: TensorFlow is imported once for all of them, without its
messages."""

from ctl_keras.quiet import import_tensorflow_quietly

import_tensorflow_quietly()
