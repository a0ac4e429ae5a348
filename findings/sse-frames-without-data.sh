#!/usr/bin/env bash
# HTML Living Standard, "Interpreting an event stream": a block without a `data` field dispatches no event; it only sets the
# last event id or the retry time. Servers use such blocks to tell a client where it is in a quiet stream.
# @microsoft/fetch-event-source hands them to `onmessage` with an empty `data`, so the usual `JSON.parse(message.data)` throws,
# and its reader reconnects again and again. eventsource-parser reads the same bytes as the standard says. A client that uses
# the former has to return when `data` is empty.
# Prints the versions and the messages that each package reads from one valid stream. Exits with 1 when that has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund --save-exact @microsoft/fetch-event-source@2.0.1 eventsource-parser@3.0.6

cat >check.cjs <<'SCRIPT'
const { readFileSync } = require('node:fs');
const { getLines, getMessages } = require('@microsoft/fetch-event-source/lib/cjs/parse');
const { createParser } = require('eventsource-parser');

const version = (name) => JSON.parse(readFileSync(`node_modules/${name}/package.json`, 'utf8')).version;
const stream = 'retry: 1000\nid: 1\n\n: beat\nid: 2\n\nevent: change\nid: 3\ndata: {"n":3}\n\n';

const ofFetchEventSource = [];
const onMessage = ({ id, event, data }) => ofFetchEventSource.push({ id, event, data });
getLines(getMessages(() => undefined, () => undefined, onMessage))(new TextEncoder().encode(stream));

const ofParser = [];
createParser({ onEvent: ({ id, event, data }) => ofParser.push({ id, event, data }) }).feed(stream);

console.log('@microsoft/fetch-event-source', version('@microsoft/fetch-event-source'));
for (const message of ofFetchEventSource) console.log(' ', JSON.stringify(message));
console.log('eventsource-parser', version('eventsource-parser'));
for (const message of ofParser) console.log(' ', JSON.stringify(message));

const same =
  ofFetchEventSource.map(({ data }) => data).join('|') === '||{"n":3}' &&
  JSON.stringify(ofParser) === '[{"id":"3","event":"change","data":"{\\"n\\":3}"}]';
if (!same) console.log('changed: it was two messages without data and one with, and one');
process.exit(same ? 0 : 1);
SCRIPT
node check.cjs
