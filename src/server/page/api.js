// Asking the registry: JSON, bytes, streams of events, with the token that this tab holds.

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
        // An answer of something between here and the registry: its status says enough.
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

// Saves what a path answers. A link would do where no token is needed.
export async function save(path, name) {
    const bytes = await (await ask(path, {})).blob();
    const link = document.createElement("a");
    link.href = URL.createObjectURL(bytes);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

// Server-sent events. EventSource cannot send a token, so the stream is read here: `heard` gets the
// name and the data of each event; resolves when the stream ends.
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

// Calls work now and every so often until signal is aborted, never twice at a time, and not while
// nobody looks at the tab.
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
