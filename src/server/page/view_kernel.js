// One kernel: its properties, graph, compilation, evidence and earlier versions.
import { get, query, save, text, token } from "./api.js";
import { latencyChart, stageBar, stagesOf, swatch } from "./chart.js";
import { facts, h, kernelLink, pill, section } from "./dom.js";
import { drawing } from "./drawing.js";
import { bytes, count, figure, memory, ms, share, targets, time, us } from "./format.js";
import { readable } from "./names.js";
import { table } from "./table.js";

const VERSIONS_MOST = 12;

// A part of the package; null: not available.
async function part(kernel, how, rest, signal) {
    if (!readable(kernel)) {
        return null;
    }
    try {
        return await how(path(kernel.id, rest), signal);
    } catch (problem) {
        if (problem.name === "AbortError") {
            throw problem;
        }
        return null;
    }
}

function path(id, rest = "") {
    return `/kernel/${encodeURIComponent(id)}${rest}`;
}

function record(id, rest = "") {
    return `/api/v1/kernels/${encodeURIComponent(id)}${rest}`;
}

function download(kernel) {
    const name = `${kernel.id.slice(0, 19)}.urza`;
    async function work(event) {
        if (token()) {
            event.preventDefault();
            await save(path(kernel.id), name);
        }
    }
    return h("a", { class: "button main", href: path(kernel.id), download: name, onclick: work },
        `Download, ${bytes(kernel.size_bytes)}`);
}

function heading(kernel, manifest) {
    return [h("h1", null, manifest?.name || "Kernel"),
        h("p", { class: "lead" }, pill(kernel.status), " ", pill(kernel.evidence), " ",
            kernel.reason && h("span", { class: "faint" }, kernel.reason)),
        h("p", { class: "id whole" }, kernel.id),
        h("p", { class: "buttons" }, readable(kernel) ? download(kernel) :
            h("span", { class: "faint" }, "Its package is not answered any more."),
        h("a", { class: "button", href: `#/compare${query({ a: kernel.id, b: kernel.parent })}` },
            "Compare"))];
}

function hintsOf(kernel) {
    return Object.entries(kernel.hints || {})
        .filter(([, value]) => value !== "" && value !== 0 && value !== false)
        .map(([name, value]) => `${name} ${value}`).join(", ");
}

function properties(kernel, aliases) {
    return facts([
        ["Targets", targets(kernel.targets)],
        ["Version", `${kernel.version}`],
        ["Strategy", kernel.strategy],
        ["Precision", kernel.precision || "as written"],
        ["Sizes checked", kernel.profile || "several"],
        ["Latency", us(kernel.latency_us)],
        ["Temporaries", memory(kernel.memory_bytes)],
        ["Compiled in", ms(kernel.compile_ms)],
        ["Published", time(kernel.created_ms)],
        ["Asked for", `${count(kernel.uses)} times, last ${time(kernel.used_ms)}`],
        ["Compiler", kernel.compiler],
        ["Hints", hintsOf(kernel)],
        ["Tags", kernel.tags.join(", ")],
        ["Aliases", aliases.map((alias) => alias.id).join(", ")],
    ]);
}

function graph(picture) {
    return section("Graph", picture ? drawing(picture) :
        h("p", { class: "faint" }, "There is no drawing of this kernel's graph."));
}

function memoryPlan(picture) {
    return section("Memory plan", picture ? drawing(picture) :
        h("p", { class: "faint" }, "There is no drawing of this kernel's memory."));
}

function stages(kernel) {
    const rows = stagesOf(kernel.details?.metadata?.stages_ms);
    const sum = rows.reduce((total, row) => total + row[1], 0);
    return section("Stages", h("div", { class: "tall" },
        stageBar(kernel.details?.metadata?.stages_ms)),
    h("div", { class: "narrow" }, table("Stages", [
        { title: "Stage", show: ([name, , kind]) => [swatch(kind), name] },
        { title: "Time", kind: "number", show: (row) => ms(row[1]) },
        { title: "Share", kind: "number", show: (row) => share(row[1] / sum) },
    ], rows)));
}

