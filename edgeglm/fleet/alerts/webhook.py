"""Telling somebody else of alarms: JSON by HTTP, tried again until it is taken, in a thread that nobody waits for."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import os
import random
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import msgspec

from edgeglm.errors import UserError
from edgeglm.fleet.alerts.judging import Change

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeglm.log import Log

SECRET_VARIABLE = "EDGEGLM_WEBHOOK_SECRET"  # noqa: S105 - its name
SIGNATURE = "X-Edgeglm-Signature"
_SCHEMA = 1
_MOST_WAITING = 10_000  # changes; beyond that the oldest are left out
_MOST_STANDING = 10_000  # ids that are told at once; of more, none
_AT_ONCE = 500  # changes of one message
_TIMEOUT_S = 10.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 300.0
_AGAIN = (408, 425, 429)  # besides 500 and more: it may take it later
_SLOWLY = (401, 402, 403, 404, 407, 410)  # and redirects: until somebody mends the address, or its rights
_SAID_AGAIN_S = 3600.0  # that nobody takes them


class Message(msgspec.Struct, frozen=True):
    """What is posted."""

    schema: int
    sent_ms: int
    page: str  # who tells: the same for whoever judges the same store and fleet by the same file of rules
    alerts: list[Change]  # in the order in which they came about
    left_out: int = 0  # older ones, since nobody took them for so long
    standing: list[str] | msgspec.UnsetType = msgspec.UNSET  # ids: what is not among them is over


class Webhook:
    """One address that is told."""

    def __init__(self, url: str, log: Log, *, judging: Sequence[str] = ()) -> None:
        """Begin.

        Args:
            url: Its address.
            log: Where is said what it does not take.
            judging: What is judged beside the store, and by which file.

        Raises:
            UserError: It is no address of a webhook.
        """
        self._url = url
        self._judging = judging
        self._page = ""
        self._shown = _checked(url)
        self._log = log
        self._secret = os.environ.get(SECRET_VARIABLE)
        self._waiting: deque[Change] = deque()
        self._standing: dict[str, None] | None = None  # to be told, when all that waits is
        self._left_out = 0
        self._lock = threading.Lock()
        self._news, self._ending = threading.Event(), threading.Event()
        self._opener = urllib.request.build_opener(_NoRedirects)
        self._said, self._said_at_s = "", 0.0  # why it is not taken
        self._thread = threading.Thread(target=self._run, name="webhook", daemon=True)
        self._thread.start()

    def tell(self, changes: Sequence[Change], standing: Sequence[str] | None = None, *, store: str = "") -> None:
        """Take note; never waits.

        Args:
            changes: What was raised, and what is over.
            standing: Ids of all that stands with these changes, where that is to be told: whoever missed that something
                is over learns it so.
            store: Its identity.
        """
        if not changes and standing is None:
            return
        with self._lock:
            self._page = _page(store, *self._judging)
            self._waiting.extend(changes)
            if standing is not None:
                self._standing = dict.fromkeys(standing) if len(standing) <= _MOST_STANDING else None
            elif self._standing is not None:
                for change in changes:
                    self._standing.pop(change.id, None)
                    if change.state == "raised":
                        self._standing[change.id] = None
            while len(self._waiting) > _MOST_WAITING:
                self._waiting.popleft()
                self._left_out += 1
        self._news.set()

    def close(self) -> None:
        """Let it go; what was not taken is not told any more."""
        self._ending.set()
        self._news.set()

    def _run(self) -> None:
        wait_s = _FIRST_WAIT_S
        while not self._ending.is_set():
            self._news.wait()
            self._news.clear()
            while not self._ending.is_set() and (message := self._next()):
                done = self._post(message)
                if done == "done":
                    self._done(message)
                    wait_s = _FIRST_WAIT_S
                else:
                    wait_s = _LONGEST_WAIT_S if done == "slowly" else wait_s
                    self._ending.wait(wait_s * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
                    wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    def _next(self) -> Message | None:
        with self._lock:
            first = [self._waiting[at] for at in range(min(_AT_ONCE, len(self._waiting)))]
            message = Message(_SCHEMA, time.time_ns() // 1_000_000, self._page, first, self._left_out)
            if self._standing is not None and len(first) == len(self._waiting):
                return msgspec.structs.replace(message, standing=[*self._standing])
            return message if first else None

    def _done(self, message: Message) -> None:
        with self._lock:
            for change in message.alerts:
                if self._waiting and self._waiting[0] is change:  # else it was left out meanwhile
                    self._waiting.popleft()
            self._left_out -= message.left_out
            if message.standing is not msgspec.UNSET:
                self._standing = None

    def _post(self, message: Message) -> Literal["done", "again", "slowly"]:
        """Return whether it was taken, or never will be, and if not when to try again."""
        body = msgspec.json.encode(message)
        headers = {"Content-Type": "application/json", "User-Agent": "edgeglm"}
        if self._secret:
            digest = hmac.new(self._secret.encode(), body, hashlib.sha256).hexdigest()
            headers[SIGNATURE] = f"sha256={digest}"
        request = urllib.request.Request(self._url, data=body, headers=headers, method="POST")  # noqa: S310 - checked
        try:
            with self._opener.open(request, timeout=_TIMEOUT_S) as answer:
                answer.read(1024)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in _SLOWLY or 300 <= error.code < 400:
                self._failed(f"answered {error.code}: look at its address, and at who may post there")
                return "slowly"
            if error.code >= 500 or error.code in _AGAIN:
                self._failed(f"answered {error.code}")
                return "again"
            self._log.warn(
                f"the webhook {self._shown} answered {error.code}; {len(message.alerts)} alarms are not told"
            )
            return "done"
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None) or type(error).__name__
            self._failed(f"cannot be reached: {reason}")
            return "again"
        if self._said:
            self._log.note(f"the webhook {self._shown} takes alarms again")
        self._said = ""
        return "done"

    def _failed(self, what: str) -> None:
        now = time.monotonic()
        if what != self._said or now - self._said_at_s > _SAID_AGAIN_S:
            self._said_at_s = now
            self._log.warn(f"the webhook {self._shown} {what}; {len(self._waiting)} alarms wait")
        self._said = what


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """What is told is told to the address that was given, and to no other."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _page(*judging: str) -> str:
    return hashlib.sha256("\0".join(judging).encode(errors="surrogateescape")).hexdigest()[:12]


def _checked(url: str) -> str:
    """Return what may be shown of a URL: whoever knows the rest may often post to it. Raises: UserError."""
    user = None
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
        user = parts.username
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host or not url.isprintable() or " " in url:
        raise UserError(
            "this is no address of a webhook",
            where="--webhook",
            hint="write https://HOST/PATH, best in the variable EDGEGLM_WEBHOOK, which no other user sees",
            code="webhook-address",
        )
    if user is not None:
        raise UserError(
            "this has a user or a password in it, which are not shown to the webhook",
            where="--webhook",
            hint=f"leave out what stands before the @; who posts is proved by {SECRET_VARIABLE}, or by a part of the "
            "path that nobody else knows",
            code="webhook-address",
        )
    return f"{parts.scheme}://{host}"
