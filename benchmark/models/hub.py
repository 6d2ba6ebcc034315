"""Published weights on the hub: one file of a repository at one commit, from the local cache or over the network.

The hub's own client does the work, so that its environment variables hold: ``HF_HUB_OFFLINE``, ``HF_ENDPOINT``,
``HF_HOME``, ``HF_TOKEN``.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from benchmark.common.errors import UserError

FILE = "model.safetensors"
REMEDY = "connect once, or name timm's safetensors file with --weights FILE"
SHA256 = re.compile(r"[0-9a-f]{64}")


def fetch(
    repository: str, revision: str | None, file: str = FILE, *, most: int | None = None, remedy: str = REMEDY
) -> Path:
    """Return where a file of a repository lies in the local cache, after download if need be.

    A cached copy serves as it is and nobody is asked; so a branch that has moved on does not change a machine's
    results. The folder of the file bears the commit's name.

    Args:
        repository: ``timm/vit_large_patch14_dinov2.lvd142m``.
        revision: commit, tag or branch; None for the main branch.
        file: which; its weights by default.
        most: refuse to download more bytes than that.
        remedy: what a user can do without the hub.

    Raises:
        UserError: not in the cache, and the hub is offline, silent or refuses; or the file is too large.
    """
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        with suppress(LocalEntryNotFoundError):
            return Path(hf_hub_download(repository, file, revision=revision, local_files_only=True))
        # It asks once, where a download would go on asking for minutes.
        url = hf_hub_url(repository, file, revision=revision)
        size = get_hf_file_metadata(url, timeout=constants.HF_HUB_ETAG_TIMEOUT).size
        if most is None or (size or 0) <= most:
            return Path(hf_hub_download(repository, file, revision=revision))
    except Exception as error:  # network, hub and disk each raise their own kinds
        raise UserError(
            f"{repository}: cannot be fetched from the hub ({reason(error, revision, file)}); {remedy}"
        ) from error
    raise UserError(f"{repository}: {file}: larger than the {most} bytes that it may have; {remedy}")


def commit(path: Path) -> str:
    """Return the commit that a file of :func:`fetch` belongs to."""
    return path.parent.name


def promised_hash(path: Path) -> str | None:
    """Return the SHA-256 that the hub gave a file of :func:`fetch`: the cache names large files' contents by it."""
    name = path.resolve().name
    return name if SHA256.fullmatch(name) else None


def reason(error: Exception, revision: str | None, file: str = FILE) -> str:
    """Return in a few words what went wrong; the client's own are several lines with a request's number.

    Whatever a hub answers, the user's token is not repeated.
    """
    from huggingface_hub import errors, get_token

    words = {
        errors.OfflineModeIsEnabled: "offline by HF_HUB_OFFLINE, and not in the local cache",
        errors.GatedRepoError: "access must be asked for on its page, and HF_TOKEN set",
        errors.RevisionNotFoundError: f"no revision {revision}; give another --revision, such as main",
        errors.RepositoryNotFoundError: "no such repository, or no access to it",
        errors.LocalEntryNotFoundError: "it does not answer",
        errors.EntryNotFoundError: f"it has no {file}",
        errors.LocalTokenNotFoundError: "nobody is logged in; run hf auth login, or set HF_TOKEN",
    }
    for kind, text in words.items():
        if isinstance(error, kind):
            return text
    if getattr(getattr(error, "response", None), "status_code", None) in (401, 403):
        return "no access; run hf auth login, or set HF_TOKEN, with the right to do it"
    said = getattr(error, "server_message", None) or str(error)
    text = next(iter(said.strip().splitlines()), "") or type(error).__name__
    token = get_token()
    return text.replace(token, "(token)") if token else text
