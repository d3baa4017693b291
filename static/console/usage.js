// The month's days as bars, drawn from the table beside them.
import { axis, colours, whenThemed } from "./chart_style.js";

const place = document.getElementById("day-chart");
const said = document.getElementById("day-now");
const HEIGHT = 240;

const days = [...document.querySelectorAll("#days tbody tr")].reverse().map((row) => ({
  at: Date.parse(row.querySelector("time").dateTime) / 1000,
  name: row.querySelector("time").textContent,
  value: Number(row.querySelector("[data-eur]").dataset.eur),
  shown: row.querySelector("[data-eur]").textContent,
}));
let chart = null;

const money = (value) => (value === 0 ? "0" : `€${value < 0.1 ? value.toPrecision(2) : value.toFixed(2)}`);
const dayOf = (seconds) => new Date(seconds * 1000).getUTCDate();

function hover({ cursor }) {
  const day = days[cursor.idx ?? -1];
  said.textContent = day ? `${day.name} · ${day.shown}` : "";
}

/** A month is as wide as it will be, so that its bars stay where they are while it goes on. */
function span() {
  const first = new Date(days[0].at * 1000);
  const end = Date.UTC(first.getUTCFullYear(), first.getUTCMonth() + 1, 1) / 1000;
  return [days[0].at - 43_200, end - 43_200];
}

function draw() {
  chart?.destroy();
  const ink = colours();
  const bars = window.uPlot.paths.bars({ size: [0.72, 46], radius: 0.16 });
  chart = new window.uPlot({
    width: place.clientWidth,
    height: HEIGHT,
    legend: { show: false },
    cursor: { drag: { x: false, y: false }, y: false },
    scales: { x: { range: span }, y: { range: (_chart, _low, high) => [0, high * 1.12 || 1] } },
    axes: [
      { ...axis(), grid: { show: false }, incrs: [86_400, 2 * 86_400, 5 * 86_400], space: 26, splits: (_chart, _axis, low, high, step) => days.length ? ticks(low, high, step) : [], values: (_chart, at) => at.map(dayOf) },
      { ...axis(), size: 82, values: (_chart, values) => values.map(money) },
    ],
    series: [{}, { paths: bars, stroke: ink.line, fill: ink.line, width: 0, points: { show: false } }],
    hooks: { setCursor: [hover] },
  }, [days.map(({ at }) => at), days.map(({ value }) => value)], place);
  place.dataset.days = days.length;
}

function ticks(low, high, step) {
  const found = [];
  for (let at = days[0].at; at <= high; at += step) if (at >= low) found.push(at);
  return found;
}

if (place) {
  draw();
  whenThemed(draw);
  new ResizeObserver(() => chart.setSize({ width: place.clientWidth, height: HEIGHT })).observe(place);
}
