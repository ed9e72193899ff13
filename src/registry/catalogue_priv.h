/* Shared by the catalogue's drivers: the fields of a record by their rows, records in one block of
 * memory, and catching arenas that run out of memory while a lock is held. */
#ifndef URZA_REGISTRY_CATALOGUE_PRIV_H
#define URZA_REGISTRY_CATALOGUE_PRIV_H

#include "registry/catalogue.h"

extern const struct catalogue_driver catalogue_memory, catalogue_sqlite;

static inline const char **record_text(const void *record, const struct record_field *field)
{
    return (const char **)((const char *)record + field->offset);
}

static inline int64_t *record_integer(const void *record, const struct record_field *field)
{
    return (int64_t *)((const char *)record + field->offset);
}

static inline double *record_real(const void *record, const struct record_field *field)
{
    return (double *)((const char *)record + field->offset);
}

static inline bool field_is_text(const struct record_field *field)
{
    return field->type == FIELD_TEXT || field->type == FIELD_LIST || field->type == FIELD_JSON;
}

/* A record followed by its texts in one block: its size, and copying a record into it. */
size_t record_bytes(enum record_kind kind, const void *record);
void record_pack(enum record_kind kind, const void *record, void *out);

/* Whether a change's expectation holds if the stored record has this revision; 0: there is none.
 * ERR_CONFLICT. */
bool expectation_holds(const struct change *change, int64_t revision, struct error *err);

#endif
