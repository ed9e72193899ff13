/* The device: features, caches, cores and the CPU's family, because machines that agree in the
 * first three may still differ in what is fast. */
#include <string.h>
#include <unistd.h>

#include "base/cpu.h"
#include "base/json.h"
#include "base/strbuf.h"
#include "package/package.h"
#include "tuner/tuner_priv.h"

static json_t *size_of(int name)
{
    long value = sysconf(name);
    return json_integer(value > 0 ? value : 0);
}

void device_ask(struct arena *arena, struct device *out)
{
    struct strbuf text;
    char cpu[64];
    const char *best = target_best_here();
    strbuf_init(&text, arena);
    cpu_model(cpu, sizeof cpu);
    json_t *device = json_object();
    json_object_set_new(device, "cores", size_of(_SC_NPROCESSORS_ONLN));
    json_object_set_new(device, "cpu", json_string(cpu));
    json_object_set_new(device, "features", json_string(best ? target_features(best) : ""));
    json_object_set_new(device, "l1_bytes", size_of(_SC_LEVEL1_DCACHE_SIZE));
    json_object_set_new(device, "l2_bytes", size_of(_SC_LEVEL2_CACHE_SIZE));
    json_object_set_new(device, "l3_bytes", size_of(_SC_LEVEL3_CACHE_SIZE));
    json_write_canonical(device, &text);
    json_decref(device);
    out->json = text.data;
    sha256_hex(text.data, text.size_bytes, out->fingerprint);
}
