"""`python -m keras_lrplateau`: the command `keras-lrplateau`."""

import sys

from keras_lrplateau.cli.commands import main

sys.exit(main())
