"use strict";
// Timelines: a row per worker, tasks coloured by kind, the observed critical path, and counts of
// tasks below on the same axis. One <figure class="timeline"> per graph; its data is the JSON in it.

const ROW = 18; // pixels of a worker's row
const MANY = 24; // workers: with more, rows are half as high, and every other one has its name
const LEFT = 96; // pixels of the names of workers
const SMALL = 46; // pixels of a panel with counts
const FIELDS = 7; // numbers of a span: task, worker, number, ready, started, ended, cpu
const LETTER = 6.2; // pixels of a letter of a task's name, about
const LABELS = { cores: "cores busy" };
const SVG = "http://www.w3.org/2000/svg";

function element(name, attributes, parent, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

function shown(us) {
  if (us < 0) return "not known";
  const [value, unit] = us >= 1e6 ? [us / 1e6, "s"] : us >= 1e3 ? [us / 1e3, "ms"] : [us, "us"];
  return `${Number(value.toPrecision(3))} ${unit}`;
}

/** The spans of a run as objects, by worker and by task. */
function read(run, tasks) {
  const spans = [];
  for (let at = 0; at < run.spans.length; at += FIELDS) {
    const [task, worker, number, ready, started, ended, cpu] = run.spans.slice(at, at + FIELDS);
    spans.push({ task, worker, number, ready, started, ended, cpu });
  }
  const path = run.path.map((index) => spans[index]);
  path.forEach((span, index) => Object.assign(span, { critical: true, waited: path[index - 1] }));
  spans.sort((a, b) => a.started - b.started);
  const rows = run.workers.map(() => []);
  const last = new Map();
  for (const span of spans) {
    rows[span.worker].push(span);
    last.set(span.task, span);
  }
  for (const span of spans) span.failed = last.get(span.task) !== span;
  for (const span of spans) {
    const needs = tasks.needs[span.task].map((need) => last.get(need)).filter(Boolean);
    span.need = needs.reduce((a, b) => (a && a.ended >= b.ended ? a : b), undefined);
  }
  const order = [...rows.keys()].sort((a, b) => run.workers[a].localeCompare(run.workers[b], "en", { numeric: true }));
  return { ...run, spans, rows, order, path, counts: countsOf(spans, tasks.names.length) };
}

/** At each change: running, ready and waiting tasks, and the cores that the running ones keep busy. */
function countsOf(spans, tasks) {
  const changes = [];
  for (const span of spans) {
    const share = span.cpu < 0 || span.ended === span.started ? 1 : span.cpu / (span.ended - span.started);
    changes.push([span.started, 1, 0, share], [span.ended, -1, 0, -share]);
    if (span.number === 1 && span.ready >= 0 && span.ready < span.started) {
      changes.push([span.ready, 0, 1, 0], [span.started, 0, -1, 0]);
    }
  }
  changes.sort((a, b) => a[0] - b[0]);
  const done = [...spans].filter((span) => !span.failed).map((span) => span.ended).sort((a, b) => a - b);
  const points = [{ at: 0, running: 0, ready: 0, waiting: tasks, cores: 0 }];
  let [running, ready, cores, ended] = [0, 0, 0, 0];
  for (const [at, run, queue, share] of changes) {
    running += run;
    ready += queue;
    cores += share;
    while (ended < done.length && done[ended] <= at) ended += 1;
    const waiting = Math.max(0, tasks - ended - running - ready);
    if (points.at(-1).at === at) points.pop();
    points.push({ at, running, ready, waiting, cores: Math.max(0, cores) });
  }
  return points;
}

class Timeline {
  constructor(figure) {
    this.figure = figure;
    this.data = JSON.parse(figure.querySelector("script").textContent);
    this.runs = new Map();
    this.chosen = [...figure.querySelectorAll("select")];
    this.least = figure.querySelector("input");
    this.stage = figure.querySelector(".stage");
    this.says = figure.querySelector("output");
    this.reset();
    for (const select of this.chosen) select.addEventListener("change", () => this.reset());
    this.least.addEventListener("input", () => this.draw());
    for (const button of figure.querySelectorAll("button")) {
      button.addEventListener("click", () => this.act(button.value));
    }
    this.stage.addEventListener("keydown", (event) => this.key(event));
    this.stage.addEventListener("pointermove", (event) => this.move(event));
    this.stage.addEventListener("pointerleave", () => this.select(undefined));
    this.stage.addEventListener("pointerdown", (event) => this.press(event));
    this.stage.addEventListener("pointerup", (event) => this.release(event));
    this.stage.addEventListener("dblclick", () => this.act("all"));
    new ResizeObserver(() => this.draw()).observe(this.stage);
    figure.classList.add("live");
  }

  run(index) {
    if (!this.runs.has(index)) this.runs.set(index, read(this.data.runs[index], this.data.tasks));
    return this.runs.get(index);
  }

  get shown() {
    const indices = this.chosen.map((select) => select.value).filter((value) => value !== "");
    return [...new Set(indices)].map((value) => this.run(Number(value)));
  }

  reset() {
    this.end = Math.max(1, ...this.shown.map((run) => run.end));
    [this.from, this.to] = [0, this.end];
    this.selected = undefined;
    this.draw();
  }

  /** Zooms or moves; times stay within the longest run. */
  act(what, around = (this.from + this.to) / 2) {
    const length = this.to - this.from;
    const factor = { in: 0.5, out: 2 }[what] ?? 1;
    const shift = { left: -length / 4, right: length / 4 }[what] ?? 0;
    const wanted = what === "all" ? this.end : Math.min(this.end, Math.max(10, length * factor));
    const part = (around - this.from) / length;
    this.from = Math.min(Math.max(0, around - part * wanted + shift), this.end - wanted);
    if (what === "all") this.from = 0;
    this.to = this.from + wanted;
    this.draw();
  }

  key(event) {
    const actions = { "+": "in", "=": "in", "-": "out", 0: "all", "[": "left", "]": "right" };
    const steps = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
    if (actions[event.key]) this.act(actions[event.key]);
    else if (steps[event.key]) this.step(...steps[event.key]);
    else if (event.key === "Escape") this.select(undefined);
    else return;
    event.preventDefault();
  }

  /** Selects the next task of the row, or the one at the same time in the next row. */
  step(along, across) {
    const rows = this.places.map((place) => place.spans.filter((span) => this.visible(span)));
    let row = this.places.findIndex((place) => place.spans.includes(this.selected));
    if (row < 0) return this.select(rows.flat()[0]);
    const at = rows[row].indexOf(this.selected);
    if (along) return this.select(rows[row][at + along] ?? this.selected, true);
    const { started } = this.selected;
    for (row += across; rows[row]; row += across) {
      const next = rows[row].find((span) => span.ended >= started) ?? rows[row].at(-1);
      if (next) return this.select(next, true);
    }
  }

  visible(span) {
    return span.ended - span.started >= 1000 * Number(this.least.value || 0);
  }

  /** The task at a place of the stage. */
  at(event) {
    const box = this.stage.getBoundingClientRect();
    const time = this.from + ((event.clientX - box.left - LEFT) / this.width) * (this.to - this.from);
    const y = event.clientY - box.top;
    const place = this.places.find((one) => y >= one.y && y < one.y + one.height);
    const near = (2 * (this.to - this.from)) / this.width;
    const span = place?.spans.find(
      (one) => one.started - near <= time && time <= one.ended + near && this.visible(one),
    );
    return { time, span };
  }

  move(event) {
    const { time, span } = this.at(event);
    this.select(span);
    if (this.pressed === undefined) return;
    const [low, high] = [Math.min(time, this.pressed), Math.max(time, this.pressed)];
    this.range.setAttribute("x", this.x(low));
    this.range.setAttribute("width", Math.max(0, this.x(high) - this.x(low)));
  }

  press(event) {
    this.pressed = this.at(event).time;
  }

  release(event) {
    const { time } = this.at(event);
    const [low, high] = [Math.min(time, this.pressed), Math.max(time, this.pressed)];
    this.pressed = undefined;
    if (((high - low) / (this.to - this.from)) * this.width > 8) {
      [this.from, this.to] = [Math.max(0, low), Math.min(this.end, high)];
      this.draw();
    }
  }

  select(span, follow = false) {
    if (span === this.selected) return;
    this.selected = span;
    if (follow && span && (span.started < this.from || span.ended > this.to)) {
      this.act("none", (span.started + span.ended) / 2);
    }
    this.mark();
    this.says.textContent = span ? this.describe(span) : "";
  }

  describe(span) {
    const { names, kinds, kindOf } = this.data.tasks;
    const kind = kinds[kindOf[span.task]];
    const parts = [names[span.task] + (kind === names[span.task] ? "" : ` (${kind})`)];
    if (span.number > 1 || span.failed) parts.push(`attempt ${span.number}${span.failed ? ", failed" : ""}`);
    parts.push(`started at ${shown(span.started)}, ran ${shown(span.ended - span.started)}`);
    if (span.cpu >= 0) parts.push(`computed ${shown(span.cpu)}`);
    if (span.ready >= 0) parts.push(`was ready at ${shown(span.ready)}`);
    if (span.need) parts.push(`needed ${names[span.need.task]} last`);
    const waited = span.waited ? `, after ${names[span.waited.task]}` : "";
    if (span.critical) parts.push(`on the critical path${waited}`);
    return `${parts.join("; ")}.`;
  }

  x(time) {
    return LEFT + ((time - this.from) / (this.to - this.from)) * this.width;
  }

  draw() {
    const full = this.stage.clientWidth;
    if (!full) return;
    this.width = Math.max(60, full - LEFT - 4);
    this.places = [];
    const svg = element("svg", { width: full });
    let y = 0;
    for (const run of this.shown) y = this.panel(svg, run, y);
    this.range = element("rect", { class: "range", y: 0, height: y, width: 0 }, svg);
    this.marker = element("rect", { class: "selected", height: 0, width: 0 }, svg);
    svg.setAttribute("height", y);
    svg.setAttribute("viewBox", `0 0 ${full} ${y}`);
    svg.setAttribute("aria-hidden", "true");
    this.stage.replaceChildren(svg);
    this.mark();
  }

  /** Draws one run; returns where the next one begins. */
  panel(svg, run, top) {
    element("text", { class: "title", x: 0, y: top + 13 }, svg, `${run.title}: ${shown(run.end)}`);
    let y = top + 20;
    const paths = this.data.tasks.kinds.map(() => []);
    const [failed, critical, names] = [[], [], []];
    const height = run.order.length > MANY ? ROW / 2 : ROW;
    run.order.forEach((row, index) => {
      const spans = run.rows[row];
      if (height === ROW || index % 2 === 0) {
        const worker = run.workers[row].slice(0, 14);
        element("text", { x: 0, y: y + height / 2 + 4, class: "worker" }, svg, worker);
      }
      this.places.push({ y, height, spans });
      for (const span of spans) {
        if (span.ended < this.from || span.started > this.to || !this.visible(span)) continue;
        const left = Math.max(LEFT, this.x(span.started));
        const width = Math.max(0.6, Math.min(LEFT + this.width, this.x(span.ended)) - left - 0.4);
        const box = `M${left.toFixed(1)} ${y + 1}h${width.toFixed(1)}v${height - 2}h-${width.toFixed(1)}z`;
        (span.failed ? failed : paths[this.data.tasks.kindOf[span.task]]).push(box);
        if (span.critical) critical.push(`M${left.toFixed(1)} ${y + height - 3}h${width.toFixed(1)}`);
        const name = this.data.tasks.names[span.task];
        if (height === ROW && width > 8 + LETTER * name.length) names.push({ span, name, x: left + 4, y: y + 12 });
      }
      y += height;
    });
    paths.forEach((boxes, kind) => {
      if (boxes.length) element("path", { class: `kind k${kind % 8}`, d: boxes.join("") }, svg);
    });
    if (failed.length) element("path", { class: "failed", d: failed.join("") }, svg);
    for (const { span, name, x, y } of names) {
      const colour = span.failed ? "" : ` on${this.data.tasks.kindOf[span.task] % 8}`;
      element("text", { class: `name${colour}`, x, y }, svg, name);
    }
    element("path", { class: "links", d: this.links(run, top + 20, height) }, svg);
    element("path", { class: "critical", d: critical.join("") }, svg);
    y = this.lines(svg, run.counts, ["running", "cores"], y + 6);
    y = this.lines(svg, run.counts, ["ready", "waiting"], y + 6);
    return this.axis(svg, y) + 14;
  }

  /** The steps of the critical path from one row to another. */
  links(run, top, height) {
    const middle = (span) => top + (run.order.indexOf(span.worker) + 1) * height - 3;
    const parts = [];
    for (const span of run.path) {
      if (!span.waited || span.waited.ended < this.from || span.started > this.to) continue;
      const [x1, x2] = [this.x(span.waited.ended), this.x(span.started)];
      if (x1 < LEFT - 1) continue;
      parts.push(`M${x1.toFixed(1)} ${middle(span.waited)}L${x2.toFixed(1)} ${middle(span)}`);
    }
    return parts.join("");
  }

  /** Two counts as steps, above a common zero. */
  lines(svg, counts, names, top) {
    const most = Math.max(1, ...names.map((name) => counts.reduce((a, b) => Math.max(a, b[name]), 0)));
    const bottom = top + SMALL;
    const scale = (value) => (bottom - (value / most) * (SMALL - 4)).toFixed(1);
    element("path", { class: "base", d: `M${LEFT} ${bottom}h${this.width}` }, svg);
    element("text", { x: LEFT - 6, y: top + 10, class: "number" }, svg, `${Math.round(10 * most) / 10}`);
    element("text", { x: LEFT - 6, y: bottom, class: "number" }, svg, "0");
    names.forEach((name, index) => {
      element("text", { x: 0, y: top + 10 + 14 * index, class: `label c${name}` }, svg, LABELS[name] ?? name);
      let d = "";
      for (const [number, point] of counts.entries()) {
        const next = counts[number + 1]?.at ?? this.end;
        if (next < this.from || point.at > this.to) continue;
        const from = Math.max(LEFT, this.x(point.at)).toFixed(1);
        const to = Math.min(LEFT + this.width, this.x(next)).toFixed(1);
        d += `${d ? "V" : `M${from} `}${scale(point[name])}H${to}`;
      }
      element("path", { class: `line c${name}`, d }, svg);
    });
    return bottom;
  }

  /** Round times, all in the unit of the last one. */
  axis(svg, top) {
    const rough = (90 * (this.to - this.from)) / this.width;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
    const [scale, unit] = this.to >= 1e6 ? [1e6, "s"] : this.to >= 1e3 ? [1e3, "ms"] : [1, "us"];
    const digits = Math.max(0, Math.ceil(-Math.log10(step / scale) - 0.001));
    let marks = "";
    for (let count = Math.ceil(this.from / step); count * step <= this.to; count += 1) {
      const x = this.x(count * step);
      const anchor = x < LEFT + 20 ? "start" : x > LEFT + this.width - 20 ? "end" : "middle";
      const text = `${((count * step) / scale).toFixed(digits)} ${unit}`;
      element("text", { x, y: top + 16, class: "tick", "text-anchor": anchor }, svg, text);
      marks += `M${x.toFixed(1)} ${top}v4`;
    }
    element("path", { class: "base", d: marks }, svg);
    return top + 20;
  }

  mark() {
    const span = this.selected;
    const place = span && this.places.find((one) => one.spans.includes(span));
    this.marker.setAttribute("width", 0);
    if (!place || span.ended < this.from || span.started > this.to) return;
    this.marker.setAttribute("x", this.x(span.started) - 1);
    this.marker.setAttribute("y", place.y + 1);
    this.marker.setAttribute("height", place.height - 2);
    this.marker.setAttribute("width", Math.max(3, this.x(span.ended) - this.x(span.started)) + 2);
  }
}

for (const figure of document.querySelectorAll("figure.timeline")) new Timeline(figure);
