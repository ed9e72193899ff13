// Selects the view that the page shows: `#/kernels/ID?x=y` gives its name, arguments and query.
//
// A view is a function of {args, asked, signal} that returns an element. The old view stays until
// the element is complete, so that the page does not flicker; signal is aborted when another view
// replaces this one.
import { setToken, token } from "./api.js";
import { h, problemNote, say } from "./dom.js";
import * as compare from "./view_compare.js";
import * as events from "./view_events.js";
import * as jobs from "./view_jobs.js";
import * as kernel from "./view_kernel.js";
import * as kernels from "./view_kernels.js";
import * as status from "./view_status.js";

// parts: number of path segments after the name; link: text in the navigation bar.
const VIEWS = [
    { name: "", parts: 0, show: status.show, link: "Status" },
    { name: "kernels", parts: 0, show: kernels.show, link: "Kernels" },
    { name: "kernels", parts: 1, show: kernel.show },
    { name: "compare", parts: 0, show: compare.show, link: "Compare" },
    { name: "jobs", parts: 0, show: jobs.showAll, link: "Jobs" },
    { name: "jobs", parts: 1, show: jobs.showOne },
    { name: "events", parts: 0, show: events.show, link: "Events" },
];

const main = document.getElementById("main");
const dialog = document.getElementById("ask");
let running = new AbortController();

function wanted() {
    const [path, search] = location.hash.replace(/^#\/?/, "").split("?");
    const [name, ...args] = path.split("/").filter(Boolean).map(decodeURIComponent);
    return { name: name || "", args, asked: Object.fromEntries(new URLSearchParams(search || "")) };
}

function fillBar(name) {
    document.getElementById("views").replaceChildren(...VIEWS.filter((view) => view.link)
        .map((view) => h("a", { href: `#/${view.name}`,
            "aria-current": view.name === name ? "page" : null }, view.link)));
    document.getElementById("token").hidden = false;
}

function place(node, first) {
    main.replaceChildren(node);
    main.removeAttribute("aria-busy");
    const title = main.querySelector("h1");
    document.title = `${title.textContent} \u00b7 Urza`;
    if (!first) {
        title.tabIndex = -1;
        title.focus({ preventScroll: true });
        window.scrollTo(0, 0);
    }
}

function failed(problem) {
    const note = h("div", null, h("h1", null, problem.status === 404 ? "Not found" : "No answer"),
        problemNote(problem));
    if (problem.status === 401 || problem.status === 403) {
        askToken(problem.message);
    }
    return note;
}

async function go(first) {
    running.abort();
    running = new AbortController();
    const { signal } = running;
    const { name, args, asked } = wanted();
    const view = VIEWS.find((known) => known.name === name && known.parts === args.length);
    fillBar(name);
    main.setAttribute("aria-busy", "true");
    say("");
    let node;
    try {
        if (!view) {
            throw Object.assign(new Error(`no view '${name}'`), { status: 404 });
        }
        node = await view.show({ args, asked, signal });
    } catch (problem) {
        node = signal.aborted ? null : failed(problem);
    }
    if (!signal.aborted) {
        place(node, first);
    }
}

function askToken(why) {
    if (!dialog.open) {
        document.getElementById("ask-why").textContent = why ||
            "Kept by this tab until it is closed, and sent to this registry only.";
        document.getElementById("ask-token").value = token();
        dialog.showModal();
    }
}

document.getElementById("token").addEventListener("click", () => askToken(""));
dialog.addEventListener("close", () => {
    if (dialog.returnValue === "use" || dialog.returnValue === "forget") {
        setToken(dialog.returnValue === "use" ?
            document.getElementById("ask-token").value.trim() : "");
        go(false);
    }
    document.getElementById("ask-token").value = "";
});
// The skip link's target is an element, not a view.
document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault();
    main.focus();
});
window.addEventListener("hashchange", () => go(false));
go(true);
