"""Download published weights from the hub: one file of a repository at one commit, cached locally.

Downloads use the ``huggingface_hub`` client and therefore respect ``HF_HUB_OFFLINE``, ``HF_ENDPOINT``, ``HF_HOME`` and
``HF_TOKEN``.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from benchmark.common import atomic, reading
from benchmark.common.errors import UserError

FILE = "model.safetensors"
ANOTHER = "set HF_HOME to a folder on another disk"
REMEDY = "connect to the internet once, or give its file of weights with --weights FILE"
MARKS = "\ufeff\0"
"""Characters that editors of other systems add to a text: a byte-order mark, and zeros."""
SHA256 = re.compile(r"[0-9a-f]{64}")


def fetch(
    repository: str, revision: str | None, file: str = FILE, *, most: int | None = None, remedy: str = REMEDY
) -> Path:
    """Return the path of a repository's file in the local cache, downloading it if necessary.

    A cached copy is used without contacting the hub, so results on a machine do not change when a branch gets new
    commits. The file's folder is named after the commit.

    Args:
        repository: for example ``timm/vit_large_patch14_dinov2.lvd142m``.
        revision: commit, tag or branch; None for the main branch.
        file: name of the file; the weights by default.
        most: maximum size of a download in bytes.
        remedy: what the user can do instead, for messages.

    Raises:
        UserError: the cache cannot be read; the file is not cached, and the hub is offline, does not respond or denies
            access; the file is too large, or there is no space for it.
    """
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import LocalEntryNotFoundError

    known = _cached_commit(repository, revision)
    try:
        with suppress(LocalEntryNotFoundError):
            return Path(hf_hub_download(repository, file, revision=known, local_files_only=True))
        # A single request first, because a download retries for minutes.
        url = hf_hub_url(repository, file, revision=revision)
        size = get_hf_file_metadata(url, timeout=constants.HF_HUB_ETAG_TIMEOUT).size
        if most is None or (size or 0) <= most:
            return Path(hf_hub_download(repository, file, revision=revision))
    except Exception as error:  # network, hub and disk errors have no common base class
        if isinstance(error, OSError) and atomic.full(error):
            raise UserError(f"{constants.HF_HUB_CACHE}: cannot be written: {atomic.reason(error, ANOTHER)}") from error
        raise UserError(
            f"{repository}: cannot be fetched from the hub ({reason(error, revision, file)}); {remedy}"
        ) from error
    raise UserError(f"{repository}: {file}: larger than the {most} bytes that it may have; {remedy}")


def _cached_commit(repository: str, revision: str | None) -> str | None:
    """Return the commit that the cache states for a branch or tag, else the revision itself.

    The client takes a reference as it is: in a cache copied by hand, a line end added to one hides the file.

    Raises:
        UserError: what the cache has in the place of the reference cannot be read.
    """
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type="model")
    place = folder / "refs" / (revision or "main")
    try:
        return reading.read_text(place, limit=1000).strip().strip(MARKS) or revision
    except (FileNotFoundError, NotADirectoryError):
        return revision
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        raise UserError(f"{place}: cannot be read: {said}; remove it, then connect to the internet once") from None


def commit(path: Path) -> str:
    """Return the commit of a file returned by :func:`fetch`."""
    return path.parent.name


def promised_hash(path: Path) -> str | None:
    """Return the SHA-256 that the hub states for a file from :func:`fetch` (the cache's blob name), else None."""
    name = path.resolve().name
    return name if SHA256.fullmatch(name) else None


def reason(error: Exception, revision: str | None, file: str = FILE) -> str:
    """Return a short description of an error; the client's own messages have several lines and a request id.

    The user's token never appears in it.
    """
    from huggingface_hub import errors, get_token

    known = {
        errors.OfflineModeIsEnabled: "offline because of HF_HUB_OFFLINE, and not in the local cache",
        errors.GatedRepoError: "gated repository; request access on its page and set HF_TOKEN",
        errors.RevisionNotFoundError: f"no revision {revision}; give another --revision, such as main",
        errors.RepositoryNotFoundError: "no such repository, or no access to it",
        errors.LocalEntryNotFoundError: "the hub does not respond",
        errors.EntryNotFoundError: f"it has no {file}",
        errors.LocalTokenNotFoundError: "not logged in; run hf auth login, or set HF_TOKEN",
    }
    for kind, text in known.items():
        if isinstance(error, kind):
            return text
    if getattr(getattr(error, "response", None), "status_code", None) in (401, 403):
        return "access denied; run hf auth login, or set HF_TOKEN, with an account that has access"
    message = getattr(error, "server_message", None) or str(error)
    text = next(iter(message.strip().splitlines()), "") or type(error).__name__
    token = get_token()
    return text.replace(token, "(token)") if token else text