function list(title, items, none) {
    return section(title, items.length > 0 ? h("ul", null, items.map((item) => h("li", null, item)))
        : h("p", { class: "faint" }, none));
}

function remark(item) {
    return typeof item === "string" ? item :
        [h("strong", null, item.what || ""), " ", item.why || item.message || ""];
}

function making(kernel) {
    const details = kernel.details || {};
    return h("div", { class: "columns" },
        list("Optimisations", details.optimizations_applied || [], "None applied."),
        list("Degraded", (kernel.degraded || []).map(remark), "Nothing was left out."),
        list("Warnings", (details.metadata?.warnings || []).map(remark), "None."));
}

function outcome(check) {
    return check ? [pill(check.pass ? "passed" : "failed"), " ",
        `${figure(check.figure)} of ${figure(check.bound)}`,
        check.detail && h("span", { class: "faint" }, `, ${check.detail}`)] : "\u2013";
}

// A row for each kind of check, a column for each target; checks without a target are rows, too.
function checksTable(checks, names) {
    const ended = (check) => names.find((name) => check.name.endsWith(` ${name}`));
    const rows = new Map();
    for (const check of checks) {
        const target = ended(check) || "";
        const kind = target ? check.name.slice(0, -target.length - 1) : check.name;
        rows.set(kind, { kind, ...rows.get(kind), [target]: check });
    }
    const shown = [...rows.values()];
    const columns = names.map((name) => ({ title: name, show: (row) => outcome(row[name]) }));
    if (shown.some((row) => row[""])) {
        columns.push({ title: "No target", show: (row) => outcome(row[""]) });
    }
    return table("Checks", [{ title: "Check", show: (row) => row.kind }, ...columns], shown);
}

const CHECKED = [
    { title: "Loop nest", kind: "words", show: (row) => row.label },
    { title: "Target", show: (row) => row.target },
    { title: "Elements", kind: "number", show: (row) => count(row.elements) },
    { title: "Compared", kind: "number",
        show: (row) => share(row.elements > 0 ? row.checked / row.elements : 1) },
    { title: "Error of its bound", kind: "number", show: (row) => figure(row.ratio) },
];

function evidence(kernel, found) {
    const checks = found?.checks || [];
    const passed = checks.filter((check) => check.pass).length;
    return section("Evidence",
        h("p", null, pill(kernel.evidence), " ",
            found ? `${passed} of ${checks.length} checks passed.` : "There is none to be read."),
        h("p", { class: "faint" }, "What was found, and the most that is allowed."),
        checks.length > 0 && checksTable(checks, kernel.targets),
        found?.kernels?.length > 0 && h("details", null,
            h("summary", null, `Loop nests compared with the reference: ${found.kernels.length}`),
            table("Loop nests", CHECKED, found.kernels)));
}

function values(title, rows) {
    return table(title, [
        { title, show: (row) => row.name },
        { title: "Type", show: (row) => row.dtype },
        { title: "Shape", show: (row) => row.shape.join(" \u00d7 ") || "scalar" },
    ], rows, "None.");
}

function dimension(dim) {
    const step = dim.multiple_of > 1 ? `, multiples of ${dim.multiple_of}` : "";
    return `${dim.name}: ${dim.min} to ${dim.max}${step}, typically ${dim.typical}`;
}

function callable(manifest) {
    return manifest && section("Interface",
        h("div", { class: "columns" }, values("Inputs", manifest.inputs),
            values("Outputs", manifest.outputs)),
        manifest.dims?.length > 0 && h("p", null, "Dims: ",
            manifest.dims.map(dimension).join("; "), "."),
        h("details", null, h("summary", null, `Parameters: ${manifest.params.length}`),
            values("Parameters", manifest.params)));
}

