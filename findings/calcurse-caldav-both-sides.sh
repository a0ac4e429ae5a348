#!/usr/bin/env bash
# calcurse-caldav 4.7.1 removes from the server what it has just learned to be newer. A task is edited in calcurse and on the
# server. The script imports the version of the server, and in the same run deletes it there, with the ETag of that version as
# If-Match: the hash of the old task was missing before the import, so it counts as deleted here. What is left is calcurse's own
# task, which has no due date and no categories. The documented rule is to keep what was changed on the server. A server
# cannot refuse it, because the condition holds; a trash brings the task back.
# Takes calcurse and its library, at these versions of Debian 12, into the temporary folder. Prints its version and the requests of the
# run. Exits with 1 when that has changed.
set -euo pipefail

folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$folder"' EXIT
export HOME=$folder TZ=UTC LC_ALL=C.UTF-8
mkdir "$folder/packages"
(cd "$folder/packages" && apt-get download -qq calcurse=4.7.1-1 python3-httplib2=0.20.4-3 python3-pyparsing 2>/dev/null)
for package in "$folder"/packages/*.deb; do dpkg-deb -x "$package" "$folder/root"; done
export PATH=$folder/root/usr/bin:$PATH PYTHONPATH=$folder/root/usr/lib/python3/dist-packages
cat >"$folder/server.py" <<'SCRIPT'
import re, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

TASK = '\r\n'.join(['BEGIN:VCALENDAR', 'VERSION:2.0', 'PRODID:-//example//EN', 'BEGIN:VTODO', 'UID:1', 'SUMMARY:Before',
    'DUE:20261224T170000Z', 'END:VTODO', 'END:VCALENDAR', ''])
items = {'/list/1.ics': ['1', TASK]}

class Handler(BaseHTTPRequestHandler):
    def body(self):
        return self.rfile.read(int(self.headers.get('content-length', 0))).decode()
    def answer(self, status, text='', **headers):
        data = text.encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header('Content-Length', str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    def do_REPORT(self):
        hrefs = re.findall('<D:href>(.*?)</D:href>', self.body()) or list(items)
        self.answer(207, '<d:multistatus xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:caldav">' + ''.join(
            f'<d:response><d:href>{href}</d:href><d:propstat><d:prop><d:getetag>"{items[href][0]}"</d:getetag>'
            f'<c:calendar-data>{items[href][1]}</c:calendar-data></d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response>'
            for href in hrefs) + '</d:multistatus>')
    def do_PUT(self):
        items[self.path] = ['1', self.body()]
        self.answer(201, etag='"1"')
    def do_DELETE(self):
        print('DELETE', self.path, 'If-Match:', self.headers['if-match'], flush=True)
        del items[self.path]
        self.answer(204)
    def do_POST(self):
        # Another client changes the due date.
        items['/list/1.ics'] = ['2', TASK.replace('1224', '1231')]
        self.answer(204)
    def log_message(self, *_):
        pass

server = HTTPServer(('127.0.0.1', 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
SCRIPT
/usr/bin/python3 "$folder/server.py" >"$folder/log" &
server=$!
until [ -s "$folder/log" ]; do :; done
port=$(head -n 1 "$folder/log")
mkdir -p "$folder/.config/calcurse/caldav"
printf '[General]\nHostname = 127.0.0.1:%s\nPath = /list/\nHTTPS = No\nDryRun = No\nSyncFilter = todo\n[Auth]\nUsername = a\nPassword = b\n' \
  "$port" >"$folder/.config/calcurse/caldav/config"

sync() { /usr/bin/python3 "$folder/root/usr/bin/calcurse-caldav" "$@"; }
calcurse --version | head -n 1
sync --init=keep-remote >/dev/null
sed -i 's/Before/After/' "$folder/.local/share/calcurse/todo"
/usr/bin/python3 -c "import urllib.request as u; u.urlopen(u.Request('http://127.0.0.1:$port/', b'', method='POST'))"
sync -v | grep -v sync.db
tail -n +2 "$folder/log"
grep -q '^DELETE /list/1.ics If-Match: "2"$' "$folder/log" || { echo 'changed: the newer task stayed on the server'; exit 1; }
