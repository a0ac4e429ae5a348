/** Draws figures as SVG, for the documentation. */
const WIDTH = 900;
const HEIGHT = 460;

export interface Plot {
  title: string;
  x: string;
  y: string;
  /** The values, in the order of `xs`. */
  xs: readonly number[];
  lines: readonly { name: string; values: readonly number[] }[];
}

/** Checks that gnuplot is installed, before a bench begins. @throws where it is not. */
export function requirePlotter() {
  if (!Bun.which('gnuplot'))
    throw new Error('gnuplot draws the plots: install it (apt-get install gnuplot-nox)');
}

const quoted = (text: string) => `'${text.replaceAll("'", "''")}'`;

/** Draws lines over two logarithmic axes. @returns an SVG document. */
export async function draw({ title, x, y, xs, lines }: Plot): Promise<string> {
  const data = lines.map(({ values }, line) => {
    const points = values.map((value, n) => `${xs[n]} ${value}`);
    return `$line${line} << END\n${points.join('\n')}\nEND`;
  });
  const curves = lines.map(
    ({ name }, line) =>
      `$line${line} with linespoints pointtype 7 pointsize 0.4 linewidth 2 title ${quoted(name)}`,
  );
  const script = [
    `set terminal svg size ${WIDTH},${HEIGHT} font "sans-serif,12" background "#ffffff" noenhanced`,
    'set logscale xy',
    'set grid',
    'set format "%.10g"',
    'set key outside bottom center horizontal',
    `set title ${quoted(title)}`,
    `set xlabel ${quoted(x)}`,
    `set ylabel ${quoted(y)}`,
    ...data,
    `plot ${curves.join(', ')}`,
  ].join('\n');
  return Bun.$`gnuplot < ${new Response(script)}`.text();
}
