// Draws the timelines of the lab's report: one run's throughput both ways, its states, network events and silences.
"use strict";
(() => {
  // One character a bin, as `timeline.py` writes them.
  const LEVELS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  const PLOT_HEIGHT = 250;
  const ROOM_FOR_EVENTS_AND_STATES = 50;
  const SMALLEST_MARK = 3; // pixels: what is shorter than a pixel's time is still to be seen
  const SILENCE_LABEL = 62; // pixels that a silence's length takes
  const MOST_SILENCE_LABELS = 12; // of a direction: a lossy path pauses all the time
  const STATE_LABEL = 40; // pixels below which a state has no room for its name
  const EVENT_LABEL = 90; // pixels below which an event shows only its number
  const drawn = [];

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const duration = (seconds) =>
    seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(seconds < 10 ? 2 : 1)} s`;
  const rate = (value) => {
    if (value == null) return "–";
    const size = Math.abs(value);
    return size >= 1e6 ? `${+(size / 1e6).toPrecision(3)} MB/s` : `${Math.round(size / 1e3)} kB/s`;
  };
  const levels = (text, unit) => Array.from(text, (letter) => LEVELS.indexOf(letter) * unit);

  function element(kind, classes, text) {
    const made = document.createElement(kind);
    made.className = classes;
    made.textContent = text;
    return made;
  }

  // The marks of a run, and how each is placed when the shown stretch of time changes.
  function overlay(run, over) {
    const states = run.states.map(([at, name], index) => {
      const mark = element("div", `over state ${name}`, name);
      mark.title = name;
      return { mark, from: at, to: index + 1 < run.states.length ? run.states[index + 1][0] : run.seconds };
    });
    const silences = run.silences.map(([from, to, direction]) => {
      const mark = element("div", `over silence ${direction}`, "");
      const label = element("span", "", duration(to - from));
      mark.append(label);
      return { mark, label, from, to, direction };
    });
    silences.sort((one, other) => other.to - other.from - (one.to - one.from)); // the longest gets its label first
    const events = run.events.map(([at, text], index) => {
      const mark = element("div", "over event", "");
      const label = element("span", "", "");
      const words = element("i", "", ` ${text}`);
      label.append(element("b", "badge", String(index + 1)), words);
      mark.append(label);
      return { mark, label, words, from: at, to: at };
    });
    over.append(...[...states, ...silences, ...events].map(({ mark }) => mark));

    return (chart) => {
      const width = over.clientWidth;
      const place = (item, smallest) => {
        const left = Math.max(0, chart.valToPos(item.from, "x"));
        const right = Math.min(width, Math.max(chart.valToPos(item.to, "x"), left + smallest));
        const shown = right >= 0 && left <= width && chart.valToPos(item.to, "x") >= 0;
        item.mark.style.display = shown ? "" : "none";
        item.mark.style.left = `${left}px`;
        if (smallest) item.mark.style.width = `${Math.max(smallest, right - left)}px`;
        return { left, right, shown };
      };
      states.forEach((state) => {
        const { left, right } = place(state, SMALLEST_MARK);
        state.mark.classList.toggle("narrow", right - left < STATE_LABEL);
      });
      const taken = { up: [], down: [] };
      silences.forEach((silence) => {
        const { left, right, shown } = place(silence, SMALLEST_MARK);
        const leftwards = right + SILENCE_LABEL > width;
        const begin = leftwards ? left - SILENCE_LABEL : right;
        const free = taken[silence.direction].every(([from, to]) => begin + SILENCE_LABEL < from || begin > to);
        silence.mark.classList.toggle("leftwards", leftwards);
        const labelled = shown && free && taken[silence.direction].length < MOST_SILENCE_LABELS;
        silence.mark.classList.toggle("labelled", labelled);
        if (labelled) taken[silence.direction].push([begin, begin + SILENCE_LABEL]);
      });
      // From the right: each label may reach up to the next event's.
      let border = width;
      for (const event of [...events].reverse()) {
        const { left, shown } = place(event, 0);
        if (!shown) continue;
        const room = border - left;
        event.label.style.display = room < 20 ? "none" : "";
        event.label.style.maxWidth = `${Math.max(0, room - 2)}px`;
        event.words.style.display = room < EVENT_LABEL ? "none" : "";
        if (room >= 20) border = left;
      }
    };
  }

  function draw(place) {
    if (place.dataset.drawn || !place.clientWidth) return;
    place.dataset.drawn = "yes";
    const run = JSON.parse(document.getElementById(place.dataset.run).textContent);
    const up = levels(run.up, run.unit);
    const down = levels(run.down, run.unit).map((value) => -value);
    const times = up.map((_, index) => index * run.bin);
    const top = Math.max(run.unit, ...up, ...down.map(Math.abs)) * 1.15;
    const axis = (size, values) => ({
      stroke: () => colour("--faint"),
      grid: { stroke: () => colour("--grid"), width: 1 },
      ticks: { stroke: () => colour("--grid"), width: 1 },
      font: "12px system-ui, sans-serif",
      size,
      values,
    });
    const series = (label, name) => ({
      label,
      stroke: () => colour(`--${name}`),
      fill: () => colour(`--${name}-fill`),
      width: 1,
      points: { show: false },
      paths: uPlot.paths.stepped({ align: 1 }),
      value: (_, value) => rate(value),
    });
    let arrange = () => {};
    const chart = new uPlot(
      {
        width: place.clientWidth,
        height: PLOT_HEIGHT,
        padding: [ROOM_FOR_EVENTS_AND_STATES, 12, 0, 0],
        scales: { x: { time: false, range: (_, from, to) => [from, to] }, y: { range: () => [-top, top] } },
        axes: [
          axis(34, (_, values) => values.map((value) => `${+value.toFixed(3)} s`)),
          axis(74, (_, values) => values.map(rate)),
        ],
        series: [
          { label: "time", value: (_, value) => (value == null ? "–" : `${value.toFixed(2)} s`) },
          series("client → gateway", "up"),
          series("gateway → client", "down"),
        ],
        cursor: { points: { show: false }, drag: { x: true, y: false } },
        hooks: { draw: [(self) => arrange(self)] },
      },
      [times, up, down],
      place,
    );
    arrange = overlay(run, chart.over);
    arrange(chart);
    drawn.push(chart);
    if (run.silences.length) place.append(closer(run, chart, times[times.length - 1]));
    new ResizeObserver(() => {
      if (place.clientWidth && place.clientWidth !== chart.width) {
        chart.setSize({ width: place.clientWidth, height: PLOT_HEIGHT });
      }
    }).observe(place);
  }

  // What a finger cannot do by dragging.
  function closer(run, chart, end) {
    const row = element("div", "closer faint", "Show ");
    const button = (text, from, to) => {
      const made = element("button", "", text);
      made.type = "button";
      made.addEventListener("click", () => chart.setScale("x", { min: from, max: to }));
      row.append(made);
    };
    const [from, to] = run.silences.reduce((one, other) => (other[1] - other[0] > one[1] - one[0] ? other : one));
    const margin = Math.max(2 * (to - from), 0.5);
    button("the longest silence", Math.max(0, from - margin), Math.min(end, to + margin));
    button("the whole run", 0, end);
    return row;
  }

  const drawWithin = (root) => root.querySelectorAll(".timeline").forEach(draw);
  // A closed run is drawn when it is opened: a page may hold hundreds.
  document.querySelectorAll("details").forEach((details) => {
    details.addEventListener("toggle", () => details.open && drawWithin(details));
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawn.forEach((chart) => chart.redraw()));
  drawWithin(document);
})();
