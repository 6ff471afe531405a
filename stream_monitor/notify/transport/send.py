"""A request of whatever kind, and its answer."""

from __future__ import annotations

from collections.abc import Sequence

from stream_monitor.config.receivers import ReceiverSettings
from stream_monitor.notify.sinks.contract import Again, Answer, HttpRequest, Mail, Request, Response, Sent, Sink
from stream_monitor.notify.transport import apprise, smtp
from stream_monitor.notify.transport.connections import TIMEOUT_S
from stream_monitor.notify.transport.http import Failure, exchange


def send(sink: Sink, requests: Sequence[Request], receiver: ReceiverSettings, seconds: float = TIMEOUT_S) -> Answer:
    """Send requests in order until one is not accepted; the answer is the last one, with the first reference."""
    reference = ""
    for request in requests:
        answer = answered(sink, _response(request, receiver, seconds))
        if not isinstance(answer, Sent):
            return answer
        reference = reference or answer.reference
    return Sent(reference)


def answered(sink: Sink, response: Response | Failure) -> Answer:
    """What an answer means; none at all may be one later."""
    return Again(response.why) if isinstance(response, Failure) else sink.read(response)


def _response(request: Request, receiver: ReceiverSettings, seconds: float) -> Response | Failure:
    if isinstance(request, HttpRequest):
        return exchange(request, receiver, seconds)
    return smtp.deliver(request, seconds) if isinstance(request, Mail) else apprise.call(request)
