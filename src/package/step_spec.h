/* What a package of a whole training step says of itself: the loss, the optimizer, what is trained.
 *
 * It stands in the blueprint of the package, beside the step's graph:
 *
 *   "step": {"loss": "cross_entropy(logits)",
 *            "optimizer": {"name": "adamw", "beta1": 0.9, …},   all of its attributes; bools: 0, 1
 *            "trained": ["w", …], "frozen": ["mean", …],        the block's params, and inputs that
 *                                                               are trained
 *            "training"?: true, "running"?: ["mean", …],
 *            "clip_norm"?: 1, "loss_scale"?: 1024 or "dynamic",
 *            "schedule"?: "cosine", "steps"?: 400, "floor"?: 0.1, "warmup"?: 20}
 *
 * Nothing that runs reads it: it is for people, and for verification, which judges the graph by it.
 * Strings and lists live in the arena that they were read into. */
#ifndef URZA_PACKAGE_STEP_SPEC_H
#define URZA_PACKAGE_STEP_SPEC_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;
struct error;
struct package_contents;
struct strbuf;

#define STEP_ATTRS_MOST 16

struct step_attr {
    const char *name;
    double value;
};
struct step_spec {
    const char *loss;      /* as it was asked for */
    const char *optimizer; /* the operation's name */
    struct step_attr attrs[STEP_ATTRS_MOST];
    uint32_t attr_count;
    const char *const *trained, *const *frozen;
    const char *const *running; /* params that are running statistics, which steps update */
    uint32_t trained_count, frozen_count, running_count;
    bool training;               /* in training mode: dropout, statistics of the batch */
    double clip_norm;            /* 0: none */
    double loss_scale;           /* 0: none */
    bool dynamic_scale;          /* then loss_scale is 0 */
    const char *schedule;        /* "constant", "linear" or "cosine" */
    double warmup, steps, floor; /* 0: none */
};

/* The value of an attribute; 0 where it has none of that name. */
double step_spec_attr(const struct step_spec *spec, const char *name);
/* In one line, as compile --step and --loss take it, with all attributes: "adamw(beta1=0.9, …,
 * clip_norm=1) of cross_entropy(logits)". */
void step_spec_print(const struct step_spec *spec, struct strbuf *out);
/* As JSON; a new reference. */
json_t *step_spec_json(const struct step_spec *spec);
/* ERR_JSON: a field is missing, unknown or of another type. */
bool step_spec_parse(const json_t *object, struct arena *arena, struct step_spec *out,
                     struct error *err);
/* Of a package: NULL in *out where it is no step, or one that says nothing. As step_spec_parse. */
bool step_spec_of(const struct package_contents *contents, struct arena *arena,
                  const struct step_spec **out, struct error *err);

#endif
