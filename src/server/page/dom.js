// Creates elements. Strings become text nodes, and are never parsed as HTML.

const SVG = "http://www.w3.org/2000/svg";

function add(node, children) {
    for (const child of children.flat(3)) {
        if (child != null && child !== false && child !== "") {
            node.append(child);
        }
    }
    return node;
}

function make(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes || {})) {
        if (name.startsWith("on")) {
            node.addEventListener(name.slice(2), value);
        } else if (value === true) {
            node.setAttribute(name, "");
        } else if (value != null && value !== false) {
            node.setAttribute(name, value);
        }
    }
    return add(node, children);
}

export function h(tag, attributes, ...children) {
    return make(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes, ...children) {
    return make(document.createElementNS(SVG, tag), attributes, children);
}

export function section(title, ...children) {
    return h("section", null, h("h2", null, title), children);
}

// A list of names and values: [[name, value], ...]; a value is text, a node or a list of both.
export function facts(rows, kind = "facts") {
    return h("dl", { class: kind },
        rows.map(([name, value]) => h("div", null, h("dt", null, name),
            h("dd", null, value == null || value === "" ? "\u2013" : value))));
}

const TONES = {
    healthy: "good", success: "good", verified: "good", VALIDATED: "good", DEPLOYED: "good",
    DONE: "good", passed: "good",
    overloaded: "warn", degraded: "warn", pending: "warn", TESTING: "warn", regression: "warn",
    none: "warn", CANCELLED: "warn", cancelled: "warn", QUEUED: "busy", LEASED: "busy",
    failed: "bad", FAILED: "bad", POISON: "bad", RETIRED: "bad", damage: "bad", evidence: "bad",
};

// A status as a word; its colour adds no information.
export function pill(word) {
    return h("span", { class: `pill ${TONES[word] || ""}` }, word || "\u2013");
}

export function kernelLink(id, short = true) {
    if (!id) {
        return "\u2013";
    }
    return h("a", { class: "id", href: `#/kernels/${encodeURIComponent(id)}`, title: id },
        short ? shortId(id) : id);
}

export function shortId(id) {
    return id.length > 20 ? id.slice(0, 19) : id;
}

// Text in which ids of kernels are links.
export function linked(text) {
    return (text || "").split(/(kernel-[0-9a-f]{64})/).map((part, index) =>
        (index % 2 === 1 ? kernelLink(part) : part));
}

// For text that screen readers should announce while the focus is elsewhere.
export function say(text) {
    const place = document.getElementById("heard");
    if (place.textContent !== text) {
        place.textContent = text;
    }
}

export function problemNote(problem) {
    return h("div", { class: "notice bad", role: "alert" },
        h("strong", null, problem.kind || "Error"), " ", problem.message,
        problem.request && h("span", { class: "faint" }, ` (request ${problem.request})`));
}
