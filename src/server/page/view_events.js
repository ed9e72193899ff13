// Events for operators, newest first.
import { get, query } from "./api.js";
import { h, linked, pill } from "./dom.js";
import { time } from "./format.js";
import { pager, table } from "./table.js";

const LIMIT = 50;
const KINDS = ["regression", "evidence", "damage", "degraded"];

const COLUMNS = [
    { title: "When", kind: "time", show: (row) => time(row.at_ms) },
    { title: "Kind", show: (row) => pill(row.kind) },
    { title: "Of what", show: (row) => linked(row.subject) },
    { title: "Message", kind: "words", show: (row) => linked(row.message) },
];

export async function show({ asked, signal }) {
    const page = await get(`/api/v1/events${query({ limit: LIMIT, cursor: asked.cursor,
        kind: asked.kind })}`, signal);
    return h("div", null, h("h1", null, "Events"),
        h("form", { class: "search", "aria-label": "Events" },
            h("label", null, "Kind", h("select", { onchange: (event) => {
                location.hash = `#/events${query({ kind: event.target.value })}`;
            } }, h("option", { value: "" }, "any"), KINDS.map((kind) =>
                h("option", { value: kind, selected: kind === asked.kind }, kind))))),
        table("Events", COLUMNS, page.items, "Nothing happened that anybody must know."),
        pager(page.next, asked.cursor, (cursor) => `#/events${query({ ...asked, cursor })}`));
}
