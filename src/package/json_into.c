/* A JSON tree is in jansson's memory; what is read from it goes into an arena. An arena without
 * memory jumps out, so the jump is caught here to free the tree. */
#include <setjmp.h>

#include "base/json.h"
#include "package/package_priv.h"

/* A function of its own, so that no local variable of the caller can be lost when setjmp returns a
 * second time. */
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
    /* Without a jump target, running out of memory ends the process, and there is nothing to
     * catch. */
    bool ok = arena->oom ? read_guarded(arena, root, read, context, err) : read(context, root, err);
    json_decref(root);
    return ok;
}
