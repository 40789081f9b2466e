"""Subscribes in bulk and answers SUCCESS, but RETRY for the last entry of a batch and DROP when that comes again."""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

SUBSCRIPTION = {
    "pubsubname": "bus",
    "topic": "things",
    "route": "/things",
    "deadLetterTopic": "dead",
    "bulkSubscribe": {"enabled": True, "maxMessagesCount": 3, "maxAwaitDurationMs": 1000},
}
retried = []


def status(entry, entries):
    if entry["entryId"] in retried:
        return "DROP"
    if len(entries) > 1 and entry is entries[-1]:
        retried.append(entry["entryId"])
        return "RETRY"
    return "SUCCESS"


class App(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer([SUBSCRIPTION] if self.path == "/dapr/subscribe" else {})

    def do_POST(self):
        entries = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["entries"]
        statuses = [{"entryId": entry["entryId"], "status": status(entry, entries)} for entry in entries]
        self.answer({"statuses": statuses})

    def answer(self, content):
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


HTTPServer(("127.0.0.1", int(sys.argv[1])), App).serve_forever()
