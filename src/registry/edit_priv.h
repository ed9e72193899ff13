/* Edits: changes of a few records that depend on their current content, and that start over when
 * others have changed them meanwhile. Any number of threads. */
#ifndef URZA_REGISTRY_EDIT_PRIV_H
#define URZA_REGISTRY_EDIT_PRIV_H

#include "registry/catalogue.h"

#define EDIT_CHANGES_MOST 8

struct edit {
    struct catalogue *catalogue;
    struct arena *arena; /* of the current attempt */
    int64_t now_ms;
    struct change changes[EDIT_CHANGES_MOST];
    struct change_record history[EDIT_CHANGES_MOST];
    uint32_t count;
};

/* Reads records and queues changes (edit_put …); called again from the start when the commit met a
 * conflict. Records that it puts must live until edit_run returns or body is called again; the
 * edit's arena does. When that arena runs out of memory, body is left by a jump. */
typedef bool edit_body(struct edit *edit, void *context, struct error *err);
/* Commits the changes of body; true without a commit if there are none. A failure of body is
 * returned as it is. ERR_BUSY when others were faster too often; ERR_NOMEM. */
bool edit_run(struct catalogue *catalogue, int64_t now_ms, edit_body *body, void *context,
              struct error *err);

/* Queues a put, expecting the record to be unchanged, or new. */
void edit_put(struct edit *edit, enum record_kind kind, enum expect expect, const void *record);
/* Queues a removal, expecting the record to be unchanged. */
void edit_remove(struct edit *edit, enum record_kind kind, const void *record);
/* Queues a record of the history. Texts are borrowed. */
void edit_history(struct edit *edit, const char *subject, const char *before, const char *after,
                  const char *reason, const char *client);
/* *out NULL: no such record. */
bool edit_find(struct edit *edit, enum record_kind kind, const char *id, void **out,
               struct error *err);
/* As edit_find, but ERR_NOT_FOUND if there is no such record. */
bool edit_get(struct edit *edit, enum record_kind kind, const char *id, void **out,
              struct error *err);

#endif
