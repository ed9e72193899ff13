/* A walk, for the files that make it: walk.c and walk_loop.c. */
#ifndef URZA_VERIFY_WALK_PRIV_H
#define URZA_VERIFY_WALK_PRIV_H

#include "verify/verify_priv.h"

struct walk {
    const struct target_case *target;
    struct care glance, drawn, usual, closely; /* on the network's values */
    struct care far, alone;                    /* on test arguments */
    struct far_blocks blocks;
    int64_t elements, checked;     /* of results at this size */
    struct kernel_result *results; /* by launch */
    char *stage;                   /* the launch that is running, as text */
    void *code;
    struct fenced *buffers; /* by buffer of the plan; closed: not written yet, or dead */
    bool *judged;           /* by launch that is the first of its kind: judged at this size */
    uint32_t *made_by; /* by buffer: 1 + the prepare launch that writes it, from parameters alone */
    VEC(uint32_t) kept; /* open buffers that can be had again (can_reopen) … */
    size_t kept_bytes;  /* … and their sizes together */
    struct fence_pool pool;
    bool prepared, partial; /* partial: of some launch only a share ran, at this size */
    double share_work;
    enum judging judging; /* at this size */
};

/* A sealed block with this content. */
bool walk_place(struct walk *walk, struct fenced *out, const void *data, size_t bytes,
                struct error *err);
/* Opens a buffer that can be had again; other buffers stay as they are. */
bool walk_open_buffer(struct walk *walk, uint32_t id, const int64_t *dims, struct arena *arena,
                      struct outcome *outcome);
/* Opens what a launch reads and can be had again. */
bool walk_open_arguments(struct walk *walk, const struct launch_case *c, const int64_t *dims,
                         struct arena *arena, struct outcome *outcome);
/* Closes buffers that can be had again, where too many are open. */
void walk_close_kept(struct walk *walk);
struct run walk_run_of(struct walk *walk, const struct launch_case *c, const int64_t *dims);
void walk_name_stage(const struct walk *walk, uint32_t index);
/* Runs one launch on the buffers; its results become the buffers that later launches read. again:
 * it ran, and was judged, before. */
bool walk_launch(struct walk *walk, uint32_t index, const int64_t *dims, bool again,
                 struct arena *arena, struct outcome *outcome);

/* walk_loop.c: runs all trips of a loop. */
bool walk_loop(struct walk *walk, const struct plan_loop *loop, const int64_t *dims,
               struct arena *arena, struct outcome *outcome);

#endif
