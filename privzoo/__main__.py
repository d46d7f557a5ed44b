"""`python -m privzoo` is the command `privzoo`."""

from __future__ import annotations

import sys

from privzoo.cli import main

sys.exit(main())
