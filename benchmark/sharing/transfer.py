"""``push`` a run to a repository of the hub; ``pull`` one from there or from an exported folder.

``huggingface_hub`` transfers the files and finds the user's token (``hf auth login``, ``HF_TOKEN``); no code here reads
the token.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmark.common import reading
from benchmark.common.atomic import writing
from benchmark.common.errors import UserError
from benchmark.models import hub
from benchmark.records import Record, find
from benchmark.sharing import bundle
from benchmark.sharing.manifest import CARD, FIELDS, MANIFEST, RECORD

COMMIT = re.compile(r"[0-9a-f]{40}")
REMEDY = "check the connection and try again"


def push(which: str, repository: str, records: Path, private: bool) -> str:
    """Push a run to a repository of the hub in one commit; return the commit. Other files there are kept.

    Args:
        which: as in :func:`benchmark.records.find`.
        repository: ``OWNER/NAME``; created if it does not exist.
        records: folder of records.
        private: create it as a private repository.

    Raises:
        UserError: no such run; no weight files; the hub cannot be reached or refuses.
    """
    record = find(which, records)
    _require_name(repository)
    files = bundle.contents(record, repository)
    try:
        return _publish(repository, files, private, f"{record.label}, {record.name}")
    except Exception as error:  # network and hub each raise their own kinds
        raise UserError(f"{repository}: push failed ({hub.reason(error, None)}); {REMEDY}") from error


def pull(source: str, records: Path, revision: str | None) -> tuple[Record, str]:
    """Fetch a run, check it and write it to the records; return its record and its origin (``OWNER/NAME@COMMIT``).

    Args:
        source: a repository, ``OWNER/NAME``, or an exported folder.
        records: folder of records.
        revision: commit, tag or branch of the repository (default: the current main branch).

    Raises:
        UserError: it cannot be fetched, or a check failed.
    """
    with writing(records):
        records.mkdir(parents=True, exist_ok=True)
    if Path(source).is_dir():
        if revision is not None:
            raise UserError(f"--revision {revision}: {source} is a folder; leave it out")
        return bundle.unpack(bundle.read_folder(Path(source)), source, records), source
    _require_name(source)
    commit = _commit(source, revision)
    origin = f"{source}@{commit}"

    def fetch(name: str, most: int) -> bytes:
        path = hub.fetch(source, commit, name, most=most, remedy=REMEDY)
        try:
            return reading.read_bytes(path, most)
        except OSError as error:
            raise UserError(f"{origin}: {name}: cannot be read: {error.strerror or error}; {REMEDY}") from None

    return bundle.unpack(fetch, origin, records), origin


def _require_name(repository: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repository)
    except HFValidationError:
        repository = ""
    if "/" not in repository:
        raise UserError("give a hub repository as OWNER/NAME (letters, digits and . _ -) or an exported folder")


def _commit(repository: str, revision: str | None) -> str:
    """Return the commit that a revision names now, so that all files are fetched from the same commit."""
    if revision is not None and COMMIT.fullmatch(revision):
        return revision
    from huggingface_hub import HfApi, constants

    try:
        found = HfApi().repo_info(repository, revision=revision, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except Exception as error:  # network and hub each raise their own kinds
        said = hub.reason(error, revision)
        raise UserError(f"{repository}: cannot be fetched from the hub ({said}); {REMEDY}") from error
    if not COMMIT.fullmatch(str(found.sha)):
        raise UserError(f"{repository}: the hub returned no commit; give one with --revision")
    return str(found.sha)


def _publish(repository: str, files: Mapping[str, bytes], private: bool, message: str) -> str:
    """Commit the files and delete obsolete ones of a previously pushed run."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
    from huggingface_hub.utils import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()
    api = HfApi()
    api.create_repo(repository, private=private or None, exist_ok=True)
    ours = {CARD, MANIFEST, RECORD, *FIELDS.values()}
    obsolete = ours.intersection(api.list_repo_files(repository)) - set(files)
    additions = [CommitOperationAdd(name, data) for name, data in files.items()]
    deletions = [CommitOperationDelete(name) for name in sorted(obsolete)]
    return str(api.create_commit(repository, [*deletions, *additions], commit_message=message).oid)
