"""Where a slide lies: a file, a folder or a URL; what can be wrong with that before it is read."""

from __future__ import annotations

import errno
import re
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from napari_stem.errors import SlideError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# Two letters or more, so that a Windows drive is none. Path("https://h/x") has lost one slash.
URL = re.compile(r"^([a-z][a-z0-9+.-]+(?:::[a-z][a-z0-9+.-]+)*):/{1,2}(?=[^/])", re.IGNORECASE)
FILE_URL = re.compile(r"^(?:file|local):/{1,3}", re.IGNORECASE)


@dataclass(frozen=True)
class Location:
    """Where a slide lies."""

    path: Path  # absolute path; of a URL, the path within its host (for its name alone)
    url: str | None = None  # the URL, or None for a local file or folder

    @property
    def name(self) -> str:
        """What messages call the slide."""
        return self.path.name

    @property
    def is_folder(self) -> bool:
        """Whether it is a local folder."""
        return self.url is None and self.path.is_dir()

    @property
    def is_file(self) -> bool:
        """Whether it is a local file."""
        return self.url is None and self.path.is_file()

    def head(self, n_bytes: int = 16) -> bytes:
        """First bytes of a local file; empty for folders and URLs. SlideError where it cannot be read."""
        if not self.is_file:
            return b""
        try:
            with self.path.open("rb") as file:
                return file.read(n_bytes)
        except OSError as error:
            raise SlideError(_told(self.path, error)) from error


def locate(path: str | Path) -> Location:
    """Find a slide without reading it; SlideError where nothing that may be read is there.

    ``file://`` URLs become paths; other URLs (``http``, ``https``, ``s3``, ``memory`` ...) are taken as they
    are.
    """
    text = str(path)
    if FILE_URL.match(text):
        text = unquote(FILE_URL.sub("/", text))
    if match := URL.match(text):
        url = f"{match.group(1)}://{text[match.end() :]}"
        place = PurePosixPath(unquote(urlsplit(url.rsplit("::", 1)[-1]).path).rstrip("/"))
        return Location(Path("/", *place.parts) if place.parts else Path("/slide"), url)
    local = Path(text).expanduser().absolute()
    try:
        status = local.stat()
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            raise SlideError(
                f"{local} is neither a file nor a folder; name the slide's image file."
            )
        if stat.S_ISREG(status.st_mode):
            if status.st_size == 0:
                raise SlideError(f"{local.name} is empty (0 bytes); copy or export it again.")
            local.open("rb").close()
        else:
            next(local.iterdir(), None)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise SlideError(_told(local, error)) from error
    return Location(local)


def _told(path: Path, error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number in {errno.ENOENT, errno.ENOTDIR}:
        return f"There is no file {path}; check the path."
    if number == errno.ELOOP:
        return f"{path} is a link that leads in a circle; name the file that it should lead to."
    if number in {errno.EACCES, errno.EPERM}:
        return f"{path} may not be read by you; ask for read permission."
    if number == errno.ENAMETOOLONG:
        return f"There is no file {path.name[:60]}...: the name is too long; check the path."
    return f"{path} cannot be reached ({error}); check the path, the disk or the network."


def watched(slide: Path, files: Iterable[Path]) -> Callable[[], None]:
    """Look at the size, date and number of a slide's files; give what raises a SlideError once they are others.

    SlideError at once where one of them is gone already.
    """
    places = list(files)

    def stamps() -> list[tuple[int, int, int]]:
        try:
            return [(s.st_size, s.st_mtime_ns, s.st_ino) for s in map(Path.stat, places)]
        except OSError as error:
            raise SlideError(
                f"{slide.name} has gone away while it was open ({error.strerror}); bring back "
                f"{error.filename} or its disk or network, then open it again."
            ) from error

    was = stamps()

    def check() -> None:
        if stamps() != was:
            raise SlideError(
                f"{slide.name} was changed or replaced while it was open; open it again."
            )

    return check
