"""A mail client for the tests: exchangelib, told what to do by lines of standard input, telling what it hears as one JSON
object a line.

    client.py [--discover] [--as MAILBOX] URL LOGIN PASSWORD

With --discover it knows the URL only, and finds out authentication and version by itself; with --as it impersonates.

    pull FOLDERS [WATERMARK]    subscribe to `all` folders or to the `inbox`, from the watermark on if one is given
    events ID WATERMARK         ask for events, in the loop that folders have for it, until there are no more
    step ID WATERMARK           ask for events once
    streaming FOLDERS           subscribe to `all` folders or to the `inbox`
    listen ITEM ID...           open a stream for a minute; leave it once all have heard that this is new mail (`-`: never)
    unsubscribe ID
    push FOLDERS URL            subscribe to `all` folders or to the `inbox`
    serve ANSWER...             wait for notifications; say `ok`, `unsubscribe` or nothing (`down`) to one after the other

What belongs to folders looks them up first: the root, then the inbox.
"""

import argparse
import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

from exchangelib import BASIC, DELEGATE, IMPERSONATION, Account, Build, Configuration, Credentials, Version
from exchangelib.errors import EWSError
from exchangelib.services import GetEvents, GetStreamingEvents, SendNotification


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--discover", action="store_true")
    parser.add_argument("--as", dest="mailbox")
    for name in ("url", "login", "password"):
        parser.add_argument(name)
    args = parser.parse_args()
    account = refusable(open_account, args)
    for line in sys.stdin:
        command, *arguments = line.split()
        refusable(COMMANDS[command], account, *arguments)


def refusable(do, *arguments):
    try:
        return do(*arguments)
    except EWSError as error:
        tell("error", error=type(error).__name__, text=str(error))


def open_account(args):
    known = {} if args.discover else {"auth_type": BASIC, "version": Version(build=Build(15, 2, 2562, 17))}
    credentials = Credentials(args.login, args.password)
    config = Configuration(service_endpoint=args.url, credentials=credentials, max_connections=2, **known)
    how = IMPERSONATION if args.mailbox else DELEGATE
    account = Account(args.mailbox or args.login, config=config, autodiscover=False, access_type=how)
    if args.discover:
        tell("discovered", auth=account.protocol.auth_type, version=str(account.version.build))
    return account


def pull(account, folders, watermark=None):
    subscription, watermark = among(account, folders).subscribe_to_pull(watermark=watermark, timeout=10)
    tell("subscribed", id=subscription, watermark=watermark)


def events(account, subscription, watermark):
    for notification in account.inbox.get_events(subscription, watermark):
        tell_events(notification)
    tell("asked")


def step(account, subscription, watermark):
    notification = GetEvents(account=account).get(subscription_id=subscription, watermark=watermark)
    tell_events(notification)
    tell("asked", more=notification.more_events)


def streaming(account, folders):
    tell("subscribed", id=among(account, folders).subscribe_to_streaming())


def listen(account, item, *subscriptions):
    service, waiting = GetStreamingEvents(account=account), set(subscriptions)
    for notification in service.call(subscription_ids=subscriptions, connection_timeout=1):
        tell_events(notification)
        if any(event.ELEMENT_NAME == "NewMailEvent" and event.item_id.id == item for event in notification.events):
            waiting.discard(notification.subscription_id)
        if not waiting:
            service.stop_streaming()
            break
    tell("ended", status=service.connection_status)


def unsubscribe(account, subscription):
    tell("unsubscribed", result=account.unsubscribe(subscription))


def push(account, folders, url):
    subscription, watermark = among(account, folders).subscribe_to_push(callback_url=url, status_frequency=1)
    tell("subscribed", id=subscription, watermark=watermark)


def serve(account, *answers):
    server = HTTPServer(("127.0.0.1", 0), Listener)
    tell("serving", url=f"http://127.0.0.1:{server.server_port}/notify")
    for server.answer in answers:
        server.handle_request()
    server.server_close()
    tell("served")


class Listener(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.answer == "down":
            tell("ignored")
            return self.send_error(503)
        service = SendNotification(protocol=None)
        tell("pushed", action=self.headers["SOAPAction"])
        for notification in service.parse(body):
            tell_events(notification)
        payload = service.ok_payload() if self.server.answer == "ok" else service.unsubscribe_payload()
        self.send_response(200)
        self.send_header("Content-Type", "text/xml; charset=utf-8")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_):
        pass


COMMANDS = {it.__name__: it for it in (pull, events, step, streaming, listen, unsubscribe, push, serve)}


def among(account, folders):
    return {"all": lambda: account, "inbox": lambda: account.inbox}[folders]()


def tell_events(notification):
    for event in notification.events:
        item, folder = getattr(event, "item_id", None), getattr(event, "folder_id", None)
        parent = getattr(event, "parent_folder_id", None)
        tell(
            "event",
            event=event.ELEMENT_NAME,
            subscription=notification.subscription_id,
            watermark=event.watermark,
            item=item and item.id,
            folder=folder and folder.id,
            parent=parent and parent.id,
            unread=getattr(event, "unread_count", None),
        )


def tell(kind, **facts):
    print(json.dumps({"kind": kind} | facts), flush=True)


main()
