#!/usr/bin/env bash
# RFC 5545 §3.8.1.2: a task may have CATEGORIES. todoman 4.1.0, the version of Debian 12, reads them (`todo list --category`) and
# leaves them out of the file whenever it writes it, whatever was edited. A server that synchronizes such a file cannot tell this
# from a user who has removed every category. mantou gives them back where the text shows that python-icalendar 4 wrote it.
# Takes todoman and its libraries, at these versions of Debian 12, into the temporary folder. Prints its version and the file before and
# after an edit. Exits with 1 when that has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export HOME=$folder TZ=UTC LC_ALL=C.UTF-8
mkdir "$folder/packages" && cd "$folder/packages"
apt-get download -qq todoman=4.1.0-1 python3-icalendar=4.0.3-5 python3-atomicwrites python3-click python3-click-log python3-colorama \
  python3-dateutil python3-humanize python3-parsedatetime python3-pkg-resources python3-six python3-tz python3-urwid python3-xdg 2>/dev/null
for package in *.deb; do dpkg-deb -x "$package" "$folder/root"; done
export PYTHONPATH=$folder/root/usr/lib/python3/dist-packages
mkdir -p "$folder/tasks/list" "$folder/.config/todoman"
printf 'path = "%s/tasks/*"\ndate_format = "%%Y-%%m-%%d"\ntime_format = "%%H:%%M"\ndefault_list = "list"\n' "$folder" \
  >"$folder/.config/todoman/config.py"
file=$folder/tasks/list/1.ics
printf '%s\r\n' BEGIN:VCALENDAR VERSION:2.0 PRODID:-//example//categories//EN BEGIN:VTODO UID:1 DTSTAMP:20260101T000000Z \
  'SUMMARY:Choose the tiles' CATEGORIES:shopping,kitchen X-KEPT:1 END:VTODO END:VCALENDAR >"$file"

todo() { /usr/bin/python3 -c 'from todoman.cli import cli; cli()' "$@"; }
ls todoman_*.deb python3-icalendar_*.deb
echo '--- before'
cat "$file"
id=$(todo --porcelain list | /usr/bin/python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["id"])')
todo edit --priority low "$id" >/dev/null
echo '--- after an edit of the priority'
cat "$file"
grep -q '^X-KEPT:1' "$file" && grep -q '^PRIORITY:9' "$file" && ! grep -q '^CATEGORIES' "$file" || { echo 'changed: it kept CATEGORIES'; exit 1; }
