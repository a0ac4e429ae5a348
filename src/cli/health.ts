/** The container's health check. The exit code is 0 where the server of this environment answers, else 1. */
import { readSettings } from '../settings.ts';

const { host, port } = readSettings(process.env);
const name = /^(0\.0\.0\.0|::)$/.test(host) ? '127.0.0.1' : host;
const url = `http://${name.includes(':') ? `[${name}]` : name}:${port}/health/live`;
const answered = await fetch(url).then(
  ({ ok }) => ok,
  () => false,
);
process.exit(answered ? 0 : 1);
