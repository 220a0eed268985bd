"""A client of GroupWise for the tests: gwsoap, told what to do by lines of standard input, telling what it hears as one JSON
object a line.

    groupwise.py URL

    NAME ARGUMENTS    sends this request (getDeltas {"container": "...", "delta_info": {"DeltaInfo": {"count": 50}}}), in
                      the session of the last login
    session TEXT      goes on as if this were the session's name; without TEXT, as if there were none

Arguments have gwsoap's names; what is not text, number or list is an object of one of its classes (or a timedelta), by the name
of that.
Answers tell the class of each object as `is`, and the bytes that came as `raw`.
"""

import dataclasses
import datetime
import enum
import json
import re
import sys
import urllib.request

import gwsoap.events
import gwsoap.methods
import gwsoap.types
from gwsoap.service.groupwise_client import GroupWiseClient
from gwsoap.service.groupwise_events_client import GroupWiseEventsClient
from gwsoap.soap.exceptions import SoapFaultException
from gwsoap.soap.request_context import RequestContext


def main():
    (url,) = sys.argv[1:]
    recorder = Recorder()
    urllib.request.install_opener(urllib.request.build_opener(recorder))
    client, context = Client(url), RequestContext()
    for line in sys.stdin:
        name, _, rest = line.strip().partition(" ")
        if name == "session":
            context.session_id = rest or None
            continue
        try:
            answer = send(client, context, name, json.loads(rest))
        except SoapFaultException as fault:
            tell("fault", code=fault.fault_code, text=fault.fault_string, raw=recorder.body)
            continue
        if name == "login" and answer.session:
            context.session_id = answer.session
        tell("answer", answer=shown(answer), raw=recorder.body)


class Client(GroupWiseClient, GroupWiseEventsClient):
    """Both of its clients: a post office serves both at one place."""


class Recorder(urllib.request.BaseHandler):
    """Keeps what came in last, for those who want to see it as it was."""

    def http_response(self, request, response):
        body = response.read()
        self.body = body.decode()
        response.read = lambda: body
        return response


def send(client, context, name, arguments):
    request = class_of(name[0].upper() + name[1:] + "Request")(**{key: built(value) for key, value in arguments.items()})
    method = re.sub("([A-Z])", r"_\1", name).lower()
    return getattr(client, method)(request, context)


def class_of(name):
    modules = (gwsoap.types, gwsoap.methods, gwsoap.events, datetime)
    return next(getattr(module, name) for module in modules if hasattr(module, name))


def built(value):
    if isinstance(value, list):
        return [built(each) for each in value]
    if not isinstance(value, dict):
        return value
    ((name, content),) = value.items()
    if isinstance(content, dict):
        return class_of(name)(**{key: built(each) for key, each in content.items()})
    return class_of(name)(content)


def shown(value):
    if isinstance(value, list):
        return [shown(each) for each in value]
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (datetime.date, datetime.datetime)):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if not dataclasses.is_dataclass(value):
        return value
    fields = {field.name: shown(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return {"is": type(value).__name__, **{name: each for name, each in fields.items() if each is not None}}


def tell(kind, **said):
    print(json.dumps({"kind": kind, **said}), flush=True)


if __name__ == "__main__":
    main()
