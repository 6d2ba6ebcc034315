"""Published weights on the hub: one file of a repository at one commit, from the local cache or over the network.

The hub's own client does the work, so that its environment variables hold: ``HF_HUB_OFFLINE``, ``HF_ENDPOINT``,
``HF_HOME``, ``HF_TOKEN``.
"""

from __future__ import annotations

import re
from pathlib import Path

from benchmark.errors import UserError

FILE = "model.safetensors"
REMEDY = "connect once, or name timm's safetensors file with --weights FILE"
SHA256 = re.compile(r"[0-9a-f]{64}")


def fetch(repository: str, revision: str | None) -> Path:
    """Return where a repository's weights lie in the local cache, after download if need be.

    A cached copy serves as it is and nobody is asked; so a branch that has moved on does not change a machine's
    results. The folder of the file bears the commit's name.

    Args:
        repository: ``timm/vit_large_patch14_dinov2.lvd142m``.
        revision: commit, tag or branch; None for the main branch.

    Raises:
        UserError: not in the cache, and the hub is offline, silent or refuses.
    """
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repository, FILE, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    try:
        # It asks once, where a download would go on asking for minutes.
        url = hf_hub_url(repository, FILE, revision=revision)
        get_hf_file_metadata(url, timeout=constants.HF_HUB_ETAG_TIMEOUT)
        return Path(hf_hub_download(repository, FILE, revision=revision))
    except Exception as error:  # network, hub and disk each raise their own kinds
        raise UserError(
            f"{repository}: cannot be fetched from the hub ({_reason(error, revision)}); {REMEDY}"
        ) from error


def commit(path: Path) -> str:
    """Return the commit that a file of :func:`fetch` belongs to."""
    return path.parent.name


def promised_hash(path: Path) -> str | None:
    """Return the SHA-256 that the hub gave a file of :func:`fetch`: the cache names large files' contents by it."""
    name = path.resolve().name
    return name if SHA256.fullmatch(name) else None


def _reason(error: Exception, revision: str | None) -> str:
    """Return in a few words what went wrong; the client's own are several lines with a request's number."""
    from huggingface_hub import errors

    words = {
        errors.OfflineModeIsEnabled: "offline by HF_HUB_OFFLINE, and not in the local cache",
        errors.GatedRepoError: "access must be asked for on its page, and HF_TOKEN set",
        errors.RevisionNotFoundError: f"no revision {revision}; give another --revision, such as main",
        errors.RepositoryNotFoundError: "no such repository, or no access to it",
        errors.LocalEntryNotFoundError: "it does not answer",
        errors.EntryNotFoundError: f"it has no {FILE}",
    }
    for kind, text in words.items():
        if isinstance(error, kind):
            return text
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__
