/* Shared by the files of the profile room. */
#ifndef URZA_PROFILE_PRIV_H
#define URZA_PROFILE_PRIV_H

#include "package/package.h"
#include "profile/profile.h"

/* A package loaded in the runtime, with tensors to call it at one size. */
struct loaded {
    const void *bytes; /* of the package, or of its training step; borrowed */
    size_t size;
    urza_load_options load;
    const struct package_contents *block; /* of a training step: the package that it is part of */
    urza_module *module;
    struct graph graph;
    int64_t dims[LIMIT_NAMED_DIMS];
    DLTensor *inputs, *outputs; /* outputs: of a package that updates inputs, those that do not */
    uint32_t output_count;
};
/* Everything but the module is in the arena. Fails as the runtime does; ERR_LIMIT, ERR_USAGE for
 * dims. Call loaded_close in any case. */
bool loaded_open(struct loaded *out, const void *bytes, size_t size,
                 const struct profile_options *options, struct arena *arena, struct error *err);
/* A call, or a step where outputs update inputs. */
bool loaded_call(struct loaded *loaded, struct error *err);
void loaded_close(struct loaded *loaded);
/* Reads the plan of the running code from the package again; NULL where calls are interpreted.
 * False after failing *err. */
bool loaded_plan(const struct loaded *loaded, struct arena *arena, const struct plan **out,
                 struct error *err);
/* Converts an error of the runtime; returns false. */
bool fail_as(const urza_error *from, struct error *err);

/* The median; sorts the values. 0 when there are none. */
double median_of(double *values, uint32_t count);

/* "B=32,S=16" */
void print_dims(const struct dim_table *dims, const int64_t *values, char *out, size_t size);

#endif
