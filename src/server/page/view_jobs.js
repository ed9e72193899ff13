// Jobs: compilations that clients do not wait for. A list of all, and the progress of one.
import { every, get, listen, query, send } from "./api.js";
import { facts, h, kernelLink, pill, problemNote, say, section } from "./dom.js";
import { time } from "./format.js";
import { pager, table } from "./table.js";

const LIMIT = 25;
const EVERY_MS = 2000;
const STREAMS = 3; // browsers open some six connections to a host
const STATES = ["QUEUED", "LEASED", "DONE", "FAILED", "POISON", "CANCELLED"];

function over(state) {
    return state !== "QUEUED" && state !== "LEASED";
}

function path(id, rest = "") {
    return `/api/v1/jobs/${encodeURIComponent(id)}${rest}`;
}

function jobLink(id) {
    return h("a", { class: "id", href: `#/jobs/${encodeURIComponent(id)}`, title: id },
        id.length > 20 ? id.slice(0, 16) : id);
}

// A button that cancels a job and then calls done with it.
function cancelButton(id, done) {
    const button = h("button", { type: "button", "aria-label": `Cancel ${id}` }, "Cancel");
    button.addEventListener("click", async () => {
        button.disabled = true;
        try {
            done(await send("DELETE", path(id)));
            say(`Job ${id} is cancelled.`);
        } catch (problem) {
            button.replaceWith(problemNote(problem));
        }
    });
    return button;
}

function columns(live, again) {
    return [
        { title: "Job", show: (row) => jobLink(row.id) },
        { title: "State", show: (row) => pill(row.state) },
        { title: "Stage", kind: "stage", show: (row) => {
            const place = h("span", null, row.stage);
            live.set(row.id, place);
            return place;
        } },
        { title: "Kernel", show: (row) => kernelLink(row.kernel) },
        { title: "Client", show: (row) => row.client },
        { title: "Worker", show: (row) => row.worker || "\u2013" },
        { title: "Priority", kind: "number", show: (row) => row.priority },
        { title: "Came", kind: "time", show: (row) => time(row.created_ms) },
        { title: "Changed", kind: "time", show: (row) => time(row.updated_ms) },
        { title: "", show: (row) => !over(row.state) && cancelButton(row.id, again) },
    ];
}

function stateForm(asked) {
    return h("form", { class: "search", "aria-label": "Jobs" },
        h("label", null, "State", h("select", { onchange: (event) => {
            location.hash = `#/jobs${query({ state: event.target.value })}`;
        } }, h("option", { value: "" }, "any"), STATES.map((state) =>
            h("option", { value: state, selected: state === asked.state }, state)))));
}

export async function showAll({ asked, signal }) {
    const source = `/api/v1/jobs${query({ limit: LIMIT, cursor: asked.cursor,
        state: asked.state })}`;
    const place = h("div");
    const streamed = new Set();
    let live = new Map(), shown = "";

    async function follow(id) {
        streamed.add(id);
        try {
            await listen(path(id, "/events"), (name, data) => {
                const stage = live.get(id);
                if (stage) {
                    stage.textContent = data.stage;
                }
            }, signal);
        } catch {
            // Ignored: the listing shows the state two seconds later.
        }
        streamed.delete(id);
        if (!signal.aborted) {
            await refresh();
        }
    }

    async function refresh(page) {
        page = page || await get(source, signal);
        const now = JSON.stringify(page.items.map((row) => [row.id, row.state, row.worker]));
        if (now !== shown) {
            shown = now;
            live = new Map();
            place.replaceChildren(table("Jobs", columns(live, () => refresh()), page.items),
                pager(page.next, asked.cursor,
                    (cursor) => `#/jobs${query({ ...asked, cursor })}`));
        }
        for (const row of page.items) {
            if (row.state === "LEASED" && streamed.size < STREAMS && !streamed.has(row.id)) {
                follow(row.id);
            }
        }
    }

    await refresh(await get(source, signal));
    every(EVERY_MS, () => refresh().catch(() => {}), signal);
    return h("div", null, h("h1", null, "Jobs"), stateForm(asked), place);
}

function about(job) {
    return facts([
        ["State", pill(job.state)],
        ["Kernel", kernelLink(job.kernel)],
        ["Client", job.client],
        ["Worker", job.worker],
        ["Priority", `${job.priority}`],
        ["Came", time(job.created_ms)],
        ["Changed", time(job.updated_ms)],
        ["Error", job.error && `${job.error.error}: ${job.error.message}`],
    ]);
}

function attempts(job) {
    return section("Attempts that failed", table("Attempts", [
        { title: "When", kind: "time", show: (row) => time(row.at_ms) },
        { title: "Worker", show: (row) => row.worker },
        { title: "Reason", kind: "words", show: (row) => row.reason },
    ], job.attempts || [], "None."));
}

export async function showOne({ args, signal }) {
    let job = await get(path(args[0]), signal);
    const top = h("div"), progress = h("ol", { class: "progress" });
    const bar = h("progress", { "aria-label": "Progress" });

    function fill() {
        bar.hidden = over(job.state);
        top.replaceChildren(about(job), h("p", { class: "buttons" },
            !over(job.state) && cancelButton(job.id, (now) => {
                job = now;
                fill();
            })));
    }

    // The first event has the current state, later ones its changes.
    function heard(name, data) {
        const at = progress.childElementCount > 0 ? Date.now() : job.updated_ms;
        const what = [data.state, data.stage].filter(Boolean).join(", ");
        progress.append(h("li", null, h("span", { class: "faint" }, time(at)), " ", what));
        say(`Job: ${what}`);
    }

    async function follow() {
        try {
            await listen(path(job.id, "/events"), heard, signal);
            job = await get(path(job.id), signal);
            fill();
        } catch (problem) {
            if (!signal.aborted) {
                progress.append(h("li", null, `The stream ended: ${problem.message}`));
            }
        }
    }

    fill();
    follow();
    return h("article", null, h("h1", null, "Job"), h("p", { class: "id whole" }, job.id), top,
        section("Progress", bar, progress), attempts(job));
}
