"""Calls to an OpenAI-compatible server: bounded concurrency, retries, rate limits, an end."""

from __future__ import annotations

import asyncio
import math
import random
import re
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from statllm.sampling.answers import Answer, MalformedAnswer, read_answer
from statllm.sampling.failures import Failure

if TYPE_CHECKING:
    from openai import AsyncOpenAI

    from statllm.sampling.settings import SamplingSettings

#: Seconds: the longest pause between two tries that doubling leads to, and the longest that a
#: server may ask for.
LONGEST_PAUSE, LONGEST_ASKED = 60.0, 600.0

#: Samples of so many different prompts, given up one after another, are the server's fault.
_SAME_FAULT = 4

#: What some models call the most tokens of an answer, and refuse the older name.
_NEW_LIMIT = "max_completion_tokens"

#: Sampling parameters that mean nothing where they have this value, the API's default.
_NEUTRAL = {"temperature": 1.0, "top_p": 1.0}

#: How a server says that a model can't be asked like this at all, whatever the prompt.
_UNSUPPORTED = re.compile(r"unsupported (?:parameter|value): '(\w+)'", re.IGNORECASE)

#: Statuses that every other request would get, too: no key, a wrong one, no such model or path.
_HOPELESS = (401, 403, 404, 405)


@dataclass(frozen=True, eq=False)
class Call:
    """One sample to ask for.

    Parameters
    ----------
    prompt_id : str
    sample : int
        Its number within the prompt.
    chat : bool
        Which endpoint it goes to.
    body : dict
        What is sent.
    key : str
        What identifies the answer.
    """

    prompt_id: str
    sample: int
    chat: bool
    body: dict[str, Any]
    key: str


@dataclass(frozen=True)
class Fault:
    """Why a call had no answer: in a word, whether to try again, and what the server says."""

    kind: str
    again: bool
    message: str
    wait: float | None = None
    """Seconds that the server asks for."""
    hopeless: bool = False


class Caller:
    """Sends calls, each of which ends with an answer or a `Failure`.

    - At most `concurrency` calls are under way, and at most `requests_per_minute` are started.
    - A call that fails is sent again up to `retries` times, after pauses of `backoff` seconds that
      double; each is shortened by a random part, so that calls don't come back together.
    - A server that says when to come back (Retry-After) gets no call at all until then.
    - For a call that a rate limit refuses while others are answered, or while one that was sent
      earlier is being worked on, the retries start anew: the server is busy, not broken.
    - A server that wants ``max_completion_tokens`` instead of ``max_tokens``, and says so, gets it.
      One that doesn't know ``temperature`` or ``top_p`` is no longer told a 1, which is the
      default; another value is never left out, as that would be another distribution.
    - Wrong keys, unknown models, parameters that a model doesn't have, and a server that answers
      nothing any more end the job: what hasn't been sent by then fails as "not-sent".

    Parameters
    ----------
    settings : SamplingSettings
    key : str, optional
        For the server; never part of a message.
    """

    def __init__(self, settings: SamplingSettings, key: str | None) -> None:
        self._settings, self._key = settings, key
        self._ended = False
        self._n_answers = 0
        self._renames_limit = False  # to max_completion_tokens
        self._left_out: set[str] = set()  # parameters that the model doesn't have
        self._under_way: dict[Call, float] = {}  # when it was sent
        self._given_up: list[str] = []  # prompts of the calls given up since the last answer
        self._next_start = 0.0  # all times on the clock of event loops
        self._closed_until = 0.0

    def run(self, calls: Sequence[Call], done: Callable[[Call, Answer], None]) -> list[Failure]:
        """Make the calls; answers are handed over as they arrive, failures come in call order."""
        failures: dict[int, Failure] = {}
        if calls:
            _run(self._run(calls, done, failures))
        return [failures[place] for place in sorted(failures)]

    async def _run(
        self,
        calls: Sequence[Call],
        done: Callable[[Call, Answer], None],
        failures: dict[int, Failure],
    ) -> None:
        from openai import AsyncOpenAI

        settings, todo = self._settings, iter(enumerate(calls))
        async with AsyncOpenAI(
            base_url=settings.server,
            api_key=self._key or "none",
            max_retries=0,  # done here, where failures are kept
            timeout=settings.timeout,
        ) as client:

            async def work(todo: Iterator[tuple[int, Call]]) -> None:
                for place, call in todo:
                    result = await self._call(client, call)
                    if isinstance(result, Failure):
                        failures[place] = result
                    else:
                        done(call, result)

            tasks = [
                asyncio.create_task(work(todo))
                for _ in range(min(settings.concurrency, len(calls)))
            ]
            try:
                await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()

    async def _call(self, client: AsyncOpenAI, call: Call) -> Answer | Failure:
        """One call with its retries."""
        sent, tries, progress = 0, 0, 0
        fault = Fault("not-sent", False, "the server had been given up")
        while not self._ended:
            await self._turn()
            if self._ended:
                break
            sent += 1
            body = self._body(call)
            self._under_way[call] = asyncio.get_running_loop().time()
            try:
                answer = await self._send(client, body, call.chat)
            except Exception as error:
                fault = fault_of(error)
            else:
                self._n_answers += 1
                self._given_up.clear()
                return answer
            finally:
                start = self._under_way.pop(call)
            if fault.kind == "refused" and self._adapts(fault.message, body):
                continue
            if fault.kind == "rate-limited" and (
                self._n_answers > progress or min(self._under_way.values(), default=start) < start
            ):
                tries = 0
            tries, progress = tries + 1, self._n_answers
            last = tries > self._settings.retries or (fault.wait or 0) > LONGEST_ASKED
            if last or not fault.again:
                self._give_up(call, fault)
                break
            await self._pause(sent, fault)
        message = fault.message.replace(self._key, "***") if self._key else fault.message
        return Failure(call.prompt_id, call.sample, fault.kind, sent, message)

    def _body(self, call: Call) -> dict[str, Any]:
        """The request as the server wants it."""
        body = {name: value for name, value in call.body.items() if name not in self._left_out}
        if self._renames_limit:
            body[_NEW_LIMIT] = body.pop("max_tokens")
        return body

    def _adapts(self, message: str, body: Mapping[str, Any]) -> bool:
        """Whether what was refused can be asked for otherwise, without another meaning."""
        if _NEW_LIMIT in message and "max_tokens" in body:
            self._renames_limit = True
            return True
        named = _UNSUPPORTED.search(message)
        if named is None or body.get(named[1]) != _NEUTRAL.get(named[1], math.nan):
            return False
        self._left_out.add(named[1])
        return True

    async def _send(self, client: AsyncOpenAI, body: dict[str, Any], chat_asked: bool) -> Answer:
        async with asyncio.timeout(self._settings.timeout):  # of the whole, not of each read
            if chat_asked:
                chat = await client.chat.completions.with_raw_response.create(
                    model=body.pop("model"), messages=body.pop("messages"), extra_body=body
                )
                text = chat.text
            else:
                plain = await client.completions.with_raw_response.create(
                    model=body.pop("model"), prompt=body.pop("prompt"), extra_body=body
                )
                text = plain.text
        return read_answer(text, chat_asked)

    async def _turn(self) -> None:
        """Wait until another call may start."""
        clock = asyncio.get_running_loop().time
        rate = self._settings.requests_per_minute
        if rate is not None:
            start = max(clock(), self._next_start, self._closed_until)
            self._next_start = start + 60 / rate
            await asyncio.sleep(start - clock())
        while (wait := self._closed_until - clock()) > 0:
            await asyncio.sleep(wait)

    async def _pause(self, sent: int, fault: Fault) -> None:
        if fault.wait is not None:
            until = asyncio.get_running_loop().time() + fault.wait
            self._closed_until = max(self._closed_until, until)
            return
        longest = min(self._settings.backoff * 2 ** (sent - 1), LONGEST_PAUSE)
        await asyncio.sleep(random.uniform(0.5, 1.0) * longest)

    def _give_up(self, call: Call, fault: Fault) -> None:
        if fault.kind != "refused":  # that is the prompt's fault
            self._given_up.append(call.prompt_id)
        many = len(self._given_up) >= self._settings.concurrency
        if fault.hopeless or (many and len(set(self._given_up)) >= _SAME_FAULT):
            self._ended = True


