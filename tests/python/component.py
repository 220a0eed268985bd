"""Plays a script to the component in a file, and prints what comes of each call.

Script and output are lines of JSON with the names of the Rust types: {"function": "...", "arguments": [...]} in, a value
out.
"""

import json
import sys

from postbell_plugin import Plugin


def field(name):
    return name.replace("-", "_")


def case(name):
    return "".join(word.capitalize() for word in name.split("-"))


def main():
    with open(sys.argv[1], "rb") as file:
        plugin = Plugin(file.read(), field, case)
    for line in sys.stdin:
        step = json.loads(line)
        result = plugin.call(step["function"], *step["arguments"])
        # What Rust writes of bytes is a list of numbers.
        print(json.dumps(result, default=list), flush=True)


main()
