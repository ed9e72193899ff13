// Names of kernels. They are not in the records but in the packages' manifests. An id is the digest
// of a manifest, so names can be cached.
import { get } from "./api.js";

const AT_A_TIME = 4;

const known = new Map();

// Retired and evicted kernels have no package that can be read.
export function readable(kernel) {
    return kernel.object !== "" && kernel.status !== "RETIRED";
}

async function ask(id, signal) {
    try {
        const manifest = await get(`/kernel/${encodeURIComponent(id)}/manifest`, signal);
        known.set(id, manifest.name || "");
    } catch {
        // It is shown without a name, and requested again the next time.
    }
}

// Resolves when the names of these kernels are known, or cannot be found.
export async function learn(kernels, signal) {
    const wanted = kernels.filter((kernel) => readable(kernel) && !known.has(kernel.id));
    const work = async () => {
        while (wanted.length > 0) {
            await ask(wanted.shift().id, signal);
        }
    };
    await Promise.all(Array.from({ length: AT_A_TIME }, work));
}

export function nameOf(id) {
    return known.get(id) || "\u2013";
}
