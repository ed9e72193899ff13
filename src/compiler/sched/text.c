/* Schedules as text: "split i1 32; swap i0 i1o; vector i1i 32". */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "compiler/sched/sched_priv.h"

struct step_row {
    const char *text;
    int loops;
    bool number;
};

static const struct step_row rows[STEP_COUNT] = {
#define STEP(id, text, loops, number, doc) [STEP_##id] = {text, loops, number},
#include "compiler/sched/steps.def"
#undef STEP
};

void sched_print(const struct schedule *schedule, struct strbuf *out)
{
    for (uint32_t i = 0; i < schedule->steps.count; i++) {
        const struct step *s = &schedule->steps.items[i];
        strbuf_printf(out, "%s%s %s", i ? "; " : "", rows[s->kind].text, s->loop);
        if (rows[s->kind].loops == 2)
            strbuf_printf(out, " %s", s->other);
        if (rows[s->kind].number)
            strbuf_printf(out, " %" PRId64, s->number);
    }
}

void sched_print_refused(const struct schedule *schedule, struct strbuf *out)
{
    for (uint32_t i = 0; i < schedule->refused.count; i++) {
        struct schedule one = {0};
        struct step step = schedule->refused.items[i].step;
        one.steps.items = &step;
        one.steps.count = 1;
        strbuf_puts(out, "refused ");
        sched_print(&one, out);
        strbuf_printf(out, ": %s\n", schedule->refused.items[i].why);
    }
}

/* Copies the next word to out, which has `size` bytes; false at the end of the step, or if it is
 * longer. */
static bool next_word(const char **text, char *out, size_t size)
{
    size_t n = 0;
    while (**text == ' ')
        ++*text;
    while (**text && **text != ' ' && **text != ';') {
        if (n + 1 == size)
            return false;
        out[n++] = *(*text)++;
    }
    out[n] = 0;
    return n > 0;
}

static bool parse_step(const char **text, struct step *out, struct error *err)
{
    char word[STEP_NAME_BYTES];
    if (!next_word(text, word, sizeof word))
        return fail(err, ERR_PARSE, "a step was expected");
    *out = (struct step){0};
    for (int k = 1; k < STEP_COUNT; k++)
        if (strcmp(word, rows[k].text) == 0)
            out->kind = (uint8_t)k;
    if (out->kind == STEP_NONE)
        return fail(err, ERR_PARSE, "no step is called '%s'", word);
    if (!next_word(text, out->loop, sizeof out->loop) ||
        (rows[out->kind].loops == 2 && !next_word(text, out->other, sizeof out->other)))
        return fail(err, ERR_PARSE, "step '%s' names %d loops", word, rows[out->kind].loops);
    if (!rows[out->kind].number)
        return true;
    char *end;
    errno = 0;
    if (!next_word(text, word, sizeof word))
        return fail(err, ERR_PARSE, "step on '%s' lacks its number", out->loop);
    out->number = strtoll(word, &end, 10);
    return (*end == 0 && errno == 0) || fail(err, ERR_PARSE, "'%s' is not a number", word);
}

bool sched_parse(struct schedule *schedule, struct arena *arena, const char *text,
                 struct error *err)
{
    *schedule = (struct schedule){0};
    while (*text) {
        struct step step;
        if (!parse_step(&text, &step, err))
            return fail_at(err, "step %u", schedule->steps.count + 1);
        VEC_PUSH(arena, &schedule->steps, step);
        while (*text == ' ')
            text++;
        if (*text && *text++ != ';')
            return fail(err, ERR_PARSE, "';' was expected behind step %u", schedule->steps.count);
    }
    return true;
}

bool sched_replay(struct nest *nest, const struct schedule *schedule, struct error *err)
{
    for (uint32_t i = 0; i < schedule->steps.count; i++)
        if (!sched_apply(nest, &schedule->steps.items[i], NULL, err))
            return false;
    return true;
}
