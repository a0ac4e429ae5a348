/** Draws figures as SVG, for the documentation. */
import { init } from 'echarts';

const WIDTH = 900;
const HEIGHT = 460;

export interface Plot {
  title: string;
  x: string;
  y: string;
  /** Each value has the place of its `xs`. */
  xs: readonly number[];
  lines: readonly { name: string; values: readonly number[] }[];
}

/** Lines over both axes as powers of ten. @returns an SVG document. */
export function draw({ title, x, y, xs, lines }: Plot): string {
  const chart = init(null, null, { renderer: 'svg', ssr: true, width: WIDTH, height: HEIGHT });
  chart.setOption({
    animation: false,
    backgroundColor: '#fff',
    title: { text: title, left: 'center' },
    legend: { bottom: 0, type: 'plain' },
    grid: { left: 70, right: 30, top: 50, bottom: 40 + 24 * Math.ceil(lines.length / 4) },
    xAxis: { type: 'log', name: x, nameLocation: 'middle', nameGap: 26 },
    yAxis: { type: 'log', name: y, nameLocation: 'middle', nameGap: 48 },
    series: lines.map(({ name, values }) => ({
      name,
      type: 'line',
      data: values.map((value, n) => [xs[n], value]),
    })),
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return svg;
}