def fault_of(error: Exception) -> Fault:
    """Return what kind of fault an exception is; one that isn't the server's is raised again."""
    from openai import APIConnectionError, APIStatusError, APITimeoutError

    if isinstance(error, MalformedAnswer):
        return Fault("malformed", True, _line(error))
    if isinstance(error, TimeoutError | APITimeoutError):
        return Fault("timeout", True, "no answer in time")
    if isinstance(error, APIConnectionError):
        return Fault("connection", True, _line(error.__cause__ or error))
    if not isinstance(error, APIStatusError):
        raise error
    status, message = error.status_code, _line(error)
    wait = retry_after(error.response.headers)
    if status == 429:
        return Fault("rate-limited", True, message, wait)
    if status >= 500:
        return Fault("server-error", True, message, wait)
    if status in (408, 409, 425):
        return Fault("timeout" if status == 408 else "server-error", True, message, wait)
    hopeless = status in _HOPELESS or _UNSUPPORTED.search(message) is not None
    return Fault("refused", False, message, hopeless=hopeless)


def retry_after(headers: Any) -> float | None:
    """Seconds after which the server wants the next call; None if it doesn't say.

    Examples
    --------
    >>> retry_after({"retry-after": "2"}), retry_after({"retry-after-ms": "250"}), retry_after({})
    (2.0, 0.25, None)
    >>> retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"})
    0.0
    """
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) / unit
        except ValueError:
            seconds = _seconds_until(value)
        if not math.isnan(seconds):
            return max(seconds, 0.0)
    return None


def _seconds_until(date: str) -> float:
    """From now until an HTTP date; NaN if it isn't one."""
    try:
        return parsedate_to_datetime(date).timestamp() - time.time()
    except ValueError:
        return math.nan


def _line(error: BaseException) -> str:
    """The message in one line of bearable length."""
    return (" ".join(str(error).split()) or type(error).__name__)[:300]


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end, also where a loop is running already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)
        return
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()
