#include "fault.h"

#include "base/arena.h"
#include "base/error.h"
#include "base/strbuf.h"
#include "verify/verify.h"

const char *case_fault(const struct package_contents *contents, struct arena *arena)
{
    struct verify_report report;
    struct strbuf package;
    struct error err;
    char id[KERNEL_ID_BYTES];
    const struct verify_options options = {.seed = 4, .allow_unsigned = true};
    strbuf_init(&package, arena);
    if (!package_write(contents, NULL, &package, id, &err) ||
        !verify_package(package.data, package.size_bytes, &options, arena, &report, &err))
        return arena_strdup(arena, err.message);
    for (uint32_t i = 0; i < report.count; i++)
        if (!report.checks[i].pass)
            return report.checks[i].detail;
    return "";
}