function lineage(kernel, versions) {
    const columns = [
        { title: "Version", show: (row) => [versionOf(row),
            row.id === kernel.id && h("span", { class: "faint" }, " (this)")] },
        { title: "Kernel", show: (row) => kernelLink(row.id) },
        { title: "Improves on", show: (row) => kernelLink(row.parent) },
        { title: "Status", show: (row) => pill(row.status) },
        { title: "Targets", show: (row) => targets(row.targets) },
        { title: "Latency", kind: "number", show: (row) => us(row.latency_us) },
        { title: "Size", kind: "number", show: (row) => bytes(row.size_bytes) },
        { title: "Published", kind: "time", show: (row) => time(row.created_ms) },
        { title: "", show: (row) => row.id !== kernel.id &&
            h("a", { href: `#/compare${query({ a: row.id, b: kernel.id })}` }, "compare") },
    ];
    return section("Lineage",
        h("p", null, "Blueprint ", h("span", { class: "id whole" }, kernel.blueprint)),
        h("p", null, "Parent: ", kernelLink(kernel.parent)),
        table("Versions", columns, versions));
}

function versionOf(kernel) {
    return `v${kernel.version} ${kernel.strategy}`;
}

// The newest observation of each version at one profile.
function latencyAt(profile, versions, observed) {
    return versions.map((version, index) => {
        const found = observed[index].find((row) => row.profile === profile);
        return found && { label: versionOf(version), p50: found.p50_us, p95: found.p95_us };
    }).filter(Boolean).reverse();
}

function latency(versions, observed) {
    const profiles = [...new Set(observed.flat().map((row) => row.profile))].sort();
    if (profiles.length === 0) {
        return section("Latency by version",
            h("p", { class: "faint" }, "Nobody has reported how long calls take."));
    }
    const place = h("div", { class: "plot" });
    const draw = (profile) =>
        place.replaceChildren(latencyChart(latencyAt(profile, versions, observed)));
    draw(profiles[0]);
    return section("Latency by version",
        h("label", { class: "inline" }, "Sizes ",
            h("select", { onchange: (event) => draw(event.target.value) },
                profiles.map((profile) => h("option", { value: profile },
                    profile || "not said")))),
        h("p", { class: "faint" }, "Dot: median of a call; line: up to the 95th percentile."),
        place);
}

function observations(rows) {
    return section("Observations", table("Observations", [
        { title: "When", kind: "time", show: (row) => time(row.at_ms) },
        { title: "Sizes", show: (row) => row.profile || "\u2013" },
        { title: "Host", show: (row) => row.host || "\u2013" },
        { title: "Calls", kind: "number", show: (row) => count(row.calls) },
        { title: "p50", kind: "number", show: (row) => us(row.p50_us) },
        { title: "p95", kind: "number", show: (row) => us(row.p95_us) },
    ], rows));
}

function history(rows) {
    return section("History", table("History", [
        { title: "When", kind: "time", show: (row) => time(row.at_ms) },
        { title: "From", show: (row) => (row.before ? pill(row.before) : "\u2013") },
        { title: "To", show: (row) => pill(row.after) },
        { title: "By", show: (row) => row.client },
        { title: "Reason", kind: "words", show: (row) => row.reason },
    ], rows));
}

export async function show({ args, signal }) {
    const kernel = await get(record(args[0]), signal);
    const id = kernel.id; // args[0] may be an alias
    const [manifest, found, picture, memory, changes, aliases, versions] = await Promise.all([
        part(kernel, get, "/manifest", signal),
        part(kernel, get, "/evidence", signal),
        part(kernel, text, "/graph.svg", signal),
        part(kernel, text, "/memory.svg", signal),
        get(record(id, "/history"), signal),
        get(`/api/v1/aliases${query({ kernel: id })}`, signal),
        get(`/api/v1/kernels${query({ blueprint: kernel.blueprint, limit: VERSIONS_MOST })}`,
            signal),
    ]);
    const observed = await Promise.all(versions.items.map(async (version) =>
        (await get(record(version.id, "/observations?limit=100"), signal)).items));
    const own = observed[versions.items.findIndex((version) => version.id === id)] || [];
    return h("article", null,
        heading(kernel, manifest),
        properties(kernel, aliases.items),
        callable(manifest),
        graph(picture),
        memoryPlan(memory),
        stages(kernel),
        making(kernel),
        evidence(kernel, found),
        lineage(kernel, versions.items),
        latency(versions.items, observed),
        observations(own.slice(0, 20)),
        history(changes.items));
}
