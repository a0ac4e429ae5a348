"""Receives webhooks, verifies their signatures, and takes each event once:

  pip install standardwebhooks
  WEBHOOK_SECRET=whsec_... python3 examples/webhook_receiver.py 8080

An event comes again, under the same id, where an answer was lost: so the id is remembered together with the work.
"""
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook

webhook = Webhook(os.environ["WEBHOOK_SECRET"])
taken = set()


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            event = webhook.verify(body, {name.lower(): value for name, value in self.headers.items()})
        except Exception:
            # Neither signed by us nor new enough.
            self.send_response(401)
        else:
            event_id = self.headers["webhook-id"]
            if event_id not in taken:
                print(event_id, event["action"], flush=True)
            taken.add(event_id)
            self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
