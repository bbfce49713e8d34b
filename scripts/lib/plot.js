// Draws rows of small charts as one SVG. The x axis is logarithmic, y begins at 0, and a thin bar shows the
// spread of the rounds.

"use strict";

const { median } = require("./bench.js");

const PANEL = { width: 300, height: 210 };
const INSIDE = { left: 56, right: 16, top: 34, bottom: 44 };
const HEAD = 64;
const ROW_HEAD = 26;
const COLOURS = { paper: "#fbfaf7", ink: "#22252a", faint: "#6d7178", grid: "#dedbd3", line: "#1f5fa8" };

const escaped = (text) => text.replace(/[&<>]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[sign]);
const at = (value) => Number(value.toFixed(1));

function text(x, y, content, { size = 11, anchor = "start", fill = COLOURS.ink, weight = 400, turn = false } = {}) {
  const turned = turn ? ` transform="rotate(-90 ${at(x)} ${at(y)})"` : "";
  const style = `font-size="${size}" text-anchor="${anchor}" fill="${fill}" font-weight="${weight}"`;
  return `<text x="${at(x)}" y="${at(y)}" ${style}${turned}>${escaped(content)}</text>`;
}

const line = (x1, y1, x2, y2, stroke, width) =>
  `<line x1="${at(x1)}" y1="${at(y1)}" x2="${at(x2)}" y2="${at(y2)}" stroke="${stroke}" stroke-width="${width}"/>`;

/** A round distance of grid lines, so that about three to six lines fit below `max`. */
function stepOf(max) {
  const power = 10 ** Math.floor(Math.log10(max / 3));
  return power * [1, 2, 5, 10].find((factor) => max / (power * factor) <= 5.5);
}

const short = (x) => (x >= 1e6 ? `${x / 1e6}M` : x >= 1e3 ? `${x / 1e3}k` : String(x));
const label = (y, step) => y.toLocaleString("en", { maximumFractionDigits: Math.max(0, -Math.floor(Math.log10(step))) });

/**
 * One chart. `points` are `{ x, values }`, with one value per round. An x of 0 is drawn where a tenth of the
 * smallest other x would be.
 */
function panel({ title, unit, axis, points }) {
  const drawn = points.filter(({ values }) => values.length > 0);
  const { left, right, top, bottom } = INSIDE;
  const out = [text(left - 44, 16, title, { size: 12, weight: 600 })];
  const [width, height] = [PANEL.width - left - right, PANEL.height - top - bottom];
  out.push(text(left + width / 2, PANEL.height - 10, axis, { anchor: "middle", fill: COLOURS.faint }));
  out.push(text(12, top + height / 2, unit, { anchor: "middle", fill: COLOURS.faint, turn: true }));
  const highest = Math.max(0, ...drawn.flatMap(({ values }) => values));
  if (highest === 0) return [...out, text(left + width / 2, top + height / 2, "not measured", { anchor: "middle", fill: COLOURS.faint })];

  const step = stepOf(highest);
  const top_y = Math.ceil((highest * 1.02) / step) * step;
  const y = (value) => top + height * (1 - value / top_y);
  for (let tick = 0; tick <= top_y + step / 2; tick += step) {
    out.push(line(left, y(tick), left + width, y(tick), tick === 0 ? COLOURS.ink : COLOURS.grid, 1));
    out.push(text(left - 6, y(tick) + 4, label(tick, step), { anchor: "end", fill: COLOURS.faint, size: 10 }));
  }
  const least = Math.min(...points.map((point) => point.x).filter((x) => x > 0));
  const log = (x) => Math.log10(x > 0 ? x : least / 10);
  const ends = [Math.min(...points.map((point) => log(point.x))), Math.max(...points.map((point) => log(point.x)))];
  const margin = 14;
  const x = (value) => left + margin + ((log(value) - ends[0]) / (ends[1] - ends[0] || 1)) * (width - 2 * margin);
  let taken = -Infinity;
  for (const point of points) {
    out.push(line(x(point.x), y(0), x(point.x), y(0) + 4, COLOURS.ink, 1));
    // Labels that are close together are placed on two lines in turn.
    const close = x(point.x) - taken < 24;
    out.push(text(x(point.x), y(0) + (close ? 25 : 15), short(point.x), { anchor: "middle", fill: COLOURS.faint, size: 10 }));
    taken = close ? -Infinity : x(point.x);
  }
  const way = drawn.map((point) => `${at(x(point.x))},${at(y(median(point.values)))}`).join(" ");
  out.push(`<polyline points="${way}" fill="none" stroke="${COLOURS.line}" stroke-width="1.5"/>`);
  for (const { x: value, values } of drawn) {
    out.push(line(x(value), y(Math.min(...values)), x(value), y(Math.max(...values)), COLOURS.line, 1));
    out.push(`<circle cx="${at(x(value))}" cy="${at(y(median(values)))}" r="3" fill="${COLOURS.line}"/>`);
  }
  return out;
}

/** The picture. `head` are its first lines; each row is `{ title, panels }`. */
function plot({ head, rows }) {
  const columns = Math.max(...rows.map(({ panels }) => panels.length));
  const [width, height] = [columns * PANEL.width + 24, HEAD + rows.length * (PANEL.height + ROW_HEAD) + 8];
  const out = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="system-ui, sans-serif" role="img">`,
    `<title>${escaped(head[0])}</title>`,
    `<rect width="${width}" height="${height}" fill="${COLOURS.paper}"/>`,
    text(12, 24, head[0], { size: 16, weight: 600 }),
    ...head.slice(1).map((content, index) => text(12, 42 + index * 14, content, { fill: COLOURS.faint })),
  ];
  rows.forEach(({ title, panels }, row) => {
    const begin = HEAD + row * (PANEL.height + ROW_HEAD);
    out.push(line(12, begin + 2, width - 12, begin + 2, COLOURS.grid, 1), text(12, begin + 19, title, { size: 13, fill: COLOURS.faint }));
    panels.forEach((one, column) => {
      out.push(`<g transform="translate(${12 + column * PANEL.width} ${begin + ROW_HEAD})">`, ...panel(one), "</g>");
    });
  });
  return [...out, "</svg>"].join("\n") + "\n";
}

module.exports = { plot };
