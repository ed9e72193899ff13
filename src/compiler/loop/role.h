/* What a loop runs over. Lowering sets it on each loop it makes, a schedule step that derives a
 * loop from another copies it, and heuristics find loops by it; names are for people only. A new
 * role is a row of roles.def, a place that makes such loops and a place that looks for them. */
#ifndef URZA_COMPILER_LOOP_ROLE_H
#define URZA_COMPILER_LOOP_ROLE_H

enum loop_role {
    OVER_NONE, /* loops that schedule steps add for scratch memory, and tests */
#define ROLE(id, text, stem, doc) OVER_##id,
#include "compiler/loop/roles.def"
#undef ROLE
    OVER_COUNT
};
const char *loop_role_stem(enum loop_role role);      /* prefix of loop names: "k" */
const char *loop_role_name(enum loop_role role);      /* "depth"; NULL for OVER_NONE */
enum loop_role loop_role_from_name(const char *name); /* OVER_NONE: no role of that name */

#endif
