// A drawing that can be panned and zoomed by wheel (with Ctrl, or while it has the focus), buttons,
// keys and pointer. It is in a shadow tree with its own style sheet, because the page's policy
// forbids style elements in a document, and so that its class names cannot clash with others.
import { h } from "./dom.js";

const STYLE = /<style>([^]*?)<\/style>/;
const LEAST = 0.05, MOST = 8, LEGIBLE = 0.7; // scales
const STEP = 60; // of an arrow, in pixels

function parse(text) {
    const style = STYLE.exec(text);
    const tree = new DOMParser().parseFromString(text.replace(STYLE, ""), "image/svg+xml");
    const picture = document.importNode(tree.documentElement, true);
    picture.removeAttribute("width");
    picture.removeAttribute("height");
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(`${style ? style[1] : ""}
        .urza-picture .paper { fill: none }
        :host { display: block }
        svg { display: block; width: 100%; height: 100% }`);
    return [picture, sheet];
}

// The part of the picture that the frame shows: its upper left corner (x, y), in units of the
// picture, and the scale in pixels per unit.
class Viewport {
    constructor(picture, frame) {
        [this.width, this.height] = picture.getAttribute("viewBox").split(/[ ,]+/).map(Number)
            .slice(2);
        Object.assign(this, { picture, frame, x: 0, y: 0, scale: 1 });
    }

    size() {
        return [this.frame.clientWidth || 640, this.frame.clientHeight || 400];
    }

    place() {
        const [wide, high] = this.size().map((pixels) => pixels / this.scale);
        this.x = wide >= this.width ? (this.width - wide) / 2 :
            Math.min(Math.max(this.x, 0), this.width - wide);
        this.y = high >= this.height ? 0 : Math.min(Math.max(this.y, 0), this.height - high);
        this.picture.setAttribute("viewBox", `${this.x} ${this.y} ${wide} ${high}`);
    }

    // The point at (px, py) of the frame stays in place.
    zoom(factor, px = this.size()[0] / 2, py = this.size()[1] / 2) {
        const before = this.scale;
        this.scale = Math.min(Math.max(before * factor, LEAST), MOST);
        this.x += px / before - px / this.scale;
        this.y += py / before - py / this.scale;
        this.place();
    }

    move(dx, dy) {
        this.x += dx / this.scale;
        this.y += dy / this.scale;
        this.place();
    }

    whole() {
        const [across, down] = this.size();
        this.scale = Math.min(across / this.width, down / this.height, 1);
        this.place();
    }

    // Shows the upper left part of the picture, as much as fits, but at a scale of at least
    // `least`.
    upper(least) {
        this.scale = Math.max(Math.min(this.size()[0] / this.width, 1), least);
        this.x = this.y = 0;
        this.place();
    }
}

function listen(frame, view, keys) {
    frame.addEventListener("keydown", (event) => {
        if (keys[event.key] && !event.ctrlKey && !event.metaKey && !event.altKey) {
            event.preventDefault();
            keys[event.key]();
        }
    });
    frame.addEventListener("wheel", (event) => {
        if (event.ctrlKey || document.activeElement === frame) {
            const box = frame.getBoundingClientRect();
            event.preventDefault();
            view.zoom(Math.exp(-event.deltaY / 400), event.clientX - box.left,
                event.clientY - box.top);
        }
    }, { passive: false });
    frame.addEventListener("pointerdown", (event) => frame.setPointerCapture(event.pointerId));
    frame.addEventListener("pointermove", (event) => {
        if (frame.hasPointerCapture(event.pointerId)) {
            view.move(-event.movementX, -event.movementY);
        }
    });
    let shown = false; // the size is known only when it is in the page
    new ResizeObserver(() => {
        if (shown) {
            view.place();
        } else {
            view.upper(LEGIBLE);
        }
        shown = true;
    }).observe(frame);
}

export function drawing(text) {
    const [picture, sheet] = parse(text);
    const frame = h("div", { class: "canvas", tabindex: "0", role: "group",
        "aria-label": "Graph. Plus and minus enlarge and shrink it, arrows move it, 0 shows " +
            "it whole, 1 at its own size." });
    const view = new Viewport(picture, frame);
    const keys = {
        "+": () => view.zoom(1.25), "=": () => view.zoom(1.25), "-": () => view.zoom(0.8),
        0: () => view.whole(), 1: () => view.upper(1),
        ArrowLeft: () => view.move(-STEP, 0), ArrowRight: () => view.move(STEP, 0),
        ArrowUp: () => view.move(0, -STEP), ArrowDown: () => view.move(0, STEP),
    };
    const shadow = frame.attachShadow({ mode: "open" });
    shadow.adoptedStyleSheets = [sheet];
    shadow.append(picture);
    listen(frame, view, keys);
    const button = (label, name, key) =>
        h("button", { type: "button", "aria-label": name, title: name, onclick: keys[key] }, label);
    return h("figure", { class: "drawing" },
        h("div", { class: "tools" }, button("+", "Enlarge", "+"),
            button("\u2212", "Shrink", "-"), button("Whole", "Show it whole", 0),
            button("1:1", "Show it at its own size", 1)),
        frame,
        h("figcaption", { class: "faint" },
            "Drag to move; Ctrl and wheel to zoom; with the focus on it: wheel, +, \u2212, " +
            "arrows, 0, 1."));
}
