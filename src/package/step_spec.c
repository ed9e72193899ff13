#include "package/step_spec.h"

#include <math.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/json.h"
#include "base/strbuf.h"
#include "package/package.h"

#define CONSTANT "constant"

double step_spec_attr(const struct step_spec *spec, const char *name)
{
    for (uint32_t i = 0; i < spec->attr_count; i++)
        if (strcmp(spec->attrs[i].name, name) == 0)
            return spec->attrs[i].value;
    return 0;
}

static void print_number(const char *name, double value, bool *some, struct strbuf *out)
{
    strbuf_printf(out, "%s%s=%.15g", *some ? ", " : "(", name, value);
    *some = true;
}

void step_spec_print(const struct step_spec *spec, struct strbuf *out)
{
    const struct step_attr options[] = {{"clip_norm", spec->clip_norm},
                                        {"loss_scale", spec->loss_scale},
                                        {"warmup", spec->warmup},
                                        {"steps", spec->steps},
                                        {"floor", spec->floor}};
    bool some = false;
    strbuf_puts(out, spec->optimizer);
    for (uint32_t i = 0; i < spec->attr_count; i++)
        print_number(spec->attrs[i].name, spec->attrs[i].value, &some, out);
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (options[i].value != 0)
            print_number(options[i].name, options[i].value, &some, out);
    if (strcmp(spec->schedule, CONSTANT) != 0) {
        strbuf_printf(out, "%sschedule=%s", some ? ", " : "(", spec->schedule);
        some = true;
    }
    if (spec->dynamic_scale) {
        strbuf_printf(out, "%sloss_scale=dynamic", some ? ", " : "(");
        some = true;
    }
    strbuf_printf(out, "%s of %s%s", some ? ")" : "", spec->loss,
                  spec->training ? ", in training mode" : "");
}

static json_t *names_json(const char *const *names, uint32_t count)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < count; i++)
        json_array_append_new(list, json_string(names[i]));
    return list;
}

static void put_number(json_t *object, const char *key, double value)
{
    if (value != 0)
        json_object_set_new(object, key, json_real(value));
}

json_t *step_spec_json(const struct step_spec *spec)
{
    json_t *object = json_object(), *optimizer = json_object();
    for (uint32_t i = 0; i < spec->attr_count; i++)
        json_object_set_new(optimizer, spec->attrs[i].name, json_real(spec->attrs[i].value));
    json_object_set_new(optimizer, "name", json_string(spec->optimizer));
    json_object_set_new(object, "loss", json_string(spec->loss));
    json_object_set_new(object, "optimizer", optimizer);
    json_object_set_new(object, "trained", names_json(spec->trained, spec->trained_count));
    json_object_set_new(object, "frozen", names_json(spec->frozen, spec->frozen_count));
    if (spec->training)
        json_object_set_new(object, "training", json_true());
    if (spec->running_count > 0)
        json_object_set_new(object, "running", names_json(spec->running, spec->running_count));
    put_number(object, "clip_norm", spec->clip_norm);
    put_number(object, "warmup", spec->warmup);
    put_number(object, "steps", spec->steps);
    put_number(object, "floor", spec->floor);
    if (spec->dynamic_scale)
        json_object_set_new(object, "loss_scale", json_string("dynamic"));
    else
        put_number(object, "loss_scale", spec->loss_scale);
    if (strcmp(spec->schedule, CONSTANT) != 0)
        json_object_set_new(object, "schedule", json_string(spec->schedule));
    return object;
}

static bool read_optimizer(const json_t *object, struct arena *arena, struct step_spec *out,
                           struct error *err)
{
    const char *key;
    const json_t *value;
    if (!json_get_string(object, "name", &out->optimizer, err))
        return false;
    out->optimizer = arena_strdup(arena, out->optimizer);
    json_object_foreach((json_t *)object, key, value)
    {
        if (strcmp(key, "name") == 0)
            continue;
        if (!json_is_number(value))
            return fail(err, ERR_JSON, "field '%.64s' is no number", key);
        if (out->attr_count == STEP_ATTRS_MOST)
            return fail(err, ERR_JSON, "more than %d attributes", STEP_ATTRS_MOST);
        out->attrs[out->attr_count++] =
            (struct step_attr){arena_strdup(arena, key), json_number_value(value)};
    }
    return true;
}

