/* Objects between their store and the catalogue.
 *
 * A publisher first puts an object, and then commits the record that refers to it. In between the
 * object is an orphan that must not be removed. Two mechanisms ensure this:
 *
 *   1. Within a process: flights. A publisher's flight lasts from before put until after its
 * commit; a removal's from before it looks for references until after the removal. The two exclude
 * each other for the same digest, so a removal sees the commits of all publishers before it, and a
 *      publisher puts the object after all removals before it.
 *   2. Between processes: an orphan put less than GRACE_MS ago is not removed (tend.c). */
#include <string.h>

#include "registry/registry_priv.h"

static struct flight *find(const struct registry *registry, const char *digest, bool removing)
{
    struct flight *flight = registry->flights;
    while (flight && (flight->removing != removing || strcmp(flight->digest, digest) != 0))
        flight = flight->next;
    return flight;
}

void flight_begin(struct registry *registry, struct flight *flight, const char *digest)
{
    pthread_mutex_lock(&registry->flights_mutex);
    while (find(registry, digest, true))
        pthread_cond_wait(&registry->flight_ended, &registry->flights_mutex);
    *flight = (struct flight){.next = registry->flights, .digest = digest};
    registry->flights = flight;
    pthread_mutex_unlock(&registry->flights_mutex);
}

static bool removal_begin(struct registry *registry, struct flight *flight, const char *digest)
{
    pthread_mutex_lock(&registry->flights_mutex);
    bool ok = !find(registry, digest, false) && !find(registry, digest, true);
    if (ok) {
        *flight = (struct flight){.next = registry->flights, .digest = digest, .removing = true};
        registry->flights = flight;
    }
    pthread_mutex_unlock(&registry->flights_mutex);
    return ok;
}

void flight_end(struct registry *registry, struct flight *flight)
{
    if (!flight->digest)
        return;
    pthread_mutex_lock(&registry->flights_mutex);
    struct flight **at = &registry->flights;
    while (*at != flight)
        at = &(*at)->next;
    *at = flight->next;
    pthread_cond_broadcast(&registry->flight_ended);
    pthread_mutex_unlock(&registry->flights_mutex);
    flight->digest = NULL;
}

bool object_put(struct registry *registry, const char *digest, const void *data, size_t size,
                struct error *err)
{
    return registry->blobs->driver->put(registry->blobs, digest, data, size, err);
}

bool object_look(struct registry *registry, const char *digest, enum object_state *out,
                 struct blob *out_blob, struct error *err)
{
    struct blobs *blobs = registry->blobs;
    struct blob blob;
    struct error failure;
    uint8_t expected[SHA256_BYTES], found[SHA256_BYTES];
    *out = OBJECT_GONE;
    if (!hex_decode(digest, expected, sizeof expected))
        return true;
    if (!blobs->driver->get(blobs, digest, &blob, &failure)) {
        if (failure.code == ERR_NOT_FOUND)
            return true;
        *out = OBJECT_NONE;
        *err = failure;
        return false;
    }
    sha256(blob.data, blob.size_bytes, found);
    *out = memcmp(found, expected, sizeof found) == 0 ? OBJECT_WHOLE : OBJECT_DAMAGED;
    if (*out == OBJECT_WHOLE && out_blob)
        *out_blob = blob;
    else
        blobs->driver->release(blobs, &blob);
    return true;
}

static bool field_refers(struct registry *registry, enum record_kind kind,
                         const struct record_field *field, const char *digest, bool *out,
                         struct error *err)
{
    const struct filter filter = {field->name, FILTER_IS, digest, 0};
    const struct query query = {.kind = kind, .filters = &filter, .filter_count = 1, .limit = 1};
    struct totals totals = {0};
    if (!catalogue_total(registry->catalogue, &query, NULL, &totals, err))
        return false;
    *out = totals.count > 0;
    return true;
}

bool object_referenced(struct registry *registry, const char *digest, bool *out, struct error *err)
{
    *out = false;
    for (int kind = RECORD_NONE + 1; kind < RECORD_COUNT; kind++) {
        const struct record_type *type = record_type((enum record_kind)kind);
        for (uint32_t i = 0; !*out && i < type->field_count; i++)
            if (type->fields[i].object &&
                !field_refers(registry, (enum record_kind)kind, &type->fields[i], digest, out, err))
                return false;
    }
    return true;
}

bool object_forget(struct registry *registry, const char *digest, bool *out_removed,
                   struct error *err)
{
    struct flight flight = {0};
    bool referenced = true, ok = true;
    if (removal_begin(registry, &flight, digest))
        ok = object_referenced(registry, digest, &referenced, err) &&
             (referenced || blobs_remove(registry->blobs, digest, err));
    flight_end(registry, &flight);
    *out_removed = ok && !referenced;
    return ok;
}
