// The service's current state: figures every two seconds, the last compilations, the latest
// kernels. page.c writes the same figures and tables for readers without scripts.
import { every, get } from "./api.js";
import { stageBar, stageLegend } from "./chart.js";
import { facts, h, kernelLink, linked, pill, say, section } from "./dom.js";
import { bytes, count, ms, share, span, targets, time, us } from "./format.js";
import { learn, nameOf } from "./names.js";
import { table } from "./table.js";

const EVERY_MS = 2000;
const LATEST = 20;

const FIGURES = [
    ["Compiling", "compilations_active", count],
    ["Compile slots", "compile_slots", count],
    ["Waiting", "compilations_waiting", count],
    ["Jobs queued", "jobs_queued", count],
    ["Cache hit rate", "cache_hit_rate", share],
    ["Compilations", "compilations_total", count],
    ["Average compilation", "avg_compilation_time_ms", ms],
    ["Kernels", "kernels", count],
    ["Size of packages", "kernel_cache_size_mb", (value) => `${value.toFixed(1)} MiB`],
    ["Up for", "uptime_s", span],
];

const COMPILATIONS = [
    { title: "When", kind: "time", show: (row) => time(row.at_ms) },
    { title: "Name", kind: "name", show: (row) => nameOf(row.kernel) },
    { title: "Kernel", show: (row) => kernelLink(row.kernel) },
    { title: "Result", show: (row) => pill(row.status) },
    { title: "Strategy", show: (row) => row.strategy },
    { title: "Time", kind: "number", show: (row) => ms(row.total_ms) },
    { title: "Stages", kind: "wide", show: (row) => stageBar(row.stages_ms) },
    { title: "Why it was compiled", kind: "words",
        show: (row) => linked(row.error ? row.error.message : row.miss) },
];

export const KERNELS = [
    { title: "Name", kind: "name", show: (row) => nameOf(row.id) },
    { title: "Kernel", show: (row) => kernelLink(row.id) },
    { title: "Targets", show: (row) => targets(row.targets) },
    { title: "Strategy", show: (row) => row.strategy },
    { title: "Status", show: (row) => pill(row.status) },
    { title: "Evidence", show: (row) => pill(row.evidence) },
    { title: "Latency", kind: "number", show: (row) => us(row.latency_us) },
    { title: "Size", kind: "number", show: (row) => bytes(row.size_bytes) },
    { title: "Published", kind: "time", show: (row) => time(row.created_ms) },
];

function figures(status) {
    const values = FIGURES.map(([title, key, show]) => [title,
        h("span", { "data-figure": key }, show(status[key]))]);
    const list = facts(values, "figures");
    return [list, (now) => {
        for (const [, key, show] of FIGURES) {
            const place = list.querySelector(`[data-figure="${key}"]`);
            const text = show(now[key]);
            if (place.textContent !== text) {
                place.textContent = text;
            }
        }
    }];
}

// One dot per slot, filled while the slot compiles.
function slots(status) {
    return h("span", { class: "slots", "aria-hidden": "true" },
        Array.from({ length: Math.min(status.compile_slots, 64) }, (_, index) =>
            h("span", { class: index < status.compilations_active ? "slot busy" : "slot" })));
}

export async function show({ signal }) {
    const [status, latest] = await Promise.all([
        get("/status", signal), get(`/api/v1/kernels?limit=${LATEST}`, signal)]);
    await learn(latest.items, signal);
    const [list, update] = figures(status);
    const health = h("span", null, pill(status.status));
    const dots = h("span", null, slots(status));
    const compiled = h("div");
    const kernels = h("div");
    let before = status.status;

    // Tables are rebuilt only if their rows change, so that the focus is not lost.
    function fill(now, published) {
        const newest = `${now.compilations[0]?.id} ${now.compilations.length}`;
        if (compiled.dataset.newest !== newest) {
            compiled.dataset.newest = newest;
            compiled.replaceChildren(table("Last compilations", COMPILATIONS, now.compilations));
        }
        const shown = JSON.stringify(published.items.map((row) => [row.id, row.status,
            row.evidence, row.latency_us]));
        if (kernels.dataset.shown !== shown) {
            kernels.dataset.shown = shown;
            kernels.replaceChildren(table("Latest kernels", KERNELS, published.items));
        }
    }

    every(EVERY_MS, async () => {
        try {
            const now = await get("/status", signal);
            update(now);
            health.replaceChildren(pill(now.status));
            dots.replaceChildren(slots(now));
            if (now.status !== before) {
                say(`The service is ${now.status}.`);
            }
            before = now.status;
            if (`${now.compilations[0]?.id} ${now.compilations.length}` !==
                compiled.dataset.newest) {
                const published = await get(`/api/v1/kernels?limit=${LATEST}`, signal);
                await learn(published.items, signal);
                fill(now, published);
            }
        } catch (problem) {
            if (!signal.aborted) {
                health.replaceChildren(pill("unreachable"));
                before = "unreachable";
                say(`The service does not answer: ${problem.message}`);
            }
        }
    }, signal);
    fill(status, latest);
    return h("div", null,
        h("h1", null, "Status"),
        h("p", { class: "lead" }, health, " ", dots, " ",
            h("span", { class: "faint" }, status.version)),
        list,
        section("Last compilations", compiled, stageLegend()),
        section("Latest kernels", kernels,
            h("p", { class: "after" }, h("a", { href: "#/kernels" }, "All kernels"))));
}
