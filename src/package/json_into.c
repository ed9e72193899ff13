/* A JSON tree is jansson's memory, what is made of it an arena's. An arena that runs out jumps, so
 * the tree must be freed on the way. */
#include <setjmp.h>

#include "base/json.h"
#include "package/package_priv.h"

/* Apart from its caller, so that no variable that setjmp could spoil lives in a register here. */
static bool read_guarded(struct arena *arena, json_t *root, json_reader *read, void *context,
                         struct error *err)
{
    jmp_buf *const outer = arena->oom;
    jmp_buf here;
    if (setjmp(here) != 0) {
        arena->oom = outer;
        json_decref(root);
        longjmp(*outer, 1);
    }
    arena->oom = &here;
    bool ok = read(context, root, err);
    arena->oom = outer;
    return ok;
}

bool json_read_into(struct arena *arena, const char *text, size_t size, json_reader *read,
                    void *context, struct error *err)
{
    json_t *root = json_read(text, size, err);
    if (!root)
        return false;
    /* Without a place to jump to, running out ends the process. */
    bool ok = arena->oom ? read_guarded(arena, root, read, context, err) : read(context, root, err);
    json_decref(root);
    return ok;
}
