// Draws a run on a canvas: what it used below, its commands above, failures and marks over them.

const LANES = 3;
const LANE = 7;
const TOP = 5;

const tones = { ok: "--color-success", bad: "--color-error", late: "--color-warning", running: "--color-info" };
const MARKS = {
  "sandbox.failed": "--color-error", "limit.hit": "--color-error", "network.denied": "--color-error",
  "sandbox.paused": "--color-warning", "sandbox.resumed": "--color-warning",
  "note.added": "--color-secondary", "signal.raised": "--color-warning", "snapshot.created": "--color-info", "sandbox.terminated": "--ink-faint",
};

/** `run` as the server tells it, `until` the right end of what goes on. */
export function paint(canvas, run, scale, until) {
  const ratio = devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
  if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  const style = getComputedStyle(canvas);
  const colour = (name) => style.getPropertyValue(name).trim();
  const box = { width, height, floor: height - 1, roof: TOP + LANES * (LANE + 2) + 3 };
  usage(pen, run.usage, scale, box, colour);
  folds(pen, scale, box, colour);
  if (run.counts.length) counts(pen, run.counts, scale, colour);
  bars(pen, run.bars, scale, until, colour);
  ticks(pen, run, scale, box, colour);
}

function usage(pen, points, scale, { floor, roof }, colour) {
  if (!points.length) return;
  const y = (share) => floor - share * (floor - roof);
  const trace = (index) => {
    pen.beginPath();
    for (const point of points) {
      pen.lineTo(scale.x(point[0]), y(point[index]));
      pen.lineTo(scale.x(point[1]), y(point[index]));
    }
  };
  const [left, right] = [scale.x(points[0][0]), scale.x(points.at(-1)[1])];
  trace(2);
  pen.lineTo(right, floor);
  pen.lineTo(left, floor);
  pen.fillStyle = colour("--color-accent");
  pen.globalAlpha = 0.22;
  pen.fill();
  pen.globalAlpha = 1;
  trace(3);
  pen.strokeStyle = colour("--ink-faint");
  pen.lineWidth = 1;
  pen.stroke();
}

function folds(pen, scale, { height }, colour) {
  pen.strokeStyle = colour("--line-strong");
  pen.lineWidth = 1;
  for (const { left, right, folded } of scale.parts) {
    if (!folded) continue;
    pen.save();
    pen.beginPath();
    pen.rect(left + 2, 0, right - left - 4, height);
    pen.clip();
    pen.beginPath();
    for (let x = left - height; x < right; x += 5) {
      pen.moveTo(x, height);
      pen.lineTo(x + height, 0);
    }
    pen.stroke();
    pen.restore();
  }
}

// Commands at the same time lie in lanes below one another, as far as there are lanes.
function bars(pen, list, scale, until, colour) {
  const free = new Array(LANES).fill(-Infinity);
  for (const [, from, to, state] of list) {
    const end = to ?? until;
    let lane = free.findIndex((busy) => busy <= from);
    if (lane < 0) lane = free.indexOf(Math.min(...free));
    free[lane] = end;
    const left = scale.x(from);
    pen.fillStyle = colour(tones[state]);
    pen.globalAlpha = state === "ok" ? 0.75 : 1;
    pen.beginPath();
    pen.roundRect(left, TOP + lane * (LANE + 2), Math.max(2, scale.x(end) - left - 0.5), LANE, 1.5);
    pen.fill();
  }
  pen.globalAlpha = 1;
}

function counts(pen, list, scale, colour) {
  const height = LANES * (LANE + 2) - 2;
  const most = Math.max(...list.map(([, , count]) => count));
  for (const [from, to, count, failed] of list) {
    const [left, width] = [scale.x(from), Math.max(1, scale.x(to) - scale.x(from) - 0.5)];
    const all = Math.max(1, (count / most) * height);
    const bad = failed ? Math.max(2, (Math.min(failed, count) / most) * height) : 0;
    pen.fillStyle = colour("--color-success");
    pen.globalAlpha = 0.6;
    pen.fillRect(left, TOP + height - all, width, all);
    pen.globalAlpha = 1;
    pen.fillStyle = colour("--color-error");
    pen.fillRect(left, TOP + height - bad, width, bad);
  }
}

function ticks(pen, run, scale, { floor }, colour) {
  pen.fillStyle = colour("--ink-faint");
  for (const at of run.ticks) pen.fillRect(scale.x(at) - 0.5, floor - 3, 1, 3);
  for (const [, at, kind] of run.marks) {
    pen.fillStyle = colour(MARKS[kind] ?? "--ink-faint");
    const x = scale.x(at);
    pen.fillRect(x - 0.75, 0, 1.5, floor);
    pen.beginPath();
    pen.arc(x, 2.5, 2.5, 0, 7);
    pen.fill();
  }
}
