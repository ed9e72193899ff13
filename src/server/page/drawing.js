// A drawing that can be moved and enlarged: wheel (with Ctrl, or once it has the focus), buttons,
// keys, pointer. It stands in a shadow tree with its own style sheet: the policy of the page allows
// no style element in a document, and the names of its classes meet no others.
import { h } from "./dom.js";

const STYLE = /<style>([^]*?)<\/style>/;

function parse(text) {
    const style = STYLE.exec(text);
    const tree = new DOMParser().parseFromString(text.replace(STYLE, ""), "image/svg+xml");
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(`${style ? style[1] : ""}
        :host { display: block } svg { display: block; width: 100%; height: 100% }`);
    return [document.importNode(tree.documentElement, true), sheet];
}

export function drawing(text) {
    const [picture, sheet] = parse(text);
    const [, , width, height] = picture.getAttribute("viewBox").split(/[ ,]+/).map(Number);
    const view = { x: 0, y: 0, scale: 1 }; // of the left upper corner, in the picture's units
    const host = h("div", { class: "canvas", tabindex: "0", role: "group",
        "aria-label": "Graph. Plus and minus enlarge and shrink it, arrows move it, 0 shows " +
            "it whole, 1 at its own size." });
    const frame = () => [host.clientWidth || 640, host.clientHeight || 400];

    function place() {
        const [across, down] = frame();
        const wide = across / view.scale, high = down / view.scale;
        view.x = wide >= width ? (width - wide) / 2 : Math.min(Math.max(view.x, 0), width - wide);
        view.y = high >= height ? 0 : Math.min(Math.max(view.y, 0), height - high);
        picture.setAttribute("viewBox", `${view.x} ${view.y} ${wide} ${high}`);
    }

    // Keeps the point at (px, py) of the frame where it is.
    function zoom(factor, px = frame()[0] / 2, py = frame()[1] / 2) {
        const before = view.scale;
        view.scale = Math.min(Math.max(before * factor, 0.05), 8);
        view.x += px / before - px / view.scale;
        view.y += py / before - py / view.scale;
        place();
    }

    function whole() {
        const [across, down] = frame();
        Object.assign(view, { x: 0, y: 0, scale: Math.min(across / width, down / height, 1) });
        place();
    }

    // To begin with: as wide as there is room, but large enough to read.
    function actual(least = 1) {
        const scale = Math.max(Math.min(frame()[0] / width, 1), least);
        Object.assign(view, { x: Math.max(0, (width - frame()[0] / scale) / 2), y: 0, scale });
        place();
    }

    function move(dx, dy) {
        view.x += dx / view.scale;
        view.y += dy / view.scale;
        place();
    }

    const keys = {
        "+": () => zoom(1.25), "=": () => zoom(1.25), "-": () => zoom(0.8), 0: whole,
        1: () => actual(), ArrowLeft: () => move(-60, 0), ArrowRight: () => move(60, 0),
        ArrowUp: () => move(0, -60), ArrowDown: () => move(0, 60),
    };
    host.addEventListener("keydown", (event) => {
        if (keys[event.key] && !event.ctrlKey && !event.metaKey && !event.altKey) {
            event.preventDefault();
            keys[event.key]();
        }
    });
    host.addEventListener("wheel", (event) => {
        if (event.ctrlKey || document.activeElement === host) {
            const box = host.getBoundingClientRect();
            event.preventDefault();
            zoom(Math.exp(-event.deltaY / 400), event.clientX - box.left, event.clientY - box.top);
        }
    }, { passive: false });
    host.addEventListener("pointerdown", (event) => host.setPointerCapture(event.pointerId));
    host.addEventListener("pointermove", (event) => {
        if (host.hasPointerCapture(event.pointerId)) {
            move(-event.movementX, -event.movementY);
        }
    });
    picture.removeAttribute("width");
    picture.removeAttribute("height");
    const shadow = host.attachShadow({ mode: "open" });
    shadow.adoptedStyleSheets = [sheet];
    shadow.append(picture);
    let shown = false; // its size is known only once it stands in the page
    new ResizeObserver(() => {
        (shown ? place : () => actual(0.7))();
        shown = true;
    }).observe(host);
    const button = (label, name, work) =>
        h("button", { type: "button", "aria-label": name, title: name, onclick: work }, label);
    return h("figure", { class: "drawing" },
        h("div", { class: "tools" }, button("+", "Enlarge", keys["+"]),
            button("\u2212", "Shrink", keys["-"]), button("Whole", "Show it whole", whole),
            button("1:1", "Show it at its own size", keys[1])),
        host,
        h("figcaption", { class: "faint" },
            "Drag to move; Ctrl and wheel to zoom; with the focus on it: wheel, +, \u2212, " +
            "arrows, 0, 1."));
}
