"""The lab is made of Linux' network namespaces; elsewhere only the report can be tested."""

from __future__ import annotations

import sys

collect_ignore = [] if sys.platform == "linux" else ["test_forwarder.py", "test_network.py", "test_run.py"]
