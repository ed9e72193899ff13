// Requests to the registry: JSON, bytes, event streams, with the token that is stored in this tab.

const KEY = "urza-token";

export class Problem extends Error {
    constructor(status, body) {
        super(body.message || `status ${status}`);
        this.status = status;
        this.kind = body.error || "Error";
        this.request = body.request_id || "";
    }
}

export function token() {
    return sessionStorage.getItem(KEY) || "";
}

export function setToken(text) {
    if (text) {
        sessionStorage.setItem(KEY, text);
    } else {
        sessionStorage.removeItem(KEY);
    }
}

function headers(more) {
    const held = token();
    return held ? { Authorization: `Bearer ${held}`, ...more } : { ...more };
}

async function ask(path, options) {
    const answer = await fetch(path, { ...options, headers: headers(options.headers) });
    if (answer.ok) {
        return answer;
    }
    let body = {};
    try {
        body = await answer.json();
    } catch {
        // The answer of a proxy: only its status is used.
    }
    throw new Problem(answer.status, body);
}

export async function get(path, signal) {
    return (await ask(path, { signal })).json();
}

export async function text(path, signal) {
    return (await ask(path, { signal })).text();
}

export async function send(method, path) {
    return (await ask(path, { method })).json();
}

// Saves the answer of a path as a file. Not a link, since a link cannot send a token.
export async function save(path, name) {
    const bytes = await (await ask(path, {})).blob();
    const link = document.createElement("a");
    link.href = URL.createObjectURL(bytes);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

// Server-sent events. EventSource cannot send a token, so the stream is parsed here: `heard` is
// called with the name and data of each event. Resolves when the stream ends.
export async function listen(path, heard, signal) {
    const answer = await ask(path, { signal, headers: { Accept: "text/event-stream" } });
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
        const { value, done } = await reader.read();
        if (done) {
            return;
        }
        const blocks = (rest + value).split("\n\n");
        rest = blocks.pop();
        for (const block of blocks) {
            const fields = Object.fromEntries(block.split("\n").map((line) => {
                const at = line.indexOf(": ");
                return [line.slice(0, at), line.slice(at + 2)];
            }));
            heard(fields.event, JSON.parse(fields.data));
        }
    }
}

export function query(fields) {
    const given = Object.entries(fields).filter(([, value]) => value !== "" && value != null);
    return given.length > 0 ? `?${new URLSearchParams(given)}` : "";
}

// Calls work now and then repeatedly until signal is aborted; calls never overlap, and pause while
// the tab is hidden.
export function every(ms, work, signal) {
    let timer = 0;
    async function turn() {
        if (!document.hidden) {
            await work();
        }
        if (!signal.aborted) {
            timer = setTimeout(turn, ms);
        }
    }
    signal.addEventListener("abort", () => clearTimeout(timer));
    timer = setTimeout(turn, ms);
}
