/* The device: features, caches, cores and the CPU's family, because machines that agree in the
 * first three may still differ in what is fast. */
#include <string.h>
#include <unistd.h>

#include "base/compiler.h"
#include "base/json.h"
#include "base/strbuf.h"
#include "package/package.h"
#include "tuner/tuner_priv.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

/* "AuthenticAMD 25 97": vendor, family, model; no stepping, no brand name. */
static void print_cpu(struct strbuf *out)
{
#if defined(__x86_64__)
    unsigned a, b, c, d;
    char vendor[13] = "";
    if (__get_cpuid(0, &a, &b, &c, &d)) {
        memcpy(vendor, &b, 4);
        memcpy(vendor + 4, &d, 4);
        memcpy(vendor + 8, &c, 4);
    }
    if (!__get_cpuid(1, &a, &b, &c, &d))
        a = 0;
    unsigned family = a >> 8 & 15, model = a >> 4 & 15;
    if (family >= 6) /* extended model and family: Intel SDM volume 2, CPUID leaf 1 */
        model |= (a >> 16 & 15) << 4;
    if (family == 15)
        family += a >> 20 & 255;
    strbuf_printf(out, "%s %u %u", vendor, family, model);
#else
    strbuf_puts(out, "unknown");
#endif
}

static json_t *size_of(int name)
{
    long value = sysconf(name);
    return json_integer(value > 0 ? value : 0);
}

void device_ask(struct arena *arena, struct device *out)
{
    struct strbuf cpu, text;
    const char *best = target_best_here();
    strbuf_init(&cpu, arena);
    strbuf_init(&text, arena);
    print_cpu(&cpu);
    json_t *device = json_object();
    json_object_set_new(device, "cores", size_of(_SC_NPROCESSORS_ONLN));
    json_object_set_new(device, "cpu", json_string(cpu.data));
    json_object_set_new(device, "features", json_string(best ? target_features(best) : ""));
    json_object_set_new(device, "l1_bytes", size_of(_SC_LEVEL1_DCACHE_SIZE));
    json_object_set_new(device, "l2_bytes", size_of(_SC_LEVEL2_CACHE_SIZE));
    json_object_set_new(device, "l3_bytes", size_of(_SC_LEVEL3_CACHE_SIZE));
    json_write_canonical(device, &text);
    json_decref(device);
    out->json = text.data;
    sha256_hex(text.data, text.size_bytes, out->fingerprint);
}
