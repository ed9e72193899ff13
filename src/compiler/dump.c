/* Dumps: the concatenated texts of one level, or those of all levels as sections.
 *
 * A section is a header line and a text of the length that the header gives, so no text can be
 * mistaken for a header:
 *
 *   RS level target kernel bytes label LF
 *
 * RS is 0x1e; target and kernel are "-" where there is none. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "compiler/compile_priv.h"
#include "compiler/target/target.h"

#define SECTION "\x1e"
#define HEAD_BYTES 320

bool job_dumps_all(const struct job *job)
{
    return job->options->dump && strcmp(job->options->dump, DUMP_ALL) == 0;
}

struct strbuf *job_dump(struct job *job, const char *level, const struct unit *unit,
                        const struct kernel *kernel)
{
    if (!job_dumps_all(job))
        return job->options->dump && strcmp(job->options->dump, level) == 0 ? &job->dump : NULL;
    struct dump_part part = {.level = level,
                             .target = unit ? unit->target->name : "-",
                             .label = kernel ? kernel->group->label : "",
                             .kernel = kernel ? (uint32_t)(kernel - unit->kernels) : DUMP_NO_KERNEL,
                             .text = ARENA_NEW(job->arena, struct strbuf)};
    strbuf_init(part.text, job->arena);
    VEC_PUSH(job->arena, &job->parts, part);
    return part.text;
}

/* The start of the next module; the end of the text if there is none. */
static const char *next_module(const char *from, const char *begin)
{
    const char *next = strstr(from, begin);
    return next ? next : from + strlen(from);
}

void job_dump_modules(struct job *job, const char *level, const struct unit *unit,
                      const struct strbuf *all, const char *begin)
{
    const char *at = next_module(all->data, begin);
    for (uint32_t i = 0; i < unit->kernel_count; i++) {
        const struct kernel *k = &unit->kernels[i], *first = unit->codes.items[k->code];
        struct strbuf *text = job_dump(job, level, unit, k);
        if (k != first) {
            strbuf_printf(text, "the same code as kernel %u\n", (uint32_t)(first - unit->kernels));
            continue;
        }
        const char *end = *at ? next_module(at + 1, begin) : at;
        strbuf_add(text, at, (size_t)(end - at));
        at = end;
    }
}

void job_dump_end(struct job *job)
{
    for (uint32_t i = 0; i < job->parts.count; i++) {
        const struct dump_part *p = &job->parts.items[i];
        strbuf_printf(&job->dump, SECTION "%s %s ", p->level, p->target);
        if (p->kernel == DUMP_NO_KERNEL)
            strbuf_puts(&job->dump, "-");
        else
            strbuf_printf(&job->dump, "%u", p->kernel);
        strbuf_printf(&job->dump, " %zu %.150s\n", p->text->size_bytes, p->label);
        strbuf_add(&job->dump, p->text->data, p->text->size_bytes);
    }
}

bool dump_next(const char **at, struct dump_section *out)
{
    struct dump_section s = {.level = ""};
    char head[HEAD_BYTES], kernel[12];
    size_t length = strcspn(*at, "\n");
    int label = 0;
    if ((*at)[0] != SECTION[0] || (*at)[length] != '\n' || length >= sizeof head)
        return false;
    memcpy(head, *at + 1, length - 1);
    head[length - 1] = 0;
    if (sscanf(head, "%15s %31s %11s %zu %n", s.level, s.target, kernel, &s.size, &label) != 4 ||
        label == 0)
        return false;
    s.kernel = kernel[0] == '-' ? DUMP_NO_KERNEL : (uint32_t)strtoul(kernel, NULL, 10);
    snprintf(s.label, sizeof s.label, "%s", head + label);
    if (s.target[0] == '-')
        s.target[0] = 0;
    s.text = *at + length + 1;
    if (strnlen(s.text, s.size) < s.size)
        return false;
    *at = s.text + s.size;
    *out = s;
    return true;
}
