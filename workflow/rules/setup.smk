# Path set-up, and files of configuration that Snakemake can read: it names neither file nor line.

import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

ROOT = Path(workflow.basedir)
SOURCES = str(ROOT / "src")
# Nothing needs to be installed, and what is installed, perhaps from another clone, must not win:
# neither here nor in the scripts, which see PYTHONPATH before their site-packages.
sys.path.insert(0, SOURCES)
os.environ.update(
    PYTHONPATH=os.pathsep.join([SOURCES, os.environ.get("PYTHONPATH", "")]).rstrip(
        os.pathsep
    )
)

from saeflow.errors import SaeflowError
from saeflow.yaml_files import check_configuration

if workflow.is_main_process:
    try:
        for file in (ROOT / "config.yaml", *workflow.config_settings.configfiles):
            check_configuration(Path(file))
    except SaeflowError as error:
        raise WorkflowError(f"configuration: {error}") from None
