// Tables: columns are {title, show(row), kind?}; kind is a class of the cells ("number", "id").
import { h } from "./dom.js";

function cells(columns, row) {
    return columns.map((column) => h("td", { class: column.kind }, column.show(row)));
}

export function table(title, columns, rows, empty = "None yet.") {
    const body = rows.map((row) => h("tr", null, cells(columns, row)));
    const none = h("tr", null, h("td", { colspan: columns.length, class: "faint" }, empty));
    return h("div", { class: "scroll", role: "group", "aria-label": title, tabindex: "0" },
        h("table", null,
            h("thead", null, h("tr", null, columns.map((column) =>
                h("th", { scope: "col", class: column.kind }, column.title)))),
            h("tbody", null, rows.length > 0 ? body : none)));
}

// Links to the first page of a listing and to the next one; href makes the link for a cursor.
export function pager(next, cursor, href) {
    return h("nav", { class: "pager", "aria-label": "Pages" },
        cursor ? h("a", { href: href("") }, "Newest") : h("span", { class: "faint" }, "Newest"),
        next ? h("a", { href: href(next), rel: "next" }, "Older") :
            h("span", { class: "faint" }, "Older"));
}
