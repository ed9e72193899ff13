// Values as text.

function digits(value) {
    return Number(value.toPrecision(3)).toString();
}

export function bytes(count) {
    const units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let unit = 0;
    while (count >= 1024 && unit < units.length - 1) {
        count /= 1024;
        unit++;
    }
    return unit === 0 ? `${count} B` : `${count.toFixed(1)} ${units[unit]}`;
}

export function ms(value) {
    if (value >= 1000) {
        return `${(value / 1000).toFixed(2)} s`;
    }
    return value >= 10 || value === 0 ? `${value.toFixed(0)} ms` : `${digits(value)} ms`;
}

export function us(value) {
    if (!(value > 0)) {
        return "\u2013";
    }
    return value >= 1000 ? `${digits(value / 1000)} ms` : `${digits(value)} \u00b5s`;
}

// Size of a call's temporaries; 0: there are none, or the size is unknown.
export function memory(count) {
    return count > 0 ? bytes(count) : "\u2013";
}

// "x86-64-v2, v3, v4": a common prefix is not repeated.
export function targets(names) {
    const short = names.map((name, index) => {
        const at = name.lastIndexOf("-") + 1;
        return index > 0 && names[index - 1].startsWith(name.slice(0, at)) ? name.slice(at) : name;
    });
    return short.join(", ") || "no code";
}

export function share(value) {
    return `${(100 * value).toFixed(1)} %`;
}

export function count(value) {
    return value.toLocaleString("en");
}

export function figure(value) {
    return value === 0 || Number.isInteger(value) ? String(value) : value.toPrecision(3);
}

function two(value) {
    return String(value).padStart(2, "0");
}

// In the reader's time zone: the time of day, with the date before it unless it is today.
export function time(at) {
    const when = new Date(at);
    const hour = `${two(when.getHours())}:${two(when.getMinutes())}:${two(when.getSeconds())}`;
    if (when.toDateString() === new Date().toDateString()) {
        return hour;
    }
    return `${when.getFullYear()}-${two(when.getMonth() + 1)}-${two(when.getDate())} ${hour}`;
}

export function span(seconds) {
    const minutes = Math.floor(seconds / 60);
    const days = Math.floor(minutes / 1440);
    const rest = `${Math.floor(minutes / 60) % 24} h ${minutes % 60} min`;
    return days > 0 ? `${days} d ${rest}` : rest;
}
