"""A client of Zimbra for the tests: python-zimbra, told what to do by lines of standard input, telling what it hears as one
JSON object a line.

    zimbra.py FORMAT URL LOGIN KEY WAY

FORMAT is `xml` or `json`. WAY is how it logs in: `password` or `preauth` as a user, `admin` as an administrator. KEY is the
password, or the key of the domain.

    NAMESPACE NAME ARGUMENTS    sends this request (urn:zimbraMail WaitSetRequest {"waitSet": ...})
    batch REQUESTS              sends a list of such requests, each a list of the three, as one
"""

import json
import sys

from pythonzimbra.communication import Communication
from pythonzimbra.exceptions.auth import AuthenticationFailed
from pythonzimbra.tools import auth


def main():
    form, url, login, key, way = sys.argv[1:]
    ways = {"password": {"use_password": True}, "preauth": {}, "admin": {"admin_auth": True}}
    try:
        token = auth.authenticate(url, login, key, request_type=form, raise_on_error=True, **ways[way])
    except AuthenticationFailed as error:
        return tell("refused", text=str(error))
    tell("token", has_token=bool(token))
    server = Communication(url)
    for line in sys.stdin:
        command, rest = line.split(maxsplit=1)
        if command == "batch":
            requests = json.loads(rest)
        else:
            name, arguments = rest.split(maxsplit=1)
            requests = [[command, name, json.loads(arguments)]]
        answer(server, server.gen_request(form, token, set_batch=command == "batch", batch_onerror="continue"), requests)


def answer(server, request, requests):
    for namespace, name, arguments in requests:
        request.add_request(name, arguments, namespace)
    response = server.send_request(request)
    if response.is_batch():
        batch = response.get_batch()
        ids = batch["idToName"]
        answers = [[ids[id], response.get_response(int(id))] for id in sorted(ids, key=int)]
        return tell("batch", answers=answers, has_fault=batch["hasFault"])
    if response.is_fault():
        return tell("fault", code=response.get_fault_code(), text=response.get_fault_message())
    tell("answer", answer=response.get_response(), header=response.get_header())


def tell(kind, **said):
    print(json.dumps({"kind": kind, **said}), flush=True)


if __name__ == "__main__":
    main()
