/* Configs as JSON; what may stand in one follows from configs.def. */
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/strbuf.h"
#include "tuner/tuner_priv.h"

static void print_json(json_t *value, struct strbuf *out)
{
    json_write_canonical(value, out);
    json_decref(value);
}

void config_print(const struct config *config, struct strbuf *out)
{
    json_t *object = json_object();
    for (int i = 0; i < CONFIG_COUNT; i++)
        if (config->value[i] != 0)
            json_object_set_new(object, config_key_name((enum config_key)i),
                                json_integer(config->value[i]));
    print_json(object, out);
}

static int find_key(const char *name)
{
    for (int i = 0; i < CONFIG_COUNT; i++)
        if (strcmp(config_key_name((enum config_key)i), name) == 0)
            return i;
    return -1;
}

bool config_read(const json_t *object, struct config *out, struct error *err)
{
    struct config config = {0};
    const char *name;
    json_t *value;
    if (!json_is_object(object))
        return fail(err, ERR_JSON, "a config is an object of numbers");
    json_object_foreach((json_t *)(uintptr_t)object, name, value)
    {
        int key = find_key(name);
        if (key < 0) {
            fail(err, ERR_JSON, "no config has such a key");
        } else if (!json_is_integer(value) || json_integer_value(value) < 0 ||
                   json_integer_value(value) > config_key_most((enum config_key)key)) {
            fail(err, ERR_JSON, "expected a whole number from 0 to %d",
                 (int)config_key_most((enum config_key)key));
            key = -1;
        }
        if (key < 0)
            return fail_at(err, "key '%.64s'", name);
        config.value[key] = (int32_t)json_integer_value(value);
    }
    *out = config;
    return true;
}

bool config_parse(const char *text, struct config *out, struct error *err)
{
    json_t *value = json_read(text, strlen(text), err);
    bool ok = value && config_read(value, out, err);
    json_decref(value);
    return ok || fail_at(err, "config");
}

void config_schema_print(struct strbuf *out)
{
    json_t *keys = json_array();
    for (int i = 0; i < CONFIG_COUNT; i++) {
        enum config_key key = (enum config_key)i;
        json_array_append_new(keys,
                              json_pack("{s:s, s:i, s:s}", "key", config_key_name(key), "most",
                                        (int)config_key_most(key), "doc", config_key_doc(key)));
    }
    print_json(keys, out);
}
