// Charts: the stages of a compilation, latency by version. Sizes and positions are SVG attributes,
// and colours are classes, since the page's policy forbids inline styles.
import { h, svg } from "./dom.js";
import { ms, us } from "./format.js";

const STAGES = ["read", "optimise", "schedule", "lower", "codegen", "package", "verify"];

// [[name, ms, class], ...] in the order in which they run; unknown stages come last.
export function stagesOf(stages) {
    const known = STAGES.filter((name) => name in (stages || {}));
    const others = Object.keys(stages || {}).filter((name) => !STAGES.includes(name)).sort();
    return [...known, ...others].map((name) => {
        const place = STAGES.indexOf(name);
        return [name, stages[name], `stage-${place < 0 ? "other" : name}`];
    });
}

// A bar of a compilation's stages; most: the time for the full width (default: their sum).
export function stageBar(stages, most = 0) {
    const rows = stagesOf(stages);
    const sum = rows.reduce((total, row) => total + row[1], 0);
    if (!(sum > 0)) {
        return h("span", { class: "faint" }, "\u2013");
    }
    const text = rows.map(([name, value]) => `${name} ${ms(value)}`).join(", ");
    const scale = 100 / Math.max(sum, most);
    let x = 0;
    return svg("svg", { class: "stages", viewBox: "0 0 100 10", preserveAspectRatio: "none",
        role: "img", "aria-label": text },
    svg("title", null, text),
    svg("rect", { class: "stage-none", x: 0, y: 0, width: 100, height: 10 }),
    rows.map(([, value, kind]) => {
        const width = value * scale;
        x += width;
        return svg("rect", { class: kind, x: x - width, y: 0, width, height: 10 });
    }));
}

export function stageLegend() {
    return h("ul", { class: "legend" }, STAGES.map((name) =>
        h("li", null, swatch(`stage-${name}`), name)));
}

export function swatch(kind) {
    return svg("svg", { class: "swatch", viewBox: "0 0 10 10", "aria-hidden": "true" },
        svg("rect", { class: kind, width: 10, height: 10 }));
}

function niceTop(value) {
    const unit = 10 ** Math.floor(Math.log10(value));
    return [1, 2, 2.5, 5, 10].map((step) => step * unit).find((top) => top >= value);
}

// points: [{label, p50, p95}], oldest version first: a dot at the median, a line up to p95.
export function latencyChart(points) {
    const width = 640, height = 220, left = 64, right = 16, top = 14, bottom = 34;
    const most = niceTop(Math.max(...points.map((point) => point.p95)));
    const step = (width - left - right) / points.length;
    const x = (index) => left + step * (index + 0.5);
    const y = (value) => top + (height - top - bottom) * (1 - value / most);
    const ticks = [0, 0.25, 0.5, 0.75, 1].map((part) => part * most);
    const line = points.map((point, index) => `${x(index)},${y(point.p50)}`).join(" ");
    const text = points.map((point) => `${point.label}: ${us(point.p50)}`).join("; ");
    return svg("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img",
        "aria-label": `Median latency by version. ${text}` },
    ticks.map((value) => [
        svg("line", { class: "grid", x1: left, x2: width - right, y1: y(value), y2: y(value) }),
        svg("text", { class: "tick end", x: left - 8, y: y(value) + 4 },
            value === 0 ? "0" : us(value)),
    ]),
    svg("polyline", { class: "trend", points: line }),
    points.map((point, index) => svg("g", null,
        svg("title", null, `${point.label}: p50 ${us(point.p50)}, p95 ${us(point.p95)}`),
        svg("line", { class: "whisker", x1: x(index), x2: x(index), y1: y(point.p50),
            y2: y(point.p95) }),
        svg("line", { class: "whisker", x1: x(index) - 5, x2: x(index) + 5, y1: y(point.p95),
            y2: y(point.p95) }),
        svg("circle", { class: "dot", cx: x(index), cy: y(point.p50), r: 5 }),
        svg("text", { class: "tick middle", x: x(index), y: height - 12 }, point.label))));
}
