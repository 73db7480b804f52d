"""Makes the CDK run on the checkout's own Node, whatever else this machine has."""

import os
import sys
from pathlib import Path

# jsii starts the first `node` on the PATH when aws_cdk is imported, which the tests' modules do.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
