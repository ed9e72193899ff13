/* The device: CPU features, cache sizes, cores, and the model of the CPU, because machines with the
 * same features, caches and cores may still differ in which config is fastest. */
#include <string.h>
#include <unistd.h>

#include "base/child.h"
#include "base/cpu.h"
#include "base/json.h"
#include "base/strbuf.h"
#include "package/package.h"
#include "tuner/tuner_priv.h"

static void print_size(const char *key, int name, struct strbuf *out)
{
    long value = sysconf(name);
    strbuf_printf(out, ",\"%s\":%ld", key, value > 0 ? value : 0);
}

void device_ask(struct arena *arena, struct device *out)
{
    struct strbuf text;
    char cpu[64];
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    const char *best = target_best_here(), *features = best ? target_features(best) : "";
    cpu_model(cpu, sizeof cpu);
    child_clean(cpu, true);
    strbuf_init(&text, arena);
    strbuf_printf(&text, "{\"cores\":%ld,\"cpu\":", cores > 0 ? cores : 0);
    json_write_string(cpu, strlen(cpu), &text);
    strbuf_puts(&text, ",\"features\":");
    json_write_string(features, strlen(features), &text);
    print_size("l1_bytes", _SC_LEVEL1_DCACHE_SIZE, &text);
    print_size("l2_bytes", _SC_LEVEL2_CACHE_SIZE, &text);
    print_size("l3_bytes", _SC_LEVEL3_CACHE_SIZE, &text);
    strbuf_puts(&text, "}");
    out->json = text.data;
    sha256_hex(text.data, text.size_bytes, out->fingerprint);
}
