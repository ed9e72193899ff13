"""A client of a registry (`urza serve`), over HTTP.

The service is not trusted: what it sends is bounded in size and in time, redirects are errors, and
a package is used only if the runtime finds its digests right, its signature trusted, and its id the
one that was asked for. No variable of the environment names a proxy.

An answer of 503 or 429 is waited for as long as the service says, and asked again; so is a
connection that failed, after a doubling time. No call lasts longer than the client's timeout.
"""
import contextlib
import http.client
import json
import random
import re
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping

from . import _store, _urza

NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")
ANSWER_BYTES = 64 << 20   # of JSON
ERROR_BYTES = 1 << 20
PACKAGE_BYTES = 4 << 30
SOURCE_BYTES = 8 << 30
EVENT_BYTES = 64 << 10
TRIES = 5
SILENCE_SECONDS = 20      # a stream of events that is silent for so long is opened again
PACKAGE_TYPE = "application/vnd.urza.package"
JSON_TYPE = "application/json"


class _Refusal(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, request, fp, code, message, headers, newurl):
        return None  # the answer is an error then, of its status


def _shut(connected):
    with contextlib.suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)


def _bounded(base):
    """Connections that end after their timeout: that of a socket is for each piece of an answer,
    and an answer may come in any number of pieces. Who has the answer cancels its timer."""
    class Connection(base):
        def getresponse(self):
            timer = threading.Timer(self.timeout, _shut, [self.sock])
            timer.daemon = True
            timer.start()
            try:
                answer = super().getresponse()
            except BaseException:
                timer.cancel()
                raise
            answer.timer = timer
            return answer
    return Connection


@contextlib.contextmanager
def _ending(answer):
    try:
        yield
    finally:
        answer.timer.cancel()


class _Handler(urllib.request.HTTPHandler):
    def http_open(self, request):
        return self.do_open(_bounded(http.client.HTTPConnection), request)


class _SecureHandler(urllib.request.HTTPSHandler):
    def https_open(self, request):
        return self.do_open(_bounded(http.client.HTTPSConnection), request, context=self._context)


def _check_name(name, what):
    if not isinstance(name, str) or not NAME.fullmatch(name) or name in (".", ".."):
        raise _store.error("UsageError", f"no id of a {what}: {name!r}", what)


def _parse(data):
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise _store.error("ProtocolError", "the answer is not JSON") from None
    if not isinstance(value, dict):
        raise _store.error("ProtocolError", "the answer is no object of JSON")
    return value


def _error_of(value, status):
    """An exception for {error, message, place}; the status is of an answer that is none."""
    name = value.get("error")
    found = getattr(_urza, name, None) if isinstance(name, str) else None
    if not (isinstance(found, type) and issubclass(found, _urza.Error)):
        return _store.error("ProtocolError", f"an answer of status {status}")
    return _store.error(name, str(value.get("message", "")), str(value.get("place") or ""))


def _read(answer, most, deadline):
    """The body, of at most so many bytes."""
    parts, size = [], 0
    while part := answer.read1(1 << 20):
        size += len(part)
        if size > most:
            raise _store.error("LimitExceededError", f"the answer has more than {most} bytes")
        parts.append(part)
    if time.monotonic() > deadline:
        raise _store.error("ConnectionError", "the answer is not there in the time given")
    length = answer.headers.get("Content-Length")
    if length is not None and length != str(size):
        raise _store.error("ConnectionError", "the answer ends in its middle")
    return b"".join(parts)


def _check_type(answer, wanted):
    kind = answer.headers.get_content_type()
    coding = answer.headers.get("Content-Encoding", "identity")
    if answer.status not in (200, 201, 202) or kind != wanted or coding != "identity":
        raise _store.error("ProtocolError", f"an answer of status {answer.status} and type "
                           f"{kind!r}, expected {wanted!r}")


def _source(blueprint):
    """(bytes, whether they are JSON) of a blueprint or a model."""
    if isinstance(blueprint, Mapping):
        return json.dumps(dict(blueprint), allow_nan=False).encode(), True
    if isinstance(blueprint, str) and blueprint.lstrip().startswith("{"):
        data = blueprint.encode()
    elif isinstance(blueprint, (bytes, bytearray, memoryview)):
        data = bytes(blueprint)
    else:
        with open(blueprint, "rb") as file:
            data = file.read(SOURCE_BYTES + 1)
    if len(data) > SOURCE_BYTES:
        raise _store.error("LimitExceededError", f"a source has at most {SOURCE_BYTES} bytes")
    return data, data.lstrip()[:1] == b"{"


