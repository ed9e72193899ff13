// Published kernels: search, in pages.
import { get, query } from "./api.js";
import { h } from "./dom.js";
import { learn } from "./names.js";
import { pager, table } from "./table.js";
import { KERNELS } from "./view_status.js";

const LIMIT = 25;

const FIELDS = [
    { name: "tag", label: "Tag" },
    { name: "target", label: "Target", list: ["x86-64-v2", "x86-64-v3", "x86-64-v4"] },
    { name: "status", label: "Status",
        choices: ["VALIDATED", "TESTING", "DEPLOYED", "RETIRED"] },
    { name: "latency", label: "Latency at most, \u00b5s", number: true },
    { name: "memory", label: "Memory at most, KiB", number: true },
];

const COLUMNS = [...KERNELS,
    { title: "Tags", kind: "words", show: (row) => row.tags.join(", ") }];

// The query arguments for the form's fields. A latency of 0 means that it was not measured, so such
// kernels do not count as fast ones.
function argumentsOf(asked) {
    const fields = { limit: LIMIT, cursor: asked.cursor, tag: asked.tag, target: asked.target,
        status: asked.status };
    if (asked.latency) {
        Object.assign(fields, { min_latency_us: 1e-6, max_latency_us: asked.latency });
    }
    if (asked.memory) {
        fields.max_memory_bytes = Number(asked.memory) * 1024;
    }
    return fields;
}

function input(field, asked) {
    const given = asked[field.name] || "";
    if (field.choices) {
        return h("select", { name: field.name }, h("option", { value: "" }, "any"),
            field.choices.map((choice) =>
                h("option", { value: choice, selected: choice === given }, choice)));
    }
    const list = field.list && `list-${field.name}`;
    return [h("input", { name: field.name, value: given, list, spellcheck: "false",
        type: field.number ? "number" : "text", min: field.number && "0", step: "any" }),
    list && h("datalist", { id: list }, field.list.map((value) => h("option", { value })))];
}

function searchForm(asked) {
    function submit(event) {
        event.preventDefault();
        location.hash = `#/kernels${query(Object.fromEntries(new FormData(event.target)))}`;
    }
    return h("form", { class: "search", role: "search", "aria-label": "Kernels", onsubmit: submit },
        FIELDS.map((field) => h("label", null, field.label, input(field, asked))),
        h("p", { class: "buttons" }, h("button", { type: "submit", class: "main" }, "Search"),
            h("a", { class: "button quiet", href: "#/kernels" }, "Clear")));
}

function openForm() {
    function submit(event) {
        event.preventDefault();
        const id = new FormData(event.target).get("id").trim();
        if (id) {
            location.hash = `#/kernels/${encodeURIComponent(id)}`;
        }
    }
    return h("form", { class: "open", onsubmit: submit, "aria-label": "One kernel" },
        h("input", { name: "id", spellcheck: "false", "aria-label": "Id or alias",
            placeholder: "Id or alias" }),
        h("button", { type: "submit" }, "Open"));
}

export async function show({ asked, signal }) {
    const page = await get(`/api/v1/kernels${query(argumentsOf(asked))}`, signal);
    await learn(page.items, signal);
    return h("div", null,
        h("div", { class: "head" }, h("h1", null, "Kernels"), openForm()),
        searchForm(asked),
        table("Kernels", COLUMNS, page.items, "No kernel is like that."),
        pager(page.next, asked.cursor, (cursor) => `#/kernels${query({ ...asked, cursor })}`));
}
