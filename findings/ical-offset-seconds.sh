#!/usr/bin/env bash
# RFC 5545 §3.3.14: a UTC offset may have seconds, as local mean times do: Thunderbird writes TZOFFSETFROM:+005328 for Berlin before
# 1893. ical.js reads all six digits into jCal and leaves the seconds out of its offset in seconds, so a time in such an observance is wrong
# by up to a minute. Of today's zones none has seconds. An importer that knows the name of the zone should take its rules from
# the runtime, not from the file.
# Prints the version, the jCal and the offset of +00:53:28 in seconds. Exits with 1 when that has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund --save-exact ical.js@2.2.1

cat >check.mjs <<'SCRIPT'
import { readFileSync } from 'node:fs';
import ICAL from 'ical.js';

const { version } = JSON.parse(readFileSync('node_modules/ical.js/package.json', 'utf8'));
const text = [
  'BEGIN:VTIMEZONE',
  'TZID:Mean',
  'BEGIN:STANDARD',
  'DTSTART:18000101T000000',
  'TZOFFSETFROM:+005328',
  'TZOFFSETTO:+005328',
  'END:STANDARD',
  'END:VTIMEZONE',
].join('\r\n');
const component = new ICAL.Component(ICAL.parse(text));
const standard = component.getFirstSubcomponent('standard');
const time = ICAL.Time.fromDateTimeString('1890-01-01T12:00:00');
time.zone = new ICAL.Timezone({ component, tzid: 'Mean' });
const seen = {
  jCal: standard.getFirstProperty('tzoffsetto').jCal.at(-1),
  seconds: time.utcOffset(),
};
console.log(`ical.js ${version}: jCal ${seen.jCal}, offset ${seen.seconds} s; +00:53:28 is ${53 * 60 + 28} s`);
process.exit(seen.jCal === '+00:53:28' && seen.seconds === 53 * 60 ? 0 : 1);
SCRIPT
node check.mjs
