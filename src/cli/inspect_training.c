/* What urza inspect says of a training step: which gradients there are, how many launches its two
 * parts are, and what memory they take between them and at most. */
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/strbuf.h"
#include "cli/cli_priv.h"
#include "cli/inspect_priv.h"
#include "verify/verify.h"

/* Bytes of temporaries at typical sizes. */
struct memory {
    int64_t saved; /* written by forward_train and read by backward */
    int64_t alive; /* at one time, in the launch where that is most */
};

static bool buffer_bytes(const struct plan *plan, const struct plan_buffer *buffer,
                         const int64_t *dims, int64_t *out)
{
    return dim_eval(plan->dims, buffer->elements, dims, out) && *out >= 0 &&
           checked_mul_i64(*out, (int64_t)dtype_bytes((enum dtype)buffer->dtype), out);
}

/* Sums up what begins in each launch, and takes away what ended in the one before. */
static bool measure(struct cli *cli, const struct plan *plan, uint32_t forward, const int64_t *dims,
                    struct memory *out)
{
    int64_t *change = ARENA_ARRAY(cli->arena, int64_t, plan->forward.count + 1);
    struct memory memory = {0};
    int64_t now = 0, all = 0, bytes = 0;
    for (uint32_t i = 0; i < plan->buffers.count; i++) {
        const struct plan_buffer *b = &plan->buffers.items[i];
        if (b->kind != BUFFER_TEMP || b->displaced || b->first_launch > b->last_launch)
            continue;
        if (!buffer_bytes(plan, b, dims, &bytes) || !checked_add_i64(all, bytes, &all))
            return false;
        change[b->first_launch] += bytes;
        change[b->last_launch + 1] -= bytes;
        memory.saved += b->first_launch < forward && b->last_launch >= forward ? bytes : 0;
    }
    for (uint32_t i = 0; i < plan->forward.count; i++) {
        now += change[i];
        memory.alive = now > memory.alive ? now : memory.alive;
    }
    *out = memory;
    return true;
}

/* The numbers of one target; false: sizes have no value. */
static bool look_at(struct cli *cli, const struct package_contents *step, uint32_t target,
                    struct plan_entry entries[2], struct memory *out)
{
    const struct plan *plan = &step->targets[target].plan;
    int64_t dims[LIMIT_NAMED_DIMS];
    struct error none;
    return plan_find_entry(plan, "forward_train", &entries[0]) &&
           plan_find_entry(plan, "backward", &entries[1]) &&
           dims_choose(&step->graph.dims, NULL, dims, &none) &&
           measure(cli, plan, entries[0].count, dims, out);
}

/* The names behind the outputs of the block. */
static const char *gradient_name(const struct package_contents *contents, uint32_t index)
{
    const struct graph *step = &contents->step->graph;
    uint32_t at = contents->graph.outputs.count + index;
    return at < step->outputs.count ? step->outputs.items[at].name + strlen(PACKAGE_GRAD) : NULL;
}

/* What runs again, at typical sizes; false: it is not known, or nothing does. */
static bool count_again(struct cli *cli, const struct package_contents *step, uint32_t target,
                        struct plan_again *out)
{
    int64_t dims[LIMIT_NAMED_DIMS];
    struct error none;
    return dims_choose(&step->graph.dims, NULL, dims, &none) &&
           plan_count_again(&step->targets[target].plan, dims, cli->arena, out) &&
           out->launches > 0;
}

static double percent(const struct plan_again *again)
{
    return again->others > 0 ? 100 * (double)again->operations / (double)again->others : 0;
}

void inspect_again(struct cli *cli, const void *package, size_t size, struct strbuf *out)
{
    const struct trust trust = {TRUST_ALLOW_UNSIGNED, NULL};
    struct package_contents *contents = ARENA_NEW(cli->arena, struct package_contents);
    struct plan_again again;
    const uint8_t *training;
    size_t bytes;
    struct error none;
    /* the training step is a package of its own, unsigned */
    if (!package_entry(package, size, "training", &training, &bytes, &none) ||
        !package_read(training, bytes, &trust, cli->arena, contents, &none))
        return;
    for (uint32_t i = 0; i < contents->target_count; i++)
        if (count_again(cli, contents, i, &again))
            strbuf_printf(out, "%s: %u launches run again in backward, %.3g %% more operations\n",
                          contents->targets[i].name, again.launches, percent(&again));
}

json_t *inspect_training(struct cli *cli, const struct package_contents *contents)
{
    if (!contents->step)
        return json_null();
    json_t *object = json_object(), *gradients = json_array(), *targets = json_array();
    const char *name;
    for (uint32_t i = 0; (name = gradient_name(contents, i)) != NULL; i++)
        json_array_append_new(gradients, report_text(name));
    for (uint32_t i = 0; i < contents->step->target_count; i++) {
        struct plan_entry entries[2];
        struct memory memory;
        struct plan_again again = {0};
        if (!look_at(cli, contents->step, i, entries, &memory))
            continue;
        bool known = count_again(cli, contents->step, i, &again);
        json_array_append_new(
            targets,
            json_pack("{s:s,s:i,s:i,s:I,s:I,s:i,s:o}", "name", contents->targets[i].name,
                      "forward_train", (int)entries[0].count, "backward", (int)entries[1].count,
                      "saved_bytes", (json_int_t)memory.saved, "alive_bytes",
                      (json_int_t)memory.alive, "again", (int)again.launches, "again_percent",
                      report_number(known ? percent(&again) : 0)));
    }
    json_object_set_new(object, "gradients", gradients);
    json_object_set_new(object, "targets", targets);
    json_object_set_new(object, "specialised", inspect_specials(contents->step));
    return object;
}

void inspect_training_print(struct cli *cli, const struct package_contents *contents)
{
    const char *name;
    if (!contents->step)
        return;
    report_lines(stdout, "%-9s gradients by", "training");
    for (uint32_t i = 0; (name = gradient_name(contents, i)) != NULL; i++)
        report_lines(stdout, "%s %s", i > 0 ? "," : "", report_word(cli, name));
    report_lines(stdout, "\n");
    for (uint32_t i = 0; i < contents->step->target_count; i++) {
        struct plan_entry entries[2];
        struct memory memory;
        struct plan_again again;
        if (!look_at(cli, contents->step, i, entries, &memory))
            continue;
        report_lines(stdout,
                     "%-9s %s  forward_train %u launches, backward %u; %lld bytes saved in "
                     "between, at most %lld at one time\n",
                     "", contents->targets[i].name, entries[0].count, entries[1].count,
                     (long long)memory.saved, (long long)memory.alive);
        if (count_again(cli, contents->step, i, &again))
            report_lines(stdout,
                         "%-9s %s  %u launches run again in backward, %.3g %% more operations\n",
                         "", contents->targets[i].name, again.launches, percent(&again));
        inspect_specials_print(cli, &contents->step->targets[i]);
    }
}
