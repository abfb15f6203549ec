"""`kind = "directory"`: each file that is put into a folder is a sample."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from edgeglm_agent.inputs._base import Input, InputContext, InputError, InputLostError, Source
from edgeglm_agent.settings.types import AnyPath

FolderName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,62}\Z")]


class DirectoryInput(Input, tag="directory", frozen=True, kw_only=True):
    """Files that are put into a folder: images, .npy, .npz and .csv, or .txt where the model takes texts."""

    path: AnyPath  # the folder; folders in it are not looked into, links are not followed
    after: Literal["keep", "move", "delete"] = "keep"  # what becomes of a file that was answered
    done: FolderName = "done"  # folder within `path` that answered files are moved to
    failed: FolderName = "failed"  # folder within `path` that damaged files are moved to, each with its reason
    split: bool = False  # each row of a .csv, line of a .txt and entry of an array is a sample; else the file is one
    mode: Literal["auto", "rgb", "grey"] = "auto"  # channels of an image; auto: what the model takes
    delimiter: Annotated[str, Meta(min_length=1, max_length=1)] = ","  # of a .csv
    most_mb: Annotated[float, Meta(gt=0, le=4096)] = 64.0  # a larger file counts as damaged
    rescan_s: Annotated[float, Meta(ge=1)] = 60.0  # between looks at the whole folder

    def check(self) -> None:
        """See ``Input.check``. Raises: InputError: One folder for two ends."""
        if self.done == self.failed:
            raise InputError("answered and damaged files go to the same folder", key="failed")

    def open(self, context: InputContext) -> Source:
        """Begin to watch. Raises: InputError, InputLostError: The folder is not there (yet)."""
        from edgeglm_agent.inputs.folder import Folder  # numpy: the supervisor goes without

        self.check()
        folder = Path(self.path)
        if not folder.exists():
            raise InputLostError(f"{folder} is not there")
        if not folder.is_dir():
            raise InputError(f"{folder} is no folder", key="path")
        return Folder(self, folder, context)
