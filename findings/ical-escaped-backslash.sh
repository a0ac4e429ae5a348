#!/usr/bin/env bash
# RFC 5545 §3.3.11: in TEXT, `\\` is one backslash and `\n` is a line break. So `C:\\new` stands for `C:\new`. A client that
# unescapes in two passes, instead of one from left to right, shows a line break inside of the path. ical.js reads the text as
# it was meant, node-ical does not, and ts-ics leaves CATEGORIES escaped. So what a calendar program shows of an escaped text
# says nothing about whether the feed was right: compare with a parser that reads in one pass.
# Prints the versions and what each package makes of one valid VTODO. Exits with 1 when that has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund --save-exact ical.js@2.2.1 node-ical@0.27.2 ts-ics@2.4.6

cat >check.mjs <<'SCRIPT'
import { readFileSync } from 'node:fs';
import ICAL from 'ical.js';
import ical from 'node-ical';
import { convertIcsCalendar } from 'ts-ics';

const text = [
  'BEGIN:VCALENDAR',
  'VERSION:2.0',
  'PRODID:-//example//escapes//EN',
  'BEGIN:VTODO',
  'UID:1@example.org',
  'DTSTAMP:20261128T120000Z',
  'SUMMARY:Move the folder',
  String.raw`DESCRIPTION:C:\\new`,
  String.raw`CATEGORIES:a\;b`,
  'END:VTODO',
  'END:VCALENDAR',
  '',
].join('\r\n');

const version = (name) => JSON.parse(readFileSync(`node_modules/${name}/package.json`, 'utf8')).version;
const todo = new ICAL.Component(ICAL.parse(text)).getFirstSubcomponent('vtodo');
const nodeIcal = Object.values(ical.sync.parseICS(text)).find(({ type }) => type === 'VTODO');
const tsIcs = convertIcsCalendar(undefined, text).todos?.[0];

const seen = {
  'ical.js description': todo.getFirstPropertyValue('description'),
  'ical.js category': todo.getFirstPropertyValue('categories'),
  'node-ical description': nodeIcal.description,
  'ts-ics description': tsIcs?.description,
  'ts-ics categories': tsIcs?.categories,
};
for (const name of ['ical.js', 'node-ical', 'ts-ics']) console.log(name, version(name));
for (const [what, value] of Object.entries(seen)) console.log(`${what}: ${JSON.stringify(value)}`);

const expected = {
  'ical.js description': 'C:\\new',
  'ical.js category': 'a;b',
  'node-ical description': 'C:\\\new',
  'ts-ics description': 'C:\\new',
  'ts-ics categories': ['a\\;b'],
};
const changed = Object.keys(expected).filter(
  (what) => JSON.stringify(seen[what]) !== JSON.stringify(expected[what]),
);
for (const what of changed) console.log(`changed: ${what}, was ${JSON.stringify(expected[what])}`);
process.exit(changed.length === 0 ? 0 : 1);
SCRIPT
node check.mjs
