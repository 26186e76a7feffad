"""`make run` in a fresh clone has neither the driver of Redis nor that of MongoDB: both are extras."""

import subprocess
import sys

WITHOUT = """
import sys
for name in ("redis", "hiredis", "pymongo", "bson", "gridfs"):
    sys.modules[name] = None
import server.cli
"""


def test_the_command_line_is_imported_without_the_extras(root):
    done = subprocess.run([sys.executable, "-c", WITHOUT], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
