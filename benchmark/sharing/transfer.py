"""``push`` and ``pull``: a run to a repository of the hub, and back from there or from an exported folder.

The hub's own client does the work and finds the user's token (``hf auth login``, ``HF_TOKEN``); here nobody handles it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmark.common.atomic import writing
from benchmark.common.errors import UserError
from benchmark.models import hub
from benchmark.records import Record, find
from benchmark.sharing import bundle
from benchmark.sharing.manifest import CARD, FIELDS, MANIFEST, RECORD

COMMIT = re.compile(r"[0-9a-f]{40}")
REMEDY = "connect and try again"


def push(which: str, repository: str, records: Path, private: bool) -> str:
    """Put a run into a repository of the hub, in one commit, and return the commit. What else is there stays.

    Args:
        which: as :func:`benchmark.records.find` takes it.
        repository: ``OWNER/NAME``; made where there is none.
        records: folder of records.
        private: whether one that is made is private.

    Raises:
        UserError: no such run, or without weights; the hub is offline, silent or refuses.
    """
    record = find(which, records)
    _require_name(repository)
    files = bundle.contents(record, repository)
    try:
        return _publish(repository, files, private, f"{record.label}, {record.name}")
    except Exception as error:  # network and hub each raise their own kinds
        raise UserError(f"{repository}: cannot be pushed to ({hub.reason(error, None)}); {REMEDY}") from error


def pull(source: str, records: Path, revision: str | None) -> tuple[Record, str]:
    """Fetch a run, check all of it, and place it among the records; return its record and where exactly it is from.

    Args:
        source: a repository, ``OWNER/NAME``, or an exported folder.
        records: folder of records.
        revision: commit, tag or branch of the repository; by default its main branch as it is now.

    Raises:
        UserError: it cannot be had, or is not as it must be.
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
        if path.stat().st_size > most:
            raise UserError(f"{origin}: {name}: larger than the {most} bytes that it may have; {REMEDY}")
        return path.read_bytes()

    return bundle.unpack(fetch, origin, records), origin


def _require_name(repository: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repository)
    except HFValidationError:
        repository = ""
    if "/" not in repository:
        raise UserError("name the hub's repository as OWNER/NAME, in letters, digits and . _ -, or an exported folder")


def _commit(repository: str, revision: str | None) -> str:
    """Return the commit that a revision names now, so that all files come from the same one."""
    if revision is not None and COMMIT.fullmatch(revision):
        return revision
    from huggingface_hub import HfApi, constants

    try:
        found = HfApi().repo_info(repository, revision=revision, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except Exception as error:  # network and hub each raise their own kinds
        said = hub.reason(error, revision)
        raise UserError(f"{repository}: cannot be fetched from the hub ({said}); {REMEDY}") from error
    if not COMMIT.fullmatch(str(found.sha)):
        raise UserError(f"{repository}: the hub names no commit; give one with --revision")
    return str(found.sha)


def _publish(repository: str, files: Mapping[str, bytes], private: bool, message: str) -> str:
    """Commit the files, and take away those of a run that was there before and had others."""
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
