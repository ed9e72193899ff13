/* Versions of kernels with the same blueprint, profile, precision, strategy and targets. They
 * increase with serials, since they are assigned in sequence. */
#include <string.h>

#include "registry/registry_priv.h"

bool version_find(struct catalogue *catalogue, const struct kernel_record *like, int64_t below,
                  struct arena *arena, struct kernel_record **out, struct error *err)
{
    const struct filter filters[] = {{"blueprint", FILTER_IS, like->blueprint, 0},
                                     {"profile", FILTER_IS, like->profile, 0},
                                     {"precision", FILTER_IS, like->precision, 0},
                                     {"strategy", FILTER_IS, like->strategy, 0}};
    struct query query = {.kind = RECORD_kernel,
                          .filters = filters,
                          .filter_count = 4,
                          .newest_first = true,
                          .limit = 50};
    struct records found;
    *out = NULL;
    do {
        if (!catalogue_list(catalogue, &query, arena, &found, err))
            return false;
        for (uint32_t i = 0; i < found.count; i++) {
            struct kernel_record *other = found.items[i];
            query.after = other->head.serial;
            if (strcmp(other->targets, like->targets) == 0 && other->version < below) {
                *out = other;
                return true;
            }
        }
    } while (found.count == query.limit);
    return true;
}
