/**
 * Tasks that are hard to keep, as programs write them: the lines of each (RFC 5545) by its UID. Each has a title of its own, by which
 * programs that show no UID find it.
 */

const alarm = (...lines: string[]) => ['BEGIN:VALARM', ...lines, 'END:VALARM'];

export const oddItems: Record<string, string[]> = {
  // --- Texts
  long: [
    `SUMMARY:${'A long title. '.repeat(60).trim()}`,
    `DESCRIPTION:${'Words. '.repeat(4000).trim()}`,
  ],
  text: [
    'SUMMARY:Back\\\\slash\\; comma\\, 🎉 漢字',
    'DESCRIPTION:C:\\\\new\\nline\\, and “quotes”',
  ],
  'one-word': [`SUMMARY:${'Donaudampfschifffahrt'.repeat(6)}`],
  'right-to-left': ['SUMMARY:לקנות חלב', 'DESCRIPTION:שורה אחת\\nשורה שנייה'],
  'line-breaks': ['SUMMARY:Line breaks', 'DESCRIPTION:\\nabove and below\\n\\n'],
  'capital-break': ['SUMMARY:A break in capitals', 'DESCRIPTION:first\\Nsecond'],
  bare: ['SUMMARY:Bare, commas; and semicolons'],
  language: ['SUMMARY;LANGUAGE=de:Fliesen legen', 'DESCRIPTION;LANGUAGE=de:Im Bad'],
  'other-text': [
    'SUMMARY:The text elsewhere',
    'DESCRIPTION;ALTREP="https://example.org/tiles.html":Tiles',
  ],
  markup: [
    'SUMMARY:Two forms of a text',
    'DESCRIPTION:Tiles in bold',
    'X-ALT-DESC;FMTTYPE=text/html:<b>Tiles</b> in bold',
  ],
  comments: ['SUMMARY:With comments', 'COMMENT:One', 'COMMENT:Two\\, and more'],

  // --- Dates
  utc: ['SUMMARY:Due in UTC', 'DUE:20261224T170000Z'],
  day: ['SUMMARY:Due on a day', 'DUE;VALUE=DATE:20261224'],
  zoned: ['SUMMARY:Due in a zone', 'DUE;TZID=Europe/Berlin:20261224T180000'],
  floating: ['SUMMARY:Due somewhere', 'DUE:20261224T180000'],
  duration: ['SUMMARY:Begins and lasts', 'DTSTART:20261224T160000Z', 'DURATION:PT1H'],
  days: ['SUMMARY:Begins and lasts for days', 'DTSTART;VALUE=DATE:20261224', 'DURATION:P3D'],
  weeks: ['SUMMARY:Begins and lasts for weeks', 'DTSTART;VALUE=DATE:20261224', 'DURATION:P2W'],
  start: ['SUMMARY:Begins', 'DTSTART:20261224T160000Z'],
  'start-day': ['SUMMARY:Begins on a day', 'DTSTART;VALUE=DATE:20261224'],
  span: ['SUMMARY:From day to day', 'DTSTART;VALUE=DATE:20261220', 'DUE;VALUE=DATE:20261224'],
  'span-zones': [
    'SUMMARY:From zone to zone',
    'DTSTART;TZID=Europe/Berlin:20261220T090000',
    'DUE;TZID=America/New_York:20261224T180000',
  ],
  'time-type': ['SUMMARY:Due at a time by its type', 'DUE;VALUE=DATE-TIME:20261224T170000Z'],
  past: ['SUMMARY:Due long ago', 'DUE;VALUE=DATE:19991231'],
  'far-off': ['SUMMARY:Due in decades', 'DUE:20991231T235959Z'],
  'leap-day': ['SUMMARY:Due on a leap day', 'DUE;VALUE=DATE:20280229'],
  summer: ['SUMMARY:Due in summer', 'DUE;TZID=Australia/Sydney:20270115T083000'],

  // --- State
  'needs-action': ['SUMMARY:To do by its status', 'STATUS:NEEDS-ACTION'],
  'in-process': ['SUMMARY:Under way', 'STATUS:IN-PROCESS', 'PERCENT-COMPLETE:55'],
  completed: [
    'SUMMARY:Done in full',
    'STATUS:COMPLETED',
    'COMPLETED:20261101T120000Z',
    'PERCENT-COMPLETE:100',
  ],
  'completed-alone': ['SUMMARY:Done without a time', 'STATUS:COMPLETED'],
  cancelled: ['SUMMARY:Called off', 'STATUS:CANCELLED'],
  'priority-0': ['SUMMARY:No priority', 'PRIORITY:0'],
  'priority-1': ['SUMMARY:The highest priority', 'PRIORITY:1'],
  'priority-9': ['SUMMARY:The lowest priority', 'PRIORITY:9'],
  labels: ['SUMMARY:With labels', 'CATEGORIES:a\\,b,c', 'PRIORITY:4'],
  'label-lines': ['SUMMARY:With lines of labels', 'CATEGORIES:one,two', 'CATEGORIES:three'],
  'label-case': ['SUMMARY:With one label twice', 'CATEGORIES:Home,home'],

  // --- Series, alarms and relations
  series: [
    'SUMMARY:Each week',
    'DTSTART;TZID=Europe/Berlin:20261224T120000',
    'DUE;TZID=Europe/Berlin:20261224T180000',
    'RRULE:FREQ=WEEKLY;BYDAY=TH',
  ],
  'series-count': [
    'SUMMARY:Ten times',
    'DTSTART;VALUE=DATE:20261224',
    'DUE;VALUE=DATE:20261225',
    'RRULE:FREQ=DAILY;COUNT=10',
  ],
  'series-until': [
    'SUMMARY:Each month until summer but May',
    'DTSTART:20261224T120000Z',
    'DUE:20261224T180000Z',
    'RRULE:FREQ=MONTHLY;UNTIL=20270624T120000Z',
    'EXDATE:20270524T120000Z',
  ],
  'series-dates': [
    'SUMMARY:On some dates',
    'DTSTART;VALUE=DATE:20261224',
    'RDATE;VALUE=DATE:20270106,20270114',
  ],
  alarm: [
    'SUMMARY:With an alarm',
    'DUE:20261224T170000Z',
    ...alarm('ACTION:DISPLAY', 'DESCRIPTION:ring', 'TRIGGER:-PT15M'),
  ],
  'alarm-end': [
    'SUMMARY:With an alarm before its end',
    'DTSTART:20261224T120000Z',
    'DUE:20261224T170000Z',
    ...alarm('ACTION:DISPLAY', 'DESCRIPTION:ring', 'TRIGGER;RELATED=END:-PT30M'),
  ],
  'alarm-time': [
    'SUMMARY:With an alarm at a time',
    ...alarm('ACTION:DISPLAY', 'DESCRIPTION:ring', 'TRIGGER;VALUE=DATE-TIME:20261224T160000Z'),
  ],
  alarms: [
    'SUMMARY:With two alarms',
    'DUE:20261224T170000Z',
    ...alarm('ACTION:AUDIO', 'TRIGGER:-P1D', 'REPEAT:2', 'DURATION:PT5M'),
    ...alarm('ACTION:DISPLAY', 'DESCRIPTION:ring', 'TRIGGER:PT0S', 'X-WR-ALARMUID:two'),
  ],
  child: [
    'SUMMARY:A part',
    'RELATED-TO;RELTYPE=PARENT:series',
    'X-APPLE-SORT-ORDER:123',
    'PERCENT-COMPLETE:30',
    'X-ODD;FOO="a;b":c',
  ],
  'child-plain': ['SUMMARY:A part by the default', 'RELATED-TO:alarm'],
  sibling: ['SUMMARY:A relative', 'RELATED-TO;RELTYPE=SIBLING:alarm'],
  orphan: ['SUMMARY:A part of nothing here', 'RELATED-TO;RELTYPE=PARENT:elsewhere'],

  // --- Other properties
  place: ['SUMMARY:At a place', 'LOCATION:Bath\\, first floor', 'GEO:52.520008;13.404954'],
  address: ['SUMMARY:With an address', 'URL:https://example.org/a?b=c,d;e'],
  people: [
    'SUMMARY:With people',
    'ORGANIZER;CN="Lovelace, Ada":mailto:ada@example.org',
    'ATTENDEE;CN=Grace;PARTSTAT=ACCEPTED;RSVP=TRUE:mailto:grace@example.org',
    'CONTACT:Ada\\, on the telephone',
  ],
  private: ['SUMMARY:For one person', 'CLASS:PRIVATE'],
  attachment: [
    'SUMMARY:With an attachment',
    'ATTACH;FMTTYPE=image/png:https://example.org/tile.png',
  ],
  'attached-data': [
    'SUMMARY:With attached data',
    'ATTACH;FMTTYPE=text/plain;ENCODING=BASE64;VALUE=BINARY:VGlsZXM=',
  ],
  estimate: ['SUMMARY:With an estimate', 'ESTIMATED-DURATION:PT2H'],
  colour: ['SUMMARY:With a colour', 'COLOR:turquoise', 'RESOURCES:LADDER,BUCKET'],
  mozilla: [
    'SUMMARY:With the marks of a program',
    'X-MOZ-LASTACK:20261101T120000Z',
    'X-MOZ-GENERATION:3',
    'X-OC-HIDESUBTASKS:1',
    'X-EVOLUTION-ALARM-UID:123',
  ],
};
