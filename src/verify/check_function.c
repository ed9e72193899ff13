#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "verify/verify_priv.h"

/* "y[3,17]" */
static void print_place(const struct sample *sample, uint32_t output, int64_t flat, char *out,
                        size_t size)
{
    const struct tensor *tensor = &sample->outputs[output];
    int64_t index[LIMIT_RANK];
    for (uint32_t i = tensor->rank; i-- > 0;) {
        int64_t dim = tensor->shape[i] > 0 ? tensor->shape[i] : 1;
        index[i] = flat % dim;
        flat /= dim;
    }
    int used = snprintf(out, size, "%.64s[", sample->graph->outputs.items[output].name);
    for (uint32_t i = 0; i < tensor->rank; i++)
        used += snprintf(out + used, size - (size_t)used, "%s%lld", i > 0 ? "," : "",
                         (long long)index[i]);
    snprintf(out + used, size - (size_t)used, "]");
}

void check_function(const struct subject *subject, struct outcome *out)
{
    const struct sample *sample = subject->sample;
    struct arena arena;
    urza_module *module = NULL;
    void **outputs;
    arena_init(&arena);
    out->bound = 1;
    if (subject_load(subject, 1, &module, out) &&
        subject_call(subject, sample, module, &arena, &outputs, out)) {
        struct interp_difference worst;
        uint32_t output;
        int64_t total = 0;
        char place[320] = "";
        sample_compare(sample, outputs, &worst, &output);
        for (uint32_t i = 0; i < sample->output_count; i++)
            total += sample->outputs[i].count;
        if (sample->output_count > 0)
            print_place(sample, output, worst.worst_index, place, sizeof place);
        out->figure = worst.worst_ratio;
        out->pass = worst.worst_ratio <= 1;
        if (worst.worst_ratio > 0)
            snprintf(out->detail, sizeof out->detail,
                     "worst at %s: off by %.3g, bound %.3g; %lld of %lld elements undetermined",
                     place, worst.worst_absolute, worst.worst_bound, (long long)worst.undetermined,
                     (long long)total);
        else if (worst.undetermined > 0)
            snprintf(out->detail, sizeof out->detail, "%lld of %lld elements undetermined",
                     (long long)worst.undetermined, (long long)total);
    }
    urza_unload(module);
    arena_release(&arena);
}
