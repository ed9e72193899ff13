/* What the parts of the profile room share. */
#ifndef URZA_PROFILE_PRIV_H
#define URZA_PROFILE_PRIV_H

#include "package/package.h"
#include "profile/profile.h"

/* A package in the runtime, at one size, with tensors to call it with. */
struct loaded {
    const void *bytes; /* of the package; borrowed, like the options */
    size_t size;
    const struct profile_options *options;
    urza_module *module;
    struct graph graph;
    int64_t dims[LIMIT_NAMED_DIMS];
    DLTensor *inputs, *outputs;
};
/* All but the module in the arena. What the runtime refuses is refused; ERR_LIMIT, ERR_USAGE for
 * dims. loaded_close in any case. */
bool loaded_open(struct loaded *out, const void *bytes, size_t size,
                 const struct profile_options *options, struct arena *arena, struct error *err);
bool loaded_call(struct loaded *loaded, struct error *err);
void loaded_close(struct loaded *loaded);
/* The plan of the code that runs, read from the package again; NULL where calls are interpreted.
 * False after failing *err. */
bool loaded_plan(const struct loaded *loaded, struct arena *arena, const struct plan **out,
                 struct error *err);
/* An error of the runtime as one of ours; false. */
bool fail_as(const urza_error *from, struct error *err);

/* Sorts them. 0 when there are none. */
double median_of(double *values, uint32_t count);

/* "B=32,S=16" */
void print_dims(const struct dim_table *dims, const int64_t *values, char *out, size_t size);

#endif
