/* Prints the results of profile_launches as JSON. */
#include <jansson.h>

#include "base/json.h"
#include "base/strbuf.h"
#include "profile/profile.h"

static void put(json_t *object, const char *name, double value)
{
    json_object_set_new(object, name, json_real(value));
}

static json_t *launch_json(const struct launch_profile *l)
{
    json_t *object = json_object(), *nodes = json_array();
    double per_us = l->us > 0 ? 1e-3 / l->us : 0;
    json_object_set_new(object, "label", json_string(l->label));
    for (uint32_t i = 0; i < l->node_count; i++)
        json_array_append_new(nodes, json_string(l->nodes[i]));
    json_object_set_new(object, "nodes", nodes);
    json_object_set_new(object, "more_nodes", json_integer(l->more_nodes));
    json_object_set_new(object, "prepare", json_boolean(l->prepare));
    json_object_set_new(object, "kernel", json_integer(l->kernel));
    json_object_set_new(object, "chunks", json_integer(l->chunks));
    put(object, "us", l->us);
    put(object, "share", l->share);
    put(object, "asked", l->asked);
    put(object, "done", l->done);
    put(object, "bytes", l->bytes);
    put(object, "gflops", l->asked * per_us);
    put(object, "gb_per_s", l->bytes * per_us);
    put(object, "peak_gflops", l->peak.flops * 1e-9);
    put(object, "peak_gb_per_s", l->peak.bytes_per_s * 1e-9);
    put(object, "percent", l->percent);
    json_object_set_new(object, "bound", json_string(l->compute ? "compute" : "memory"));
    json_object_set_new(object, "noise", json_boolean(l->noise));
    return object;
}

static json_t *chunks_json(const struct chunk_profile *chunks, uint32_t count)
{
    json_t *array = json_array();
    for (uint32_t i = 0; i < count; i++) {
        const struct chunk_profile *c = &chunks[i];
        json_array_append_new(array,
                              json_pack("{s:i, s:i, s:i, s:f, s:f}", "launch", (int)c->launch,
                                        "chunk", (int)c->chunk, "thread", (int)c->thread,
                                        "begin_us", c->begin_us, "end_us", c->end_us));
    }
    return array;
}

void launches_print(const struct trace_profile *profile, struct strbuf *out)
{
    json_t *object = json_object(), *launches = json_array(), *timeline = json_object();
    for (uint32_t i = 0; i < profile->launch_count; i++)
        json_array_append_new(launches, launch_json(&profile->launches[i]));
    json_object_set_new(timeline, "prepare",
                        chunks_json(profile->chunks, profile->prepare_chunk_count));
    json_object_set_new(timeline, "call",
                        chunks_json(profile->chunks + profile->prepare_chunk_count,
                                    profile->chunk_count - profile->prepare_chunk_count));
    json_object_set_new(object, "dims", json_string(profile->dims));
    json_object_set_new(object, "target", json_string(profile->target));
    json_object_set_new(object, "threads", json_integer(profile->threads));
    json_object_set_new(object, "calls", json_integer((json_int_t)profile->calls));
    put(object, "call_us", profile->call_us);
    put(object, "outside_us", profile->outside_us);
    json_object_set_new(object, "launches", launches);
    json_object_set_new(object, "timeline", timeline);
    json_write_canonical(object, out);
    json_decref(object);
}
