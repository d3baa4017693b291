// Pages of one sandbox that are open beside each other: what shows the past follows the timeline's playhead.

const EVERY = 100; // ms between two moments that are told while the playhead is dragged

const channel = (sandbox) => new BroadcastChannel(`playhead-${sandbox}`);

/** For the timeline: a function that tells the moment, in ms since the epoch; null for now. Of many at once the last counts. */
export function teller(sandbox) {
  const others = channel(sandbox);
  let [waiting, told, moment] = [0, 0, undefined];
  const tell = () => {
    waiting = 0;
    told = performance.now();
    others.postMessage({ at: moment });
  };
  return (at) => {
    if (at === moment) return;
    moment = at;
    waiting ||= setTimeout(tell, Math.max(0, told + EVERY - performance.now()));
  };
}

/** For the others: `use(at)` is called with the last moment told, not again before the promise it answers is done. */
export function follow(sandbox, use) {
  let [busy, next] = [false, undefined];
  channel(sandbox).addEventListener("message", async ({ data }) => {
    next = data.at;
    if (busy) return;
    busy = true;
    try {
      while (next !== undefined) {
        const at = next;
        next = undefined;
        await use(at);
      }
    } finally {
      busy = false;
    }
  });
}
