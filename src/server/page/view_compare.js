// Two kernels side by side.
import { get, query } from "./api.js";
import { stageBar, stageLegend } from "./chart.js";
import { h, kernelLink, pill, section } from "./dom.js";
import { bytes, count, memory, ms, targets, time, us } from "./format.js";
import { learn, nameOf } from "./names.js";

const CHOICES = 25;

// figure: compared by ratio; value: equal or not; with neither, both are shown only.
const ROWS = [
    { title: "Name", value: (kernel) => nameOf(kernel.id) },
    { title: "Kernel", show: (kernel) => kernelLink(kernel.id) },
    { title: "Blueprint", show: (kernel) => h("span", { class: "id", title: kernel.blueprint },
        kernel.blueprint.slice(0, 22)), value: (kernel) => kernel.blueprint },
    { title: "Version", value: (kernel) => kernel.version },
    { title: "Status", show: (kernel) => pill(kernel.status), value: (kernel) => kernel.status },
    { title: "Evidence", show: (kernel) => pill(kernel.evidence),
        value: (kernel) => kernel.evidence },
    { title: "Targets", value: (kernel) => targets(kernel.targets) },
    { title: "Strategy", value: (kernel) => kernel.strategy },
    { title: "Precision", value: (kernel) => kernel.precision || "as written" },
    { title: "Compiler", value: (kernel) => kernel.compiler },
    { title: "Latency", figure: (kernel) => kernel.latency_us, show: (kernel) =>
        us(kernel.latency_us) },
    { title: "Temporaries", figure: (kernel) => kernel.memory_bytes, show: (kernel) =>
        memory(kernel.memory_bytes) },
    { title: "Size", figure: (kernel) => kernel.size_bytes, show: (kernel) =>
        bytes(kernel.size_bytes) },
    { title: "Compiled in", figure: (kernel) => kernel.compile_ms, show: (kernel) =>
        ms(kernel.compile_ms) },
    { title: "Asked for", show: (kernel) => `${count(kernel.uses)} times` },
    { title: "Published", show: (kernel) => time(kernel.created_ms) },
    { title: "Optimisations", value: (kernel) =>
        (kernel.details?.optimizations_applied || []).join(", ") || "\u2013" },
    { title: "Degraded", value: (kernel) =>
        (kernel.degraded || []).map((item) => item.what).join(", ") || "\u2013" },
    { title: "Hints", value: (kernel) => Object.entries(kernel.hints || {})
        .filter(([, value]) => value !== "" && value !== 0 && value !== false)
        .map(([name, value]) => `${name} ${value}`).join(", ") },
];

// The text that compares the second kernel with the first.
function difference(row, a, b) {
    if (row.figure) {
        const [first, second] = [row.figure(a), row.figure(b)];
        if (!(first > 0) || !(second > 0)) {
            return "";
        }
        const ratio = second / first;
        return Math.abs(ratio - 1) < 0.005 ? "equal" : `${ratio.toFixed(2)} times`;
    }
    return row.value && row.value(a) !== row.value(b) ? "differs" : "";
}

function choose(asked, kernels) {
    function submit(event) {
        event.preventDefault();
        location.hash = `#/compare${query(Object.fromEntries(new FormData(event.target)))}`;
    }
    const field = (name, label) => h("label", null, label, h("input", { name, list: "kernels",
        required: true, spellcheck: "false", value: asked[name] || "" }));
    return h("form", { class: "search pair", onsubmit: submit, "aria-label": "Which kernels" },
        field("a", "First, by id or alias"), field("b", "Second, by id or alias"),
        h("datalist", { id: "kernels" }, kernels.map((kernel) => h("option", { value: kernel.id },
            `${nameOf(kernel.id)}, v${kernel.version}, ${kernel.strategy}`))),
        h("p", { class: "buttons" }, h("button", { type: "submit", class: "main" }, "Compare")));
}

function sideBySide(a, b) {
    const longest = Math.max(...[a, b].map((kernel) =>
        Object.values(kernel.details?.metadata?.stages_ms || {}).reduce((x, y) => x + y, 0)));
    const bar = (kernel) => h("td", null, h("div", { class: "tall" },
        stageBar(kernel.details?.metadata?.stages_ms, longest)));
    return section("Side by side", h("div", { class: "scroll", role: "group", tabindex: "0",
        "aria-label": "Side by side" },
    h("table", { class: "compare" },
        h("thead", null, h("tr", null, ["", "First", "Second", "Second beside first"].map((title) =>
            h("th", { scope: "col" }, title)))),
        h("tbody", null, ROWS.map((row) => {
            const show = row.show || row.value;
            const differs = difference(row, a, b);
            return h("tr", { class: differs && differs !== "equal" ? "differs" : null },
                h("th", { scope: "row" }, row.title), h("td", null, show(a)),
                h("td", null, show(b)), h("td", { class: "faint" }, differs));
        }), h("tr", null, h("th", { scope: "row" }, "Stages"), bar(a), bar(b), h("td"))))),
    stageLegend());
}

export async function show({ asked, signal }) {
    const known = await get(`/api/v1/kernels?limit=${CHOICES}`, signal);
    const record = (id) => get(`/api/v1/kernels/${encodeURIComponent(id)}`, signal);
    const pair = asked.a && asked.b ? await Promise.all([record(asked.a), record(asked.b)]) : null;
    await learn([...known.items, ...(pair || [])], signal);
    return h("div", null, h("h1", null, "Compare"), choose(asked, known.items),
        pair ? sideBySide(...pair) : h("p", { class: "faint" }, "Choose two kernels."));
}
