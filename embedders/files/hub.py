"""Downloads a model's files from the Hugging Face hub into the cache, by huggingface_hub.

File by file, in this thread: so each counts once it is there and checked, an interrupt ends the download at once, and
its progress has a name. What comes by Xet keeps to hf_xet's limits of time, not to ours, until the file is there.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

from huggingface_hub import HfApi, constants, get_token, hf_hub_url

from embedders.files.cache import Slot
from embedders.files.download import Deadline, DownloadError, shown_url
from embedders.files.hashing import Expected
from embedders.files.http import within_limits
from embedders.files.lookup import Lookup
from embedders.files.progress import bar_of, shown_download

logger = logging.getLogger(__name__)


def fill_from_hub(lookup: Lookup, slot: Slot, stage: Path) -> None:
    """Download what the slot lacks, each file checked and put into the slot as it arrives.

    Raises DownloadError, whose message does not hold the user's token.
    """
    try:
        _fill(lookup, slot, stage, _api(), Deadline(lookup.timeouts))
    except DownloadError as error:
        message = _redacted(error)
    else:
        return
    raise DownloadError(message)


def _api() -> HfApi:
    token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
    # httpx would quote the header that it cannot send.
    if token and not (token.isascii() and token.isprintable()):
        raise DownloadError("HF_TOKEN holds characters that no token has: is it pasted wholly and only?")
    endpoint = (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")
    return HfApi(endpoint=endpoint, token=token or False, library_name="fleetembed")


def _redacted(error: DownloadError) -> str:
    """The error's text without the user's token, which the endpoint may hold."""
    token = get_token()
    return str(error).replace(token, "<token>") if token else str(error)


def _fill(lookup: Lookup, slot: Slot, stage: Path, api: HfApi, deadline: Deadline) -> None:
    repo, gaps = lookup.card.hf or "", lookup.gaps(slot)
    listing = _listing(lookup, slot, api, deadline)
    if listing is None:
        return
    commit, known = listing
    lacking = [name for name in gaps if name not in known]
    if required := [name for name in lacking if name in lookup.wanted.required]:
        place = f"{shown_url(api.endpoint)}/{repo}"
        raise DownloadError(f"{place} at revision {commit} has no {', '.join(required)}")
    # The model file comes last: where it is, the optional files that exist are too, whatever broke off meanwhile.
    if names := [name for name in reversed(gaps) if name in known]:
        with shown_download(lookup.card.model, names, sum(known[name].size or 0 for name in names), repo):
            for name in names:
                _fetch(api, repo, commit, name, known[name], stage, lookup.card.model, deadline)
                # One by one: what has arrived need not come again if a later file fails.
                slot.publish(stage, [name], commit)
    slot.publish(stage, [], commit, absent=lacking)


def _listing(lookup: Lookup, slot: Slot, api: HfApi, deadline: Deadline) -> tuple[str, dict[str, Expected]] | None:
    """Commit and files of the repository; None if it cannot be had and the slot does without it."""
    repo, revision = lookup.card.hf or "", slot.manifest().revision
    insistent = bool(lookup.faults(slot))

    def ask() -> tuple[str, dict[str, Expected]]:
        try:
            info = api.model_info(repo, revision=revision, files_metadata=True)
            # Plain files carry a git blob id, large ones a sha256.
            return str(info.sha), {
                item.rfilename: Expected(item.size, item.lfs.sha256 if item.lfs else None, item.blob_id)
                for item in info.siblings or ()
            }
        except (TypeError, KeyError, AttributeError, json.JSONDecodeError):
            place = shown_url(api.endpoint)
            raise DownloadError(f"{place} does not describe {repo} as the Hugging Face hub does") from None

    try:
        return within_limits(f"{api.endpoint}/api/models/{repo}", ask, deadline, attempts=None if insistent else 1)
    except DownloadError as error:
        if insistent:
            raise
        unknown = ", ".join(lookup.gaps(slot))
        logger.warning(
            "model %s is used from a Hugging Face cache; whether it also has %s is not known: %s. "
            "HF_HUB_OFFLINE=1 skips the question",
            *(lookup.card.model, unknown, _redacted(error)),
        )
        return None


def _fetch(
    api: HfApi, repo: str, commit: str, name: str, expected: Expected, stage: Path, model: str, deadline: Deadline
) -> None:
    def download() -> str:
        return api.hf_hub_download(
            repo,
            name,
            revision=commit,
            local_dir=stage,
            # Without it the library would take the file from its cache, damaged or not, and would ask for a file's
            # head again and again for minutes on end.
            force_download=True,
            tqdm_class=bar_of(f"{model} {name}"),
        )

    url = hf_hub_url(repo, name, revision=commit, endpoint=api.endpoint)
    within_limits(url, download, deadline)
    if problem := expected.mismatch(stage / name):
        raise DownloadError(f"{shown_url(url)} sent a wrong file: {problem}")
