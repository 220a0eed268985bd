"""A mail client for the tests: exchangelib, driven by arguments, telling what it hears as one JSON object a line.

    client.py URL LOGIN PASSWORD stream    subscribe to all folders, listen for one minute, until the server closes
    client.py URL LOGIN PASSWORD pull      subscribe to all folders, ask at every line of standard input, unsubscribe
    client.py URL LOGIN PASSWORD inbox     the same with the inbox alone, of a server of which it knows the URL only

All folders are subscribed to by exchangelib's services: the methods on its folders ask for the folder tree first.
"""

import json
import sys

from exchangelib import BASIC, DELEGATE, Account, Build, Configuration, Credentials, Version
from exchangelib.errors import EWSError
from exchangelib.services import GetEvents, GetStreamingEvents


def main():
    url, login, password, command = sys.argv[1:]
    known = {} if command == "inbox" else {"auth_type": BASIC, "version": Version(build=Build(15, 2, 2562, 17))}
    credentials = Credentials(login, password)
    config = Configuration(service_endpoint=url, credentials=credentials, max_connections=2, **known)
    try:
        account = Account(login, config=config, autodiscover=False, access_type=DELEGATE)
        {"stream": stream, "pull": pull, "inbox": inbox}[command](account)
    except EWSError as error:
        tell("error", error=type(error).__name__, text=str(error))


def stream(account):
    subscription = account.subscribe_to_streaming()
    tell("subscribed")
    service = GetStreamingEvents(account=account)
    for notification in service.call(subscription_ids=[subscription], connection_timeout=1):
        tell_events(notification)
    tell("ended", status=service.connection_status)


def pull(account):
    subscription, watermark = account.subscribe_to_pull(timeout=10)
    tell("subscribed")
    for _ in sys.stdin:
        while True:
            notification = GetEvents(account=account).get(subscription_id=subscription, watermark=watermark)
            tell_events(notification)
            watermark = notification.events[-1].watermark
            if not notification.more_events:
                break
        tell("asked")
    tell("unsubscribed", result=account.unsubscribe(subscription))
    account.unsubscribe(subscription)


def inbox(account):
    tell("discovered", auth=account.protocol.auth_type, version=str(account.version.build))
    folder = account.inbox
    subscription, watermark = folder.subscribe_to_pull()
    tell("subscribed")
    for _ in sys.stdin:
        for notification in folder.get_events(subscription, watermark):
            tell_events(notification)
            watermark = notification.events[-1].watermark
        tell("asked")
    folder.unsubscribe(subscription)


def tell_events(notification):
    for event in notification.events:
        item, folder = getattr(event, "item_id", None), getattr(event, "folder_id", None)
        parent = getattr(event, "parent_folder_id", None)
        tell(
            "event",
            event=event.ELEMENT_NAME,
            item=item and item.id,
            folder=folder and folder.id,
            parent=parent and parent.id,
            unread=getattr(event, "unread_count", None),
        )


def tell(kind, **facts):
    print(json.dumps({"kind": kind} | facts), flush=True)


main()