static bool read_names(const json_t *object, const char *key, struct arena *arena,
                       const char *const **out, uint32_t *out_count, struct error *err)
{
    json_t *list;
    if (!json_get_array(object, key, &list, err))
        return false;
    uint32_t count = (uint32_t)json_array_size(list);
    const char **names = ARENA_ARRAY(arena, const char *, count + 1);
    for (uint32_t i = 0; i < count; i++) {
        const char *name = json_string_value(json_array_get(list, i));
        if (!name)
            return fail(err, ERR_JSON, "%s[%u] is no string", key, i);
        names[i] = arena_strdup(arena, name);
    }
    *out = names;
    *out_count = count;
    return true;
}

/* A number, or "dynamic". */
static bool read_scale(const json_t *object, struct step_spec *out, struct error *err)
{
    const char *text = json_string_value(json_object_get(object, "loss_scale"));
    out->dynamic_scale = text && strcmp(text, "dynamic") == 0;
    return out->dynamic_scale || json_opt_double(object, "loss_scale", &out->loss_scale, err);
}

static bool read_schedule(const json_t *object, struct arena *arena, struct step_spec *out,
                          struct error *err)
{
    out->schedule = CONSTANT;
    if (!json_opt_string(object, "schedule", &out->schedule, err))
        return false;
    if (strcmp(out->schedule, CONSTANT) != 0 && strcmp(out->schedule, "linear") != 0 &&
        strcmp(out->schedule, "cosine") != 0)
        return fail(err, ERR_JSON, "field 'schedule' is '%.64s'", out->schedule);
    out->schedule = arena_strdup(arena, out->schedule);
    return json_opt_double(object, "warmup", &out->warmup, err) &&
           json_opt_double(object, "steps", &out->steps, err) &&
           json_opt_double(object, "floor", &out->floor, err);
}

bool step_spec_parse(const json_t *object, struct arena *arena, struct step_spec *out,
                     struct error *err)
{
    static const char *const keys[] = {"loss",     "optimizer", "trained", "frozen",   "clip_norm",
                                       "warmup",   "steps",     "floor",   "schedule", "loss_scale",
                                       "training", "running",   NULL};
    struct step_spec spec = {0};
    json_t *optimizer;
    if (!json_is_object(object))
        return fail(err, ERR_JSON, "is no object");
    if (!json_only_keys(object, keys, err) || !json_get_string(object, "loss", &spec.loss, err) ||
        !json_get_object(object, "optimizer", &optimizer, err))
        return false;
    if (!read_optimizer(optimizer, arena, &spec, err))
        return fail_at(err, "optimizer");
    spec.loss = arena_strdup(arena, spec.loss);
    if (!read_names(object, "trained", arena, &spec.trained, &spec.trained_count, err) ||
        !read_names(object, "frozen", arena, &spec.frozen, &spec.frozen_count, err) ||
        !json_opt_bool(object, "training", &spec.training, err) ||
        (json_object_get(object, "running") &&
         !read_names(object, "running", arena, &spec.running, &spec.running_count, err)) ||
        !json_opt_double(object, "clip_norm", &spec.clip_norm, err) ||
        !read_scale(object, &spec, err) || !read_schedule(object, arena, &spec, err))
        return false;
    *out = spec;
    return true;
}

bool step_spec_of(const struct package_contents *contents, struct arena *arena,
                  const struct step_spec **out, struct error *err)
{
    *out = NULL;
    if (contents->graph.updates.count == 0) /* every step counts */
        return true;
    json_t *root = json_read(contents->blueprint_json, contents->blueprint_bytes, err);
    if (!root)
        return false;
    const json_t *object = json_object_get(root, "step");
    struct step_spec *spec = ARENA_NEW(arena, struct step_spec);
    bool ok = !object || step_spec_parse(object, arena, spec, err) || fail_at(err, "field 'step'");
    json_decref(root);
    if (ok && object)
        *out = spec;
    return ok;
}