def _compile_request(blueprint, hints):
    """(query, type, body) of POST /compile."""
    data, is_json = _source(blueprint)
    if not is_json:
        words = {name: json.dumps(value) if isinstance(value, bool) else value
                 for name, value in hints.items()}
        return urllib.parse.urlencode(words), "application/octet-stream", data
    try:
        json.loads(data)
    except (ValueError, RecursionError) as problem:
        raise _store.error("InvalidRequestError", f"not JSON: {problem}", "blueprint") from None
    body = (b'{"blueprint_ir": ' + data + b', "optimization_hints": ' +
            json.dumps(hints, allow_nan=False).encode() + b"}")
    return "", JSON_TYPE, body


class Client:
    """client = urza.Client("http://127.0.0.1:8080")

    url: of the registry, optionally with a path before the service's own. token: for a service that
    wants one. timeout: how many seconds a call may take, all tries included.

    Any number of threads may use one, and so may the child of a fork.
    """

    def __init__(self, url, token=None, *, timeout=600.0):
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or \
                parts.fragment or parts.username is not None:
            raise _store.error("UsageError", f"no URL of a registry: {url!r}", "url")
        if token is not None and not re.fullmatch(r"[!-~]+", token):
            raise _store.error("UsageError", "a token has visible characters only", "token")
        if not timeout > 0:
            raise _store.error("UsageError", f"{timeout} seconds", "timeout")
        self.url = url.rstrip("/")
        self._timeout = float(timeout)
        self._headers = {"User-Agent": f"urza-python/{_urza.__version__}"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _Refusal(),
                                                   _Handler(), _SecureHandler())

    def __repr__(self):
        return f"<urza.Client {self.url}>"

    def _lost(self, reason):
        if isinstance(reason, _urza.ConnectionError):
            return reason
        return _store.error("ConnectionError", f"{self.url}: {reason}")

    def _open(self, path, accept, body, timeout):
        """One try: an answer of success; everything else is an exception."""
        headers = {**self._headers, "Accept": accept[0]}
        if body:
            headers["Content-Type"] = body[0]
        request = urllib.request.Request(self.url + path, data=body[1] if body else None,
                                         headers=headers)
        try:
            answer = self._opener.open(request, timeout=max(timeout, 0.001))
        except urllib.error.HTTPError as refusal:
            with refusal, _ending(refusal.fp):
                data = _read(refusal, ERROR_BYTES, time.monotonic() + timeout)
                error = _error_of(_parse(data) if refusal.code >= 400 else {}, refusal.code)
                error._status = refusal.code
                error._wait = refusal.headers.get("Retry-After", "")
                raise error from None
        except (OSError, http.client.HTTPException, ValueError) as problem:
            raise self._lost(getattr(problem, "reason", problem)) from None
        try:
            _check_type(answer, accept[0])
        except _urza.Error:
            answer.timer.cancel()
            answer.close()
            raise
        return answer

    def _ask(self, path, accept=(JSON_TYPE, ANSWER_BYTES), body=None):
        """(bytes, headers) of an answer, after as many tries as it takes."""
        deadline = time.monotonic() + self._timeout
        for attempt in range(1, TRIES + 1):
            try:
                answer = self._open(path, accept, body, deadline - time.monotonic())
                with answer, _ending(answer):
                    return _read(answer, accept[1], deadline), answer.headers
            except (OSError, http.client.HTTPException) as broken:
                error = self._lost(broken)
            except _urza.Error as refused:
                if not (isinstance(refused, _urza.ConnectionError) or
                        getattr(refused, "_status", 0) in (429, 503)):
                    raise
                error = refused
            said = getattr(error, "_wait", "")
            wait = int(said) if re.fullmatch("[0-9]{1,6}", said) else \
                0.1 * 2 ** attempt * random.uniform(0.5, 1)
            if attempt == TRIES or time.monotonic() + wait > deadline:
                raise error
            time.sleep(wait)

    def compile(self, blueprint, **hints):
        """Has a blueprint compiled, and waits: the service's answer, with kernel_id.

        blueprint: a dictionary, JSON, the bytes of a model (ONNX, .pt2), or the path of a file with
            one of these. hints: as the service knows them, such as optimization_level=2.
        """
        query, kind, data = _compile_request(blueprint, hints)
        return _parse(self._ask(f"/compile?{query}".rstrip("?"), body=(kind, data))[0])

    def submit(self, blueprint, **hints):
        """The same without waiting: the id of a job, for watch."""
        query, kind, data = _compile_request(blueprint, hints)
        answer = _parse(self._ask(f"/compile?async=true&{query}".rstrip("&"),
                                  body=(kind, data))[0])
        if not isinstance(answer.get("job_id"), str):
            raise _store.error("ProtocolError", "the answer names no job")
        return answer["job_id"]

    def fetch(self, kernel, threads=1, trust=(), allow_unsigned=False):
        """A Module of a kernel, by its id or an alias. An id that was fetched before is loaded from
        the folder of packages, without asking. threads, trust, allow_unsigned: as in load."""
        from . import load
        _check_name(kernel, "kernel")
        return load(kernel, client=self, threads=threads, trust=trust,
                    allow_unsigned=allow_unsigned)

    def _package(self, kernel):
        """(bytes, id that the service says) of a package; not verified yet."""
        _check_name(kernel, "kernel")
        data, headers = self._ask(f"/kernel/{kernel}", (PACKAGE_TYPE, PACKAGE_BYTES))
        return data, headers.get("X-Kernel-Id")

    def watch(self, job, timeout=None):
        """Follows a job: an iterator of dictionaries {state, stage, kernel_id}, one for each
        change, which ends when the job is done. What ended it otherwise is raised; ConnectionError
        after timeout seconds (None: never)."""
        _check_name(job, "job")
        return self._events(job, time.monotonic() + (1e9 if timeout is None else timeout))

    def _events(self, job, deadline):
        last, lost, attempt = None, time.monotonic() + self._timeout, 0
        while True:
            over = False
            try:
                wait = min(SILENCE_SECONDS, deadline - time.monotonic())
                with self._open(f"/api/v1/jobs/{job}/events", ("text/event-stream", 0), None,
                                wait) as stream:
                    stream.timer.cancel()
                    for kind, data in self._stream(stream, deadline):
                        lost, attempt = time.monotonic() + self._timeout, 0
                        over = kind == "end"
                        if data != last:
                            last = data
                            yield _parse(data)
            except (_urza.ConnectionError, OSError, http.client.HTTPException) as broken:
                if lost < time.monotonic() <= deadline:
                    raise self._lost(broken) from None
            except _urza.Error as refused:
                if getattr(refused, "_status", 0) not in (429, 503):
                    raise
            if over and self._is_done(job):
                return
            attempt += 1
            if time.monotonic() > deadline:
                raise _store.error("ConnectionError", "the job is not over in the time given")
            time.sleep(max(0, min(0.1 * 2 ** min(attempt, 6), deadline - time.monotonic())))

    @staticmethod
    def _stream(stream, deadline):
        """(kind, data) of server-sent events."""
        kind, data = "", b""
        while line := stream.readline(EVENT_BYTES):
            if len(line) == EVENT_BYTES:
                raise _store.error("LimitExceededError", f"an event has {EVENT_BYTES} bytes")
            name, _, value = line.rstrip(b"\r\n").partition(b":")
            if name == b"event":
                kind = value.strip().decode("utf-8", "replace")
            elif name == b"data":
                data = value.strip()
            elif not name and data:
                yield kind, data
                kind, data = "", b""
            if time.monotonic() > deadline:
                return

    def _is_done(self, job):
        """False: it goes on; an exception says how it ended otherwise."""
        answer = _parse(self._ask(f"/api/v1/jobs/{job}")[0])
        state = answer.get("state")
        if state == "CANCELLED":
            raise _store.error("CancelledError", "the job was cancelled")
        if state in ("QUEUED", "LEASED", "DONE"):
            return state == "DONE"
        if isinstance(answer.get("error"), dict):
            raise _error_of(answer["error"], 200)
        raise _store.error("CompilationError", f"the job is {state}")
