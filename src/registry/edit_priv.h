/* Edits: a change of a few records that depends on what they were, and that starts over when
 * somebody else was faster. Any number of threads. */
#ifndef URZA_REGISTRY_EDIT_PRIV_H
#define URZA_REGISTRY_EDIT_PRIV_H

#include "registry/catalogue.h"

#define EDIT_CHANGES_MOST 8

struct edit {
    struct catalogue *catalogue;
    struct arena *arena; /* of this try */
    int64_t now_ms;
    struct change changes[EDIT_CHANGES_MOST];
    struct change_record history[EDIT_CHANGES_MOST];
    uint32_t count;
};

/* Reads what it needs and says what to change (edit_put …); called again from the start when the
 * commit met a conflict. What it puts must live until edit_run returns or it is called again; the
 * edit's arena does. When that runs out, body is left by a jump. */
typedef bool edit_body(struct edit *edit, void *context, struct error *err);
/* Commits what body says; true without a commit when it says nothing. A failure of body is passed
 * on, whatever it is. ERR_BUSY when others were faster again and again; ERR_NOMEM. */
bool edit_run(struct catalogue *catalogue, int64_t now_ms, edit_body *body, void *context,
              struct error *err);

/* What is put is expected as it was read, or new. */
void edit_put(struct edit *edit, enum record_kind kind, enum expect expect, const void *record);
/* The record as it was read. */
void edit_remove(struct edit *edit, enum record_kind kind, const void *record);
/* A record of the history. Texts are borrowed. */
void edit_history(struct edit *edit, const char *subject, const char *before, const char *after,
                  const char *reason, const char *client);
/* *out NULL: there is none. */
bool edit_find(struct edit *edit, enum record_kind kind, const char *id, void **out,
               struct error *err);
/* ERR_NOT_FOUND where there is none. */
bool edit_get(struct edit *edit, enum record_kind kind, const char *id, void **out,
              struct error *err);

#endif
