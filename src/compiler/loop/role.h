/* What a loop runs over. Lowering says it of each loop it makes, a loop that a schedule step makes
 * from another has that one's, and schedules find their loops by it: names are for people. A new
 * role is a row of roles.def, what makes such loops, and what looks for them. */
#ifndef URZA_COMPILER_LOOP_ROLE_H
#define URZA_COMPILER_LOOP_ROLE_H

enum loop_role {
    OVER_NONE, /* scratch memory of a schedule, and tests */
#define ROLE(id, text, stem, doc) OVER_##id,
#include "compiler/loop/roles.def"
#undef ROLE
    OVER_COUNT
};
const char *loop_role_stem(enum loop_role role);      /* of names: "k" */
const char *loop_role_name(enum loop_role role);      /* "depth"; NULL for OVER_NONE */
enum loop_role loop_role_from_name(const char *name); /* OVER_NONE: there is none such */

#endif
